//! Every query plan finds the same, and what nobody waits for is broken off.

use std::time::Duration;

use super::*;
use crate::store::query::amount::Amount;
use crate::store::query::top::{Measure, Top};

const TASKS: i64 = 600;

async fn mixed(dir: &tempfile::TempDir) -> Store {
    let store = Store::create(&dir.path().join("d.db")).await.unwrap();
    for statement in [
        "INSERT INTO run (command, config) VALUES ('a', '{}'), ('b', '{}')",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
        INSERT INTO task (id, instruction, is_classification, origin, review, run_id)
        SELECT
            i, 'Ubiq ' || iif(i % 9 = 0, 'rare ', '') || substr('xxxxxxxxxxxx', 1, i * 7 % 11), i % 12 = 0,
            iif(i % 5 = 0, 'import', 'machine'), iif(i % 7 = 0, 'accepted', iif(i % 11 = 0, 'rejected', 'pending')),
            1 + i % 2
        FROM n",
        "INSERT INTO instance (task_id, ordinal, input, output)
        SELECT id, n.ordinal, '', iif(id % 24 < 13, 'Yes', 'no')
        FROM task, (SELECT 0 AS ordinal UNION ALL SELECT 1) AS n
        WHERE n.ordinal <= id % 2",
        "UPDATE task SET nearest_rouge_l = id * 31 % 70 / 100.0 WHERE id % 5 > 0",
        "UPDATE task SET score = 1 + id % 5 WHERE id % 4 = 1",
        "UPDATE task SET influence = id * 17 % 90 / 10.0 - 4, ifd = id * 13 % 80 / 70.0 WHERE id % 3 > 0",
        "INSERT INTO held_out (task_id, run_id) SELECT id, 1 FROM task WHERE id % 8 < 2",
        "INSERT INTO revision (id, group_id, task_id, who, action, before, after, note)
        SELECT id, id, id, 'f', 'reject', '{}', '{}', iif(id % 3 = 0, 'echo: a', 'echoed') FROM task WHERE review = 'rejected'",
    ] {
        sqlx::query(statement).execute(&store.pool).await.unwrap();
    }
    store
}

/// Filters with two conditions, for each pair of kinds.
fn filters() -> Vec<Filter> {
    let one = [
        r#""review":"pending""#,
        r#""origin":"import""#,
        r#""run_id":2"#,
        r#""is_classification":true"#,
        r#""is_classification":false"#,
        r#""label":"YES""#,
        r#""min_length":10"#,
        r#""max_similarity":0.4"#,
        r#""min_score":2,"max_score":4"#,
        r#""reason":"echo""#,
        r#""text":"rare""#,
        r#""split":"train""#,
        r#""split":"eval""#,
        r#""where":"length > 9 or influence < 0""#,
    ];
    let two = one
        .iter()
        .flat_map(|a| one.iter().map(move |b| format!("{{{a},{b}}}")));
    let plain: Vec<Filter> = two.filter_map(|text| serde_json::from_str(&text).ok()).collect();
    let best = [
        Top {
            amount: Amount::Percent(30.0),
            by: Measure::Influence,
        },
        Top {
            amount: Amount::Count(25),
            by: Measure::Ifd,
        },
    ];
    let of_one = one
        .iter()
        .filter_map(|text| serde_json::from_str::<Filter>(&format!("{{{text}}}")).ok());
    let with_best = of_one.flat_map(|filter| {
        best.map(|top| Filter {
            top: Some(top),
            in_dataset: true,
            ..filter.clone()
        })
    });
    plain.iter().cloned().chain(with_best).collect()
}

#[tokio::test]
async fn every_way_finds_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = mixed(&dir).await;
    let sorts = [
        Sort::Id,
        Sort::Newest,
        Sort::Longest,
        Sort::Shortest,
        Sort::Similar,
        Sort::Score,
        Sort::Influence,
        Sort::Helped,
        Sort::Ifd,
    ];
    let mut found = 0;
    for filter in filters() {
        for sort in sorts {
            let key = sort.key();
            let mut lists = Vec::new();
            for plan in store.all_plans(&filter, key.goal()).await.unwrap() {
                let mut ids = Vec::new();
                for segment in key.segments(None, false) {
                    if segment == Segment::Nulls && plan.has_range() {
                        continue;
                    }
                    let statement = key.statement(&plan, segment, None, false, TASKS);
                    ids.extend(store.numbers(statement).await.unwrap());
                }
                lists.push(ids);
            }
            let usual = store.ids(&filter, sort, Position::Start, TASKS).await.unwrap();
            for list in &lists {
                assert_eq!(list, &usual, "{sort:?} {filter:?}");
            }
            assert_eq!(store.count(&filter, None).await.unwrap(), usual.len() as i64);
            found += usual.len() * (lists.len() - 1);
        }
    }
    assert!(found > 50_000, "{found}");
}

#[tokio::test]
async fn what_nobody_waits_for_is_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("d.db")).await.unwrap();
    let endless = || {
        let mut sql = Sql::default();
        sql.push("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
        sql
    };
    // More often than there are connections, so that a query that went on would be noticed.
    for _ in 0..12 {
        assert!(
            timeout(Duration::from_millis(20), store.numbers(endless()))
                .await
                .is_err()
        );
    }
    // Where none is free, this is an error.
    assert_eq!(store.count(&Filter::default(), None).await.unwrap(), 0);
}

#[tokio::test]
async fn the_best_are_a_share_of_those_that_pass_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = mixed(&dir).await;
    for (amount, review, limit) in [
        (Amount::Percent(20.0), "pending", "round(0.2 * count(*))"),
        (Amount::Percent(0.01), "accepted", "1"),
        (Amount::Count(7), "accepted", "7"),
        (Amount::Count(700), "accepted", "700"),
    ] {
        for by in [Measure::Influence, Measure::Score, Measure::Ifd] {
            let filter = Filter {
                review: Some(review.parse().unwrap()),
                top: Some(Top { amount, by }),
                ..Filter::default()
            };
            let column = by.as_str();
            let of = format!("FROM task WHERE review = '{review}' AND {column} IS NOT NULL");
            let expected: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT id FROM (SELECT id {of} ORDER BY {column} DESC, id LIMIT (SELECT CAST({limit} AS INTEGER) {of}))
                ORDER BY id"
            )))
            .fetch_all(&store.pool)
            .await
            .unwrap();
            assert!(!expected.is_empty());
            let found = store
                .ids(&filter, Sort::Id, Position::Start, TASKS)
                .await
                .unwrap();
            assert_eq!(found, expected, "{amount} {review} {column}");
        }
    }
}
