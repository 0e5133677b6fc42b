//! `ewe generate --evolve`: rounds that rewrite a task, elimination, and what is stored about it.

use crate::mock::Mock;
use crate::recipes::{ALPACA, all_accounted_for, arguments};
use crate::shell::{Dir, ewe};
use crate::support::{self, block_on, export, json, number};
use std::time::Duration;

#[test]
fn evolve_rewrites_a_task_in_its_share_of_the_rounds() {
    for recipe in [&[][..], &ALPACA] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        let more = [recipe, &["--evolve", "0.8"]].concat();
        ewe(&dir, &arguments(&mock, "60", &more)).success();
        all_accounted_for(&dir, 60);
        assert_eq!(
            number(&dir, "select count(*) from request"),
            mock.requests() as i64
        );
        let (all, evolved) = (
            number(&dir, "select count(*) from round"),
            number(&dir, "select count(*) from evolution"),
        );
        assert!(evolved < all && 2 * evolved > all, "{evolved} of {all}");
        // Such a round has one candidate, and its requests belong to its own stages.
        let query = "select count(*) from evolution where
            (select count(*) from candidate where candidate.round = evolution.round and kind = 'instruction') <> 1";
        assert_eq!(number(&dir, query), 0);
        let query = "select count(*) from request where (stage in ('evolution', 'equality'))
            <> (round in (select round from evolution)) and stage not in ('classification', 'input_first', 'output_first')
            and round in (select round from round)";
        assert_eq!(number(&dir, query), 0);
        // Its task is newer than its parent, which was in the pool a window earlier.
        let made = "select count(*) from evolution join task on task.round = evolution.round";
        assert!(number(&dir, made) > 0);
        let query = format!(
            "{made} join task as parent on parent.id = parent_task_id
            where parent.round > evolution.round - 8 or parent.id >= task.id"
        );
        assert_eq!(number(&dir, &query), 0);
        assert!(number(&dir, "select count(distinct operator) from evolution") >= 4);
        // Rewritten tasks are rewritten in turn.
        assert!(
            number(
                &dir,
                "select count(*) from task join evolution on parent_task_id = id where origin = 'machine'"
            ) > 0
        );
        for reason in [
            "prompt_leak",
            "no_gain",
            "unclear_equality",
            "unparsed",
            "truncated",
        ] {
            let query = format!(
                "select count(*) from candidate join evolution using (round) where reason = '{reason}'"
            );
            assert!(number(&dir, &query) > 0, "{reason}");
        }
        let kept = "select json_extract(config, '$.evolve.part') from run where command = 'generate'";
        assert_eq!(dir.sql(kept), [["0.8"]]);
    }
}

#[test]
fn without_evolve_nothing_is_rewritten() {
    let exported = |more: &[&str]| {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        ewe(&dir, &arguments(&mock, "20", more)).success();
        assert_eq!(number(&dir, "select count(*) from evolution"), 0);
        export(&dir)
    };
    assert_eq!(exported(&[]), exported(&["--evolve", "0"]));
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    for part in ["1.1", "-0.5", "half"] {
        let option = format!("--evolve={part}");
        let out = ewe(&dir, &arguments(&mock, "5", &[&option])).failure(2);
        assert!(out.stderr().contains("from 0 to 1"), "{}", out.stderr());
    }
}

#[test]
fn a_killed_evolve_run_resumes_to_the_same_export() {
    for recipe in [&[][..], &ALPACA] {
        let more = [recipe, &["--evolve", "0.7"]].concat();
        let (whole, mock) = (Dir::with_dataset(), Mock::start());
        ewe(&whole, &arguments(&mock, "60", &more)).success();

        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        mock.set_latency(Duration::from_millis(20));
        support::kill_again_and_again(
            &dir,
            &mock,
            &arguments(&mock, "60", &more),
            &[90, 140, 60, 200, 110, 170],
        );
        ewe(&dir, &arguments(&mock, "60", &more)).success();
        all_accounted_for(&dir, 60);
        assert_eq!(export(&dir), export(&whole));
        let made = "select round, parent_task_id, operator from evolution order by 1";
        assert_eq!(dir.sql(made), whole.sql(made));
    }
}

/// Runs one round in which the model rewrites a task into `text` and gives each second text of
/// `says` to prompts that contain the first. Returns the dataset, the reasons of rejections, and
/// the stages of the requests.
fn run_with(text: &str, says: &[(&str, &str)]) -> (Dir, Vec<String>, Vec<String>) {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.say("Each task below is followed by", text, "stop");
    mock.say("Is it classification?", " No", "stop");
    for (part, text) in says {
        mock.say(part, text, "stop");
    }
    let more = [
        "--evolve",
        "1",
        "--rules",
        "none",
        "--window",
        "1",
        "--max-requests",
        "4",
    ];
    ewe(&dir, &arguments(&mock, "1", &more)).success();
    let first = |column: &str, table: &str| {
        let query =
            format!("select {column} from {table} where round = 0 and {column} is not null order by id");
        dir.sql(&query).concat()
    };
    let (reasons, stages) = (first("reason", "candidate"), first("stage", "request"));
    (dir, reasons, stages)
}

const DIFFERENT: (&str, &str) = ("Is it the same task?", " No");
const TASK: &str = " Say in one word each what five rivers of Peru are named after";

#[test]
fn rewrites_that_gain_nothing_are_eliminated() {
    let (dir, reasons, stages) = run_with(TASK, &[("Is it the same task?", " Yes")]);
    assert_eq!(reasons, ["no_gain"]);
    assert_eq!(stages, ["evolution", "equality"]);
    // The verdict names the parent, with the similarity, as for near-duplicates.
    let row = dir.sql(
        "select nearest_task_id = parent_task_id, rejection.rouge_l < 0.7, rejection.detail, nearest_instruction is not null
        from candidate join evolution using (round) join rejection on candidate_id = candidate.id",
    );
    assert_eq!(
        row[0],
        ["1", "1", "the same task in other words, the model says", "1"]
    );

    let (_, reasons, _) = run_with(TASK, &[("Is it the same task?", " Perhaps so")]);
    assert_eq!(reasons, ["unclear_equality"]);

    // The same words are rejected without asking the model. A first run tells which task is
    // rewritten.
    let (dir, ..) = run_with(TASK, &[DIFFERENT]);
    let parent = &dir
        .sql("select instruction from task join evolution on parent_task_id = id and evolution.round = 0")[0]
        [0];
    let (dir, reasons, stages) = run_with(&parent.to_uppercase(), &[DIFFERENT]);
    assert_eq!(reasons, ["no_gain"]);
    assert_eq!(stages, ["evolution"]);
    let row = dir.sql("select detail, rouge_l from candidate where round = 0");
    assert_eq!(row[0], ["the same words", "1"]);
    // Nearly the same words are a near-duplicate, as for any task.
    let (_, reasons, stages) = run_with(&format!("{parent} Please."), &[DIFFERENT]);
    assert_eq!(reasons, ["near_duplicate"]);
    assert_eq!(stages, ["evolution"]);
}

#[test]
fn prompt_leaks_and_empty_answers_are_eliminated() {
    let (dir, reasons, stages) = run_with(&format!("#Rewritten Prompt#{TASK}"), &[DIFFERENT]);
    assert_eq!((reasons, stages.len()), (vec!["prompt_leak".to_string()], 1));
    assert_eq!(
        dir.sql("select detail from candidate where round = 0"),
        [["'rewritten prompt'"]]
    );
    // A worked example of the prompt as the answer, from whichever operator.
    let (dir, ..) = run_with(TASK, &[DIFFERENT]);
    let prompt = &dir.sql("select prompt from request where stage = 'evolution' and round = 0")[0][0];
    let example = prompt
        .lines()
        .find_map(|line| line.split_once("er task: "))
        .expect("an example")
        .1;
    let (dir, reasons, stages) = run_with(example, &[DIFFERENT]);
    assert_eq!((reasons, stages.len()), (vec!["prompt_leak".to_string()], 1));
    let detail = &dir.sql("select detail from candidate where round = 0")[0][0];
    assert!(detail.contains(example), "{detail}");

    for (output, reason) in [
        ("I'm sorry, but that is beyond me.", "unanswerable"),
        ("It is what it is, and...", "no_content"),
    ] {
        let answer = format!("Output: {output}");
        let (dir, reasons, stages) = run_with(TASK, &[DIFFERENT, (&TASK[1..], &answer)]);
        assert_eq!(reasons, ["no_valid_instance", reason]);
        assert_eq!(stages, ["evolution", "equality", "classification", "input_first"]);
        let detail = &dir.sql("select detail from candidate where kind = 'instance'")[0][0];
        assert!(detail.contains(output), "{detail}");
    }
    // Good answers are accepted, and so is such an answer to a task that is not a rewrite.
    let (dir, reasons, _) = run_with(
        TASK,
        &[DIFFERENT, (&TASK[1..], "Output: Rain, mud, gold, fish and stone")],
    );
    assert!(reasons.is_empty(), "{reasons:?}");
    all_accounted_for(&dir, 1);
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.say("Come up with a series of tasks", TASK, "stop");
    mock.say("Is it classification?", " No", "stop");
    mock.say(&TASK[1..], "Output: I'm sorry, but that is beyond me.", "stop");
    ewe(&dir, &arguments(&mock, "1", &["--rules", "none"])).success();
    all_accounted_for(&dir, 1);
}

#[test]
fn show_names_the_parent_of_a_task() {
    let (dir, ..) = run_with(
        TASK,
        &[DIFFERENT, (&TASK[1..], "Output: Rain, mud, gold, fish and stone")],
    );
    let id = number(&dir, "select id from task where origin = 'machine'").to_string();
    let [parent_task_id, operator, parent] = &dir
        .sql("select parent_task_id, operator, instruction from evolution join task on id = parent_task_id")
        [0][..]
    else {
        panic!("three columns");
    };
    let shown = ewe(&dir, &["show", "--db", "d.db", &id]).success().stdout();
    assert!(
        shown.contains(&format!("\nmade of task {parent_task_id} · {operator}\n")),
        "{shown}"
    );
    let shown = json(ewe(&dir, &["show", "--db", "d.db", &id, "--json"]));
    assert_eq!(shown["evolution"]["parent_task_id"].to_string(), *parent_task_id);
    assert_eq!(shown["evolution"]["operator"], operator.as_str());
    assert_eq!(shown["evolution"]["parent"], parent.as_str());
    let shown = json(ewe(&dir, &["show", "--db", "d.db", parent_task_id, "--json"]));
    assert!(shown["evolution"].is_null());
    // `stats` also lists those of these reasons that never fired.
    let stats = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(
        stats.contains("never fired: near_duplicate, no_content, no_gain, prompt_leak"),
        "{stats}"
    );
}

#[test]
fn rejected_tasks_are_not_rewritten() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.sql("update task set review = 'rejected' where id not in (7, 70)");
    let more = ["--evolve", "1", "--window", "4", "--max-requests", "12"];
    ewe(&dir, &arguments(&mock, "100", &more)).success();
    let parents = dir.sql("select distinct parent_task_id from evolution where round < 4 order by 1");
    assert!(
        parents.concat().iter().all(|id| id == "7" || id == "70"),
        "{parents:?}"
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from evolution join task on id = parent_task_id where review = 'rejected'"
        ),
        0
    );
}

#[test]
fn the_evolve_table_of_a_recipe_file_sets_its_constants() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write("topics.txt", "bees\n");
    dir.write(
        "r.toml",
        "[alpaca]\n[evolve]\nbreadth = 1\ntemperature = 0.3\ntokens = 99\nequality_tokens = 5\nanswer_tokens = 77\n\
         [self-instruct]\nclassification_tokens = 6\n",
    );
    let more = [
        &ALPACA[..],
        &[
            "--recipe-file",
            "r.toml",
            "--evolve",
            "1",
            "--topics",
            "topics.txt",
        ],
    ]
    .concat();
    ewe(&dir, &arguments(&mock, "5", &more)).success();
    let limits =
        dir.sql("select distinct stage, json_extract(parameters, '$.max_tokens') from request order by 1");
    let limits: Vec<_> = limits
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    for limit in [
        ("evolution", "99"),
        ("equality", "5"),
        ("classification", "6"),
        ("input_first", "77"),
    ] {
        assert!(limits.contains(&limit), "{limits:?}");
    }
    assert_eq!(
        dir.sql("select distinct operator from evolution"),
        [["in_breadth"]]
    );
    let query = "select count(*) from request where stage = 'evolution'
        and (prompt not like '%to do with this: bees%' or json_extract(parameters, '$.temperature') <> 0.3)";
    assert_eq!(number(&dir, query), 0);
    // With `equality = false`, the model is not asked whether a task is the same.
    let (other, mock) = (Dir::with_dataset(), Mock::start());
    other.write("r.toml", "[self-instruct]\n[evolve]\nequality = false\n");
    let only = ["--recipe-file", "r.toml", "--evolve", "1"];
    ewe(&other, &arguments(&mock, "5", &only)).success();
    all_accounted_for(&other, 5);
    assert_eq!(
        number(&other, "select count(*) from request where stage = 'equality'"),
        0
    );

    for (content, wanted) in [
        (
            "[alpaca]\n[evolve]\nbredth = 1\n",
            "r.toml:3: unknown field `bredth`",
        ),
        ("[alpaca]\n[evolve]\npart = 1\n", "r.toml:3: unknown field `part`"),
        ("[alpaca]\n[evolve]\nbreadth = 1.5\n", "r.toml: `breadth` is 1.5"),
        (
            "[alpaca]\n[evolve]\nanswer_tokens = 0\n",
            "r.toml: `answer_tokens` is 0",
        ),
    ] {
        dir.write("r.toml", content);
        let out = ewe(&dir, &arguments(&mock, "9", &more)).failure(1);
        assert!(out.stderr().contains(wanted), "{}", out.stderr());
    }
}

/// Makes a dataset as the first release made it, with the first migration only. There is a folder
/// `migrations`.
pub fn first_release(dir: &Dir) {
    dir.write(
        "migrations/0001_schema.sql",
        include_str!("../../db/migrations/0001_schema.sql"),
    );
    block_on(async {
        use sqlx::{Connection, migrate::Migrator, sqlite::SqliteConnectOptions};
        let migrations = Migrator::new(dir.path("migrations")).await.unwrap();
        let options = SqliteConnectOptions::new()
            .filename(dir.path("d.db"))
            .create_if_missing(true);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        migrations.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
    dir.sql(
        "insert into task (instruction, origin, review) values ('Name a river in Peru.', 'seed', 'accepted')",
    );
    dir.sql("insert into instance (task_id, ordinal, input, output) values (1, 0, '', 'Ucayali')");
}

#[test]
fn a_dataset_of_the_first_release_is_migrated() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("migrations")).unwrap();
    first_release(&dir);
    assert_eq!(number(&dir, "pragma user_version"), 1);
    // Several migrations at once do not disturb each other.
    let listing: Vec<_> = (0..8)
        .map(|_| support::spawn(&dir, &["list", "--db", "d.db"]))
        .collect();
    for child in listing {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(String::from_utf8_lossy(&out.stdout).contains("Name a river in Peru."));
    }
    assert!(number(&dir, "pragma user_version") >= 2);
    let mock = Mock::start();
    ewe(&dir, &arguments(&mock, "3", &["--evolve", "1"])).success();
    all_accounted_for(&dir, 3);
    assert!(number(&dir, "select count(*) from evolution") >= 3);
}

/// The query of docs/recipes.md runs.
#[test]
fn the_documented_query_compares_operators() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "10", &["--evolve", "1"])).success();
    let docs = include_str!("../../docs/recipes.md");
    let query = docs
        .split("```sql\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let rows = dir.sql(query);
    let accepted: i64 = rows.iter().map(|row| row[2].parse::<i64>().unwrap()).sum();
    assert_eq!(accepted, 10);
}
