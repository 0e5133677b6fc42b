//! Expressions that hold, and hostile ones.

use super::*;
use crate::store::{Filter, Position, Sort, Store};

/// Tasks 1 to 40 with values that an expression can tell apart.
async fn tasks(dir: &tempfile::TempDir) -> Store {
    let store = Store::create(&dir.path().join("d.db")).await.unwrap();
    for statement in [
        "INSERT INTO run (command, config) VALUES ('a', '{}')",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO task (id, instruction, name, is_classification, origin, review, run_id)
        SELECT
            i, 'Do it ' || i || '''s', iif(i % 4 = 0, 'x', NULL), i % 2, iif(i % 3 = 0, 'import', 'machine'),
            iif(i % 5 = 0, 'accepted', 'pending'), 1
        FROM n",
        "INSERT INTO instance (task_id, ordinal, input, output) SELECT id, 0, '', 'o' FROM task",
        "UPDATE task SET score = 1 + id % 5, influence = (id - 20) / 10.0 WHERE id % 2 = 0",
        "INSERT INTO held_out (task_id, run_id) SELECT id, 1 FROM task WHERE id <= 4",
    ] {
        sqlx::query(statement).execute(&store.pool).await.unwrap();
    }
    store
}

async fn ids(store: &Store, text: &str) -> Vec<i64> {
    let filter = Filter {
        expression: Some(Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))),
        ..Filter::default()
    };
    store.ids(&filter, Sort::Id, Position::Start, 1000).await.unwrap()
}

#[tokio::test]
async fn an_expression_chooses_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = tasks(&dir).await;
    for (text, sql) in [
        ("influence > 0", "influence > 0"),
        ("not influence > 0", "influence <= 0"),
        (
            " SCORE>=4 AND origin='machine' ",
            "score >= 4 AND origin = 'machine'",
        ),
        (
            "score = 1 or score = 2 and origin = \"import\"",
            "score = 1 OR (score = 2 AND origin = 'import')",
        ),
        (
            "(score = 1 or score = 2) and origin <> 'import'",
            "score IN (1, 2) AND origin = 'machine'",
        ),
        ("influence between -1.5 and +.5", "influence BETWEEN -1.5 AND 0.5"),
        (
            "influence not between -1e0 and 1E+0",
            "influence < -1 OR influence > 1",
        ),
        ("id in (3, 5, 99)", "id IN (3, 5)"),
        ("id not in (3) and id < 5", "id IN (1, 2, 4)"),
        ("score is null", "score IS NULL"),
        ("name is not null", "name IS NOT NULL"),
        ("classification = yes", "is_classification"),
        ("is_classification != 1", "NOT is_classification"),
        ("split = 'eval'", "id <= 4"),
        ("split = 'train' and id < 7", "id IN (5, 6)"),
        ("instances == 1 and length > 0 and run = 1", "1"),
        ("instruction = 'Do it 7''s'", "id = 7"),
        ("created_at >= '2020-01-01' and updated_at < '9999'", "1"),
        ("round is null and similarity is null", "1"),
        ("not not not (id > 3)", "id <= 3"),
    ] {
        let expected: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT id FROM task WHERE {sql} ORDER BY id"
        )))
        .fetch_all(&store.pool)
        .await
        .unwrap();
        assert!(!expected.is_empty(), "{sql}");
        assert_eq!(ids(&store, text).await, expected, "{text}");
    }
    // Texts are compared, whatever they look like.
    for text in [
        "name = 'x'' OR ''1'' = ''1'",
        "instruction = '\"; DROP TABLE task; --'",
        "name = '?1'",
        "name = '\0'",
    ] {
        assert_eq!(ids(&store, text).await, [0i64; 0], "{text}");
    }
    assert_eq!(ids(&store, "id > 0").await.len(), 40);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, said) in [
        ("", "character 1: want a column, not the end"),
        (
            "foo > 1",
            "character 1: there is no column `foo`\nhint: one of id, review,",
        ),
        ("score >", "character 8: want a number for `score`, not the end"),
        ("score > 'a'", "character 9: want a number for `score`, not 'a'"),
        ("score", "character 6: want a comparison"),
        ("score > 1 2", "character 11: want `and`, `or` or the end, not 2"),
        ("score > 1 and", "character 14: want a column, not the end"),
        ("(score > 1", "character 11: want `)`, not the end"),
        ("score > 1)", "character 10: want `and`, `or` or the end, not `)`"),
        ("score between 1", "character 16: want `and`, and the upper bound"),
        ("score is 3", "character 10: want `null`, not 3"),
        ("score not 3", "character 11: want `between` or `in`, not 3"),
        ("score in ()", "character 11: want a number"),
        (
            "origin = machine",
            "character 10: want one of 'seed', 'machine', 'import' for `origin`, not `machine`",
        ),
        ("origin = 'machin'", "character 10: want one of 'seed'"),
        ("origin > 'machine'", "character 1: `origin` has no order"),
        ("classification between 0 and 1", "`classification` has no order"),
        ("classification = 2", "want yes or no for `classification`"),
        ("name = 5", "want a text in quotes for `name`, not 5"),
        ("name = 'x", "character 8: the quote ' is not closed"),
        ("score > 1.2.3", "character 9: `1.2.3` is not a number"),
        ("score > 1e999", "`1e999` is not a number"),
        ("score > 0x10", "`0x10` is not a number"),
        ("score > nan", "want a number for `score`, not `nan`"),
        ("score > -inf", "`-inf` is not a number"),
        ("score > 99999999999999999999 ; drop", "`;` means nothing here"),
        (
            "score > 1; drop table task",
            "character 10: `;` means nothing here",
        ),
        ("score > 1 -- x", "character 11: `-` is not a number"),
        ("score > 1 /* x */", "`/` means nothing here"),
        ("score = score", "want a number for `score`, not `score`"),
        ("task.score > 1", "character 5: `.score` is not a number"),
        ("abs(score) > 1", "there is no column `abs`"),
        ("(select 1)", "there is no column `select`"),
        ("score = (select 1)", "want a number for `score`, not `(`"),
        ("score = ?", "`?` means nothing here"),
        ("\u{1b}[2J", "`␛` means nothing here"),
        ("größe > 1", "there is no column `größe`"),
        (
            "name = 'größe' größe",
            "character 16: want `and`, `or` or the end",
        ),
    ] {
        let error = Expression::parse(text).expect_err(text);
        assert!(error.contains(said), "{text:?}: {error}");
    }
}

/// What is long or deep is refused, or SQLite takes it.
#[tokio::test]
async fn length_and_depth_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = tasks(&dir).await;
    let nested = |depth: usize| format!("{}id > 0{}", "(".repeat(depth), ")".repeat(depth));
    let negated = |depth: usize| format!("{}id > 0", "not ".repeat(depth));
    assert_eq!(ids(&store, &nested(DEEPEST)).await.len(), 40);
    assert_eq!(ids(&store, &negated(DEEPEST)).await.len(), 40);
    for text in [
        nested(DEEPEST + 1),
        nested(900),
        negated(DEEPEST + 1),
        negated(450),
    ] {
        let error = Expression::parse(&text).expect_err("too deep");
        assert!(error.contains("within each other"), "{error}");
    }
    let unclosed = Expression::parse(&"(".repeat(LONGEST)).expect_err("unclosed");
    assert!(unclosed.contains("within each other"), "{unclosed}");
    let mut longest = vec!["id>0"; LONGEST / 8 - 1].join(" or ");
    assert!(longest.len() > LONGEST - 20 && longest.len() <= LONGEST);
    assert_eq!(ids(&store, &longest).await.len(), 40);
    longest.push_str(&" ".repeat(LONGEST));
    let error = Expression::parse(&longest).expect_err("too long");
    assert!(error.contains("more than 2000"), "{error}");
    let list = vec!["7"; 900].join(",");
    assert_eq!(ids(&store, &format!("id in ({list})")).await, [7]);
}

#[test]
fn it_is_json_as_it_was_written() {
    let filter: Filter = serde_json::from_str(r#"{"where": "score > 3"}"#).unwrap();
    assert_eq!(filter.expression.as_ref().unwrap().as_str(), "score > 3");
    let text = serde_json::to_string(&filter).unwrap();
    assert!(text.contains(r#""where":"score > 3""#), "{text}");
    // Records of runs are compared whole, those of older editions too.
    assert!(!text.contains("field"), "{text}");
    for refused in [
        r#"{"where": "score >"}"#,
        r#"{"top": "10%"}"#,
        r#"{"in_dataset": true}"#,
    ] {
        assert!(serde_json::from_str::<Filter>(refused).is_err(), "{refused}");
    }
}
