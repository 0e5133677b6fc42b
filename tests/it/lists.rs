//! Lists of a dataset large enough for every query plan, compared with plain SQL.

use std::sync::LazyLock;

use ewe::{
    store::query::expression::Expression,
    store::{Actor, Error, Filter, Position, Sort, Store},
    task::{Origin, Review, Split},
};

use crate::{
    shell::Dir,
    support::{block_on, number},
};

const TASKS: i64 = 60_000;

/// Tasks of every kind. "ubiq" is in all of them, "rare" in a few. They are made once for all tests.
fn mixed() -> Dir {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| mix().dataset());
    Dir::with_copy(&MADE)
}

fn mix() -> Dir {
    let dir = Dir::with_dataset();
    dir.sql("insert into run (command, config) values ('a', '{}'), ('b', '{}')");
    dir.sql(&format!(
        "with recursive n (i) as (select 1000 union all select i + 1 from n where i < {TASKS} + 999)
        insert into task (id, instruction, is_classification, origin, review, run_id, influence, ifd)
        select
            i,
            'Ubiq ' || iif(i % 997 = 0, 'rare ', '') || iif(i % 3 = 0, 'third ', '') || substr('xxxxxxxxxxxx', 1, i * 7 % 11),
            i % 12 = 0,
            iif(i % 5 = 0, 'import', 'machine'),
            iif(i % 7 = 0, 'accepted', iif(i % 11 = 0, 'rejected', 'pending')),
            2 + i % 2,
            iif(i % 4 > 0, (i * 37 % 1000 - 500) / 1000.0, null),
            iif(i % 6 > 0, i * 41 % 900 / 700.0, null)
        from n"
    ));
    dir.sql("insert into held_out (task_id, run_id) select id, 2 from task where id % 50 = 0");
    dir.sql(
        "insert into instance (task_id, ordinal, input, output)
        select
            id, n.ordinal, '',
            iif(is_classification, iif(id % 24 = 0, 'Yes', 'no'), 'o' || substr('yyyyyyyyyyyyy', 1, id % 13))
        from task, (select 0 as ordinal union all select 1) as n
        where id >= 1000 and n.ordinal <= id % 2",
    );
    dir.sql(
        "insert into neighbor (task_id, neighbor_id, rank, rouge_l)
        select id, 1, 1, id * 31 % 700 / 1000.0 from task where id >= 1000 and id % 5 > 0",
    );
    dir.sql(
        "insert into request (
            run_id, round, stage, ordinal, content_key, prompt, parameters, response, finish_reason, prompt_tokens,
            completion_tokens, latency_ms
        ) values (2, 0, 'judge', 0, 'k', 'p', '{}', 'r', 'stop', 1, 1, 1)",
    );
    dir.sql(
        "insert into judgment (instance_id, run_id, request_id, model, instruction, input, output, score, reason)
        select instance.id, 2, 1, 'm', instruction, input, output, 1 + instance.id % 5, ''
        from task join instance on instance.task_id = task.id where task.id % 40 in (1, 2)",
    );
    dir.sql(
        "insert into revision (id, group_id, task_id, who, action, before, after, note)
        select
            id, id, id, 'f', 'reject', '{}', '{}',
            case id % 3 when 0 then 'too_short' when 1 then 'too_short_output: 1' else 'too_short: 1 word' end
        from task where review = 'rejected' and id >= 1000",
    );
    dir
}

/// Filters, each with its condition in plain SQL.
fn filters() -> Vec<(Filter, &'static str)> {
    let any = Filter::default;
    vec![
        (any(), "1"),
        (
            Filter {
                review: Some(Review::Pending),
                ..any()
            },
            "review = 'pending'",
        ),
        (
            Filter {
                review: Some(Review::Rejected),
                origin: Some(Origin::Machine),
                ..any()
            },
            "review = 'rejected' and origin = 'machine'",
        ),
        (
            Filter {
                origin: Some(Origin::Seed),
                ..any()
            },
            "origin = 'seed'",
        ),
        (
            Filter {
                run_id: Some(3),
                is_classification: Some(false),
                ..any()
            },
            "run_id = 3 and not is_classification",
        ),
        (
            Filter {
                label: Some("yes".into()),
                review: Some(Review::Pending),
                ..any()
            },
            "is_classification and review = 'pending'
                and exists (select 1 from instance where task_id = task.id and output in ('Yes', 'yes', 'YES'))",
        ),
        (
            Filter {
                min_length: Some(12),
                max_length: Some(14),
                ..any()
            },
            "length(instruction) + (
                select coalesce(sum(length(input) + length(output)), 0) from instance where task_id = task.id
            ) between 12 and 14",
        ),
        (
            Filter {
                min_similarity: Some(0.69),
                ..any()
            },
            "exists (select 1 from neighbor where task_id = task.id and rank = 1 and rouge_l >= 0.69)",
        ),
        (
            Filter {
                max_similarity: Some(0.5),
                is_classification: Some(true),
                text: Some("third".into()),
                ..any()
            },
            "is_classification and instruction like '%third%'
                and exists (select 1 from neighbor where task_id = task.id and rank = 1 and rouge_l <= 0.5)",
        ),
        (
            Filter {
                min_score: Some(2.5),
                max_score: Some(4.0),
                ..any()
            },
            "(select min(s) from (
                select avg(score) as s from judged where judged.task_id = task.id group by instance_id
            )) between 2.5 and 4",
        ),
        (
            Filter {
                reason: Some("too_short".into()),
                ..any()
            },
            "review = 'rejected' and exists (
                select 1 from revision
                where task_id = task.id and (note = 'too_short' or note like 'too\\_short:%' escape '\\')
            )",
        ),
        (
            Filter {
                text: Some("rare".into()),
                run_id: Some(2),
                ..any()
            },
            "run_id = 2 and instruction like '%rare%'",
        ),
        (
            Filter {
                text: Some("ubiq".into()),
                ..any()
            },
            "id >= 1000",
        ),
        (
            Filter {
                split: Some(Split::Eval),
                ..any()
            },
            "id % 50 = 0",
        ),
        (
            Filter {
                split: Some(Split::Train),
                expression: Some(Expression::parse("influence > 0.45 or ifd between 1 and 1.01").unwrap()),
                review: Some(Review::Pending),
                ..any()
            },
            "id % 50 <> 0 and review = 'pending' and (influence > 0.45 or ifd between 1 and 1.01)",
        ),
    ]
}

#[test]
fn every_filter_in_every_order_equals_plain_sql() {
    let dir = mixed();
    let store = block_on(Store::open(&dir.path("d.db"))).unwrap();
    let sorts = [
        (Sort::Id, "id"),
        (Sort::Newest, "id desc"),
        (Sort::Longest, "length desc, id desc"),
        (Sort::Shortest, "length, id"),
        (Sort::Similar, "nearest_rouge_l desc, id desc"),
        (Sort::Score, "score is null, score, id"),
        (Sort::Influence, "influence is null, influence, id"),
        (Sort::Helped, "influence desc, id desc"),
        (Sort::Ifd, "ifd desc, id desc"),
    ];
    for (filter, condition) in filters() {
        let count = number(&dir, &format!("select count(*) from task where {condition}"));
        assert!(count > 0, "{condition}");
        assert_eq!(
            block_on(store.count(&filter, None)).unwrap(),
            count,
            "{condition}"
        );
        assert_eq!(
            block_on(store.count(&filter, Some(20))).unwrap(),
            count.min(20),
            "{condition}"
        );
        for (sort, order) in sorts {
            let ids: Vec<i64> = dir
                .sql(&format!("select id from task where {condition} order by {order}"))
                .iter()
                .map(|row| row[0].parse().unwrap())
                .collect();
            let page = |from, limit| block_on(store.ids(&filter, sort, from, limit)).unwrap();
            assert!(page(Position::Start, TASKS * 2) == ids, "{condition} {order}");
            // From several positions, forward and back.
            for at in [0, ids.len() / 3, ids.len() / 2, ids.len() * 9 / 10, ids.len() - 1] {
                let (after, before) = (Position::After(ids[at]), Position::Before(ids[at]));
                let next = &ids[at + 1..(at + 8).min(ids.len())];
                let previous: Vec<i64> = ids[..at].iter().rev().take(7).copied().collect();
                assert_eq!(page(after, 7), next, "{condition} {order} after {at}");
                assert_eq!(page(before, 7), previous, "{condition} {order} before {at}");
            }
        }
    }
    let lines = block_on(store.list(&Filter::default(), Sort::Longest, Position::Start, 3)).unwrap();
    assert!(lines[0].length >= lines[1].length && lines[1].length >= lines[2].length);
    assert!(matches!(
        block_on(store.ids(&Filter::default(), Sort::Id, Position::After(99_999_999), 1)),
        Err(Error::NoTask { id: 99_999_999 })
    ));
}

#[test]
fn a_bulk_review_is_one_action() {
    let dir = mixed();
    let store = block_on(Store::open(&dir.path("d.db"))).unwrap();
    let actor = Actor {
        who: "ann",
        note: Some("dull"),
    };
    let before = dir.sql("select id, review from task order by id");
    for (filter, condition) in filters() {
        let others =
            format!("select count(*) from task where ({condition}) is not 1 and review <> 'rejected'");
        let kept = number(&dir, &others);
        let expected = number(
            &dir,
            &format!("select count(*) from task where ({condition}) and review <> 'rejected'"),
        );
        let change = block_on(store.review_all(&filter, None, Review::Rejected, actor)).unwrap();
        assert_eq!(change.map_or(0, |change| change.tasks), expected, "{condition}");
        assert_eq!(
            number(&dir, "select count(*) from task where review <> 'rejected'"),
            kept
        );
        if let Some(change) = change {
            assert_eq!(block_on(store.undo(actor)).unwrap().undoes, Some(change.group));
        }
        assert!(
            dir.sql("select id, review from task order by id") == before,
            "{condition}"
        );
    }
    assert_eq!(number(&dir, "select count(*) from revision where who = 'sql'"), 0);
}
