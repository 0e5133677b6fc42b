//! `ewe generate --turns`: tasks continued as conversations, what is rejected of them, and what is
//! stored about it.

use crate::faulty_endpoint::{Asked, Reply, Server};
use crate::mock::{self, Mock};
use crate::recipes::{ALPACA, all_accounted_for, arguments};
use crate::shell::{Dir, ewe};
use crate::support::{self, export, import_file, json, number};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const TURNS: [&str; 2] = ["--turns", "2-4"];

/// The prompts that ask for a message of the user, and for an answer.
const FOLLOW_UP: &str = "A user never answers";
const REPLY: &str = "takes what was said before into account";

/// All conversations, with the tasks that they continue.
const MADE: &str = "select round, parent_task_id, operator from evolution order by 1";

/// How many messages the user has in each conversation that was made.
const LENGTHS: &str = "select length / 2 from conversation where origin = 'machine'";

#[test]
fn tasks_are_continued_as_conversations() {
    for recipe in [&[][..], &ALPACA, &["--recipe", "alpaca", "--structured"]] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        ewe(&dir, &arguments(&mock, "60", &[recipe, &TURNS].concat())).success();
        all_accounted_for(&dir, 60);
        assert_eq!(
            number(&dir, "select count(*) from request"),
            mock.requests() as i64
        );
        // Every one is of a task of its own, which is as it was, and begins as that one does.
        let query = "select count(distinct parent_task_id) from task join evolution using (round)
            where operator = 'continue'";
        assert_eq!(number(&dir, query), 60);
        assert_eq!(
            number(
                &dir,
                "select count(*) from task where origin = 'seed' and review <> 'accepted'"
            ),
            0
        );
        let query = "select count(*) from task
            join instance on instance.task_id = task.id
            join evolution using (round)
            join task as parent on parent.id = parent_task_id
            join instance as first on first.task_id = parent.id and first.ordinal = 0
            where task.instruction <> parent.instruction or task.system is not parent.system
                or instance.input <> first.input or instance.output <> first.output or instance.turns is null";
        assert_eq!(number(&dir, query), 0);
        // Each has from two to four messages of the user, and the speakers take turns.
        let lengths: BTreeSet<String> = dir.sql(LENGTHS).concat().into_iter().collect();
        assert_eq!(lengths, ["2", "3", "4"].map(String::from).into());
        let query = "select count(*) from instance, json_each(turns) as turn
            where turn.value ->> 'role' <> iif(turn.key % 2, 'assistant', 'user') or turn.value ->> 'content' = ''";
        assert_eq!(number(&dir, query), 0);
        // The turns are candidates, each with a verdict.
        for reason in [
            "role_confusion",
            "closing_turn",
            "empty",
            "truncated",
            "refusal",
            "too_few_turns",
        ] {
            let query = format!(
                "select count(*) from candidate join evolution using (round) where reason = '{reason}'"
            );
            assert!(number(&dir, &query) > 0, "{reason}");
        }
        let query = "select count(*) from candidate where kind = 'instance' and verdict = 'accepted'
            and not exists (
                select 1 from instance, json_each(turns) as turn
                where instance.task_id = candidate.task_id and turn.value ->> 'content' = candidate.output
            )";
        assert_eq!(number(&dir, query), 0);
        let kept = "select config ->> '$.turns.turns' from run where command = 'generate'";
        assert_eq!(dir.sql(kept), [["2-4"]]);
        ewe(&dir, &["check", "--db", "d.db"]).success();
    }
}

#[test]
fn a_killed_run_with_turns_resumes_to_the_same_export() {
    let more = [&TURNS[..], &["--evolve", "0.2"]].concat();
    let (whole, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&whole, &arguments(&mock, "50", &more)).success();
    assert!(
        number(
            &whole,
            "select count(*) from evolution where operator <> 'continue'"
        ) > 0
    );

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(20));
    support::kill_again_and_again(
        &dir,
        &mock,
        &arguments(&mock, "50", &more),
        &[90, 140, 60, 200, 110, 170],
    );
    ewe(&dir, &arguments(&mock, "50", &more)).success();
    all_accounted_for(&dir, 50);
    assert_eq!(export(&dir), export(&whole));
    assert_eq!(dir.sql(MADE), whole.sql(MADE));
}

/// The export of a run that nothing disturbs.
fn undisturbed(target: &str) -> String {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, target, &TURNS)).success();
    export(&dir)
}

#[test]
fn several_endpoints_and_one_that_dies_give_the_same_conversations() {
    let wanted = undisturbed("30");
    let (dir, mock, other) = (Dir::with_dataset(), Mock::start(), Mock::start());
    let more = [&["--endpoint", &other.url][..], &TURNS].concat();
    ewe(&dir, &arguments(&mock, "30", &more)).success();
    assert_eq!(export(&dir), wanted);
    assert!(mock.requests() > 0 && other.requests() > 0);

    // A server that answers twenty requests and then never again.
    let dies = Server::start(|asked: &Asked| match asked.number {
        0..20 => Reply::Answer,
        _ => Reply::Status(500, String::new(), b"gone".to_vec()),
    });
    let dir = Dir::with_dataset();
    let url = dies.url.clone();
    let more = [&TURNS[..], &["--retries", "0", "--give-up-after", "4"]].concat();
    ewe(&dir, &support::generation("30", &url, &more)).failure(1);
    let paid = number(&dir, "select count(*) from request");
    assert!(paid > 0, "what was answered is stored");
    ewe(&dir, &["check", "--db", "d.db"]).success();
    // Requests that failed are verdicts, and the run goes on with another server.
    let mock = Mock::start();
    ewe(&dir, &arguments(&mock, "30", &TURNS)).success();
    all_accounted_for(&dir, 30);
    assert_eq!(
        number(&dir, "select count(*) from request"),
        paid + mock.requests() as i64
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn numbers_of_turns_that_make_no_sense_are_refused() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    for (turns, said) in [
        ("1", "a task has one turn as it is"),
        ("1-3", "a task has one turn as it is"),
        ("5-2", "did you mean 2-5?"),
        ("100", "from 2 to 32"),
        ("2-100", "from 2 to 32"),
        ("many", "like 3 or 2-4"),
    ] {
        let out = ewe(&dir, &arguments(&mock, "5", &["--turns", turns])).failure(2);
        assert!(out.stderr().contains(said), "{}", out.stderr());
    }
    assert_eq!(mock.received(), 0);
    ewe(&dir, &arguments(&mock, "5", &["--turns", "3"])).success();
    let lengths: BTreeSet<String> = dir.sql(LENGTHS).concat().into_iter().collect();
    assert_eq!(lengths, ["3"].map(String::from).into());
}

/// Runs rounds in which the user says `question` and the assistant `answer`, until `target` tasks are
/// made or 6 requests are spent. Returns the dataset and the reasons of rejections in round 0.
fn run_with(question: &str, answer: &str, turns: &str, target: &str) -> (Dir, Vec<String>) {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.say(FOLLOW_UP, question, "stop");
    mock.say(REPLY, answer, "stop");
    let more = ["--turns", turns, "--window", "1", "--max-requests", "6"];
    ewe(&dir, &arguments(&mock, target, &more)).success();
    let query = "select reason from candidate where round = 0 and reason is not null order by id";
    let reasons = dir.sql(query).concat();
    (dir, reasons)
}

const QUESTION: &str = " And how would a beekeeper in Norway go about that?\n";
const ANSWER: &str = " A beekeeper in Norway would wait until the willows bloom.";

#[test]
fn turns_of_the_wrong_speaker_are_rejected() {
    for (question, answer, reason) in [
        ("As an AI, I cannot have a favorite.", ANSWER, "role_confusion"),
        ("How can I help you today?", ANSWER, "role_confusion"),
        (
            "Why? Assistant: Because of the willows.",
            ANSWER,
            "role_confusion",
        ),
        ("Why is that?\nAnswer: the willows.", ANSWER, "role_confusion"),
        ("Thanks!", ANSWER, "closing_turn"),
        ("Great, thank you so much for your help.", ANSWER, "closing_turn"),
        ("???", ANSWER, "empty"),
        (" ", ANSWER, "empty_answer"),
        ("User:", ANSWER, "unparsed"),
        (
            QUESTION,
            "Thank you for the answer! Now I know.",
            "role_confusion",
        ),
        (QUESTION, "It depends. Human: On what?", "role_confusion"),
        // Examples of the prompt.
        (
            "Make it more formal, please. My boss is invited too.",
            ANSWER,
            "prompt_leak",
        ),
        (
            QUESTION,
            "Both: botanists call it a fruit; cooks treat it as a vegetable.",
            "prompt_leak",
        ),
        (QUESTION, "", "empty_answer"),
        (QUESTION, "I'm sorry, but I can't help with that.", "refusal"),
    ] {
        let (dir, reasons) = run_with(question, answer, "2", "1");
        assert_eq!(reasons, ["too_few_turns", reason], "{question} {answer}");
        assert_eq!(
            number(&dir, "select count(*) from task where origin = 'machine'"),
            0
        );
        ewe(&dir, &["check", "--db", "d.db"]).success();
    }
    let (dir, reasons) = run_with(QUESTION, ANSWER, "2", "1");
    assert!(reasons.is_empty(), "{reasons:?}");
    let turns = dir.sql("select turns from instance where turns is not null");
    let wanted = json!([
        {"role": "user", "content": QUESTION.trim()},
        {"role": "assistant", "content": ANSWER.trim()},
    ]);
    assert_eq!(serde_json::from_str::<Value>(&turns[0][0]).unwrap(), wanted);
    // A follow-up may be as short as it likes, and about anything.
    for question in ["Why?", "How do I descale a kettle?"] {
        let (_, reasons) = run_with(question, ANSWER, "2", "1");
        assert!(reasons.is_empty(), "{question}: {reasons:?}");
    }
}

#[test]
fn a_turn_that_repeats_an_earlier_one_ends_the_conversation() {
    // The same question again is the third turn: two are enough, or too few.
    let (dir, reasons) = run_with(QUESTION, ANSWER, "2-4", "1");
    let lengths = dir.sql(LENGTHS).concat();
    assert!(lengths.iter().all(|length| length == "2"), "{lengths:?}");
    assert!(reasons.is_empty() || reasons == ["repeated_turn"], "{reasons:?}");
    let (dir, reasons) = run_with(QUESTION, ANSWER, "3", "1");
    assert_eq!(
        reasons,
        ["too_few_turns", "instruction_rejected", "repeated_turn"]
    );
    let rows = dir.sql("select detail from candidate where round = 0 order by id");
    assert_eq!(rows[0], ["2 turns of 3"]);
    assert!(
        rows[2][0].starts_with("ROUGE-L 1.000 with 'And how would"),
        "{rows:?}"
    );
    let listed = ewe(&dir, &["candidates", "--db", "d.db", "--rule", "repeated_turn"]).success();
    assert!(listed.stdout().contains("beekeeper"), "{}", listed.stdout());
}

#[test]
fn nonsense_makes_no_conversation_and_ends_the_run() {
    for nonsense in [
        "lorem",
        "",
        "\u{0}\u{1}",
        "{\"message\":",
        "User: Assistant: User:",
    ] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        mock.say("Conversations between", nonsense, "stop");
        let more = ["--turns", "3", "--give-up-after", "12"];
        let ran = crate::support::ewe(&dir, &arguments(&mock, "20", &more));
        let _ = ran.stderr();
        assert_eq!(
            number(&dir, "select count(*) from task join evolution using (round)"),
            0,
            "{nonsense}"
        );
        ewe(&dir, &["check", "--db", "d.db"]).success();
    }
}

#[test]
fn a_task_is_tried_three_times_and_then_new_tasks_are_made() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.sql("update task set review = 'rejected' where id > 8");
    mock.say(FOLLOW_UP, "Thanks!", "stop");
    ewe(
        &dir,
        &arguments(
            &mock,
            "24",
            &["--turns", "2", "--window", "2", "--give-up-after", "1000"],
        ),
    )
    .success();
    all_accounted_for(&dir, 24);
    let tried = "select count(*) from evolution where parent_task_id <= 8 group by parent_task_id";
    assert_eq!(dir.sql(tried), [["3"]; 8]);
    assert!(number(&dir, "select count(*) from request where stage = 'instructions'") > 0);
    // New tasks are continued in turn.
    let made = "select count(*) from evolution join task on id = parent_task_id where origin = 'machine'";
    assert!(number(&dir, made) > 0);
}

#[test]
fn what_was_rejected_or_held_out_or_has_turns_is_not_continued() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write(
        "rows.jsonl",
        concat!(
            r#"{"messages":[{"role":"user","content":"Name a river in the south of Peru."},{"role":"assistant","content":"Tambo"}]}"#,
            "\n",
            r#"{"messages":[{"role":"user","content":"Which lake is the deepest?"},{"role":"assistant","content":"Baikal"},"#,
            r#"{"role":"user","content":"And the largest?"},{"role":"assistant","content":"The Caspian Sea"}]}"#,
            "\n",
            r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Name any glacier of the Alps."},{"role":"assistant","content":"Aletsch"}]}"#,
            "\n",
        ),
    );
    import_file(&dir, "rows.jsonl").success();
    let ids = dir
        .sql("select id from task where origin = 'import' order by id")
        .concat();
    dir.sql(&format!(
        "update task set review = 'rejected' where id not in ({})",
        ids.join(", ")
    ));
    dir.sql("update task set review = 'accepted' where id in (5, 6)");
    dir.sql(&format!(
        "update task set review = 'accepted' where id in ({}, {})",
        ids[1], ids[2]
    ));
    ewe(
        &dir,
        &["split", "--db", "d.db", "--eval", "1", "--where", "id = 5"],
    )
    .success();
    // An import that nobody accepted, a conversation, and a held-out task stay as they are.
    ewe(&dir, &arguments(&mock, "2", &["--turns", "2", "--window", "1"])).success();
    let parents: BTreeSet<String> = dir
        .sql("select parent_task_id from evolution")
        .concat()
        .into_iter()
        .collect();
    assert!(
        parents.is_subset(&[&ids[2], "6"].map(String::from).into()),
        "{parents:?}"
    );
    // The system message goes along.
    let query = format!(
        "select system from task join evolution using (round) where parent_task_id = {}",
        ids[2]
    );
    assert!(
        dir.sql(&query)
            .concat()
            .iter()
            .all(|system| system == "Be brief.")
    );
}

#[test]
fn show_export_and_undo_know_a_conversation_that_was_made() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "5", &["--turns", "3"])).success();
    let made = dir.sql("select task.id, parent_task_id from task join evolution using (round) order by 1");
    let [id, parent] = &made[0][..] else {
        panic!("two columns");
    };
    let shown = ewe(&dir, &["show", "--db", "d.db", id]).success().stdout();
    assert!(shown.contains(&format!("\ncontinues task {parent}\n")), "{shown}");
    let shown = json(ewe(&dir, &["show", "--db", "d.db", id, "--json"]));
    assert_eq!(shown["evolution"]["operator"], "continue");
    // It is not listed as similar to what it continues.
    let query = format!("select count(*) from neighbor where task_id = {id} and neighbor_id = {parent}");
    assert_eq!(number(&dir, &query), 0);
    // Through a file and back, the same conversations.
    let chat = "export --db d.db --format chat --origin machine --out rows.jsonl";
    ewe(&dir, &chat.split(' ').collect::<Vec<_>>()).success();
    assert_eq!(dir.read("rows.jsonl").lines().count(), 5);
    import_file(&dir, "rows.jsonl").success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    // A rejected one leaves the dataset, and its parent stays.
    ewe(&dir, &["reject", "--db", "d.db", id]).success();
    assert_eq!(
        number(
            &dir,
            &format!("select count(distinct task_id) from dataset where task_id in ({id}, {parent})")
        ),
        1
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(
        number(
            &dir,
            &format!("select count(distinct task_id) from dataset where task_id in ({id}, {parent})")
        ),
        2
    );
}

#[test]
fn a_rejected_conversation_can_be_rescued_whole() {
    let (dir, _) = run_with(QUESTION, "Thank you for the answer! Now I know.", "2", "1");
    let id = &dir.sql("select id from candidate where reason = 'too_few_turns' order by id limit 1")[0][0];
    ewe(&dir, &["rescue", "--db", "d.db", id]).success();
    let row = dir.sql(
        "select task.instruction = parent.instruction, instance.output = first.output, json_array_length(instance.turns)
        from task join instance on instance.task_id = task.id and task.origin = 'machine'
        join evolution on evolution.round = 0
        join task as parent on parent.id = parent_task_id
        join instance as first on first.task_id = parent.id and first.ordinal = 0",
    );
    assert_eq!(row, [["1", "1", "2"]]);
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn batch_files_make_the_same_conversations() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let more = [&TURNS[..], &["--window", "8"]].concat();
    ewe(&dir, &arguments(&mock, "12", &more)).success();
    let wanted = export(&dir);

    let dir = Dir::with_dataset();
    let through = "generate --db d.db --batch-file out.jsonl --endpoint-model mock --target 12";
    let through: Vec<&str> = through.split(' ').collect();
    let mut next = [&through, &more[..]].concat();
    for _ in 0..60 {
        ewe(&dir, &next).success();
        if !dir.path("out.jsonl").exists() {
            break;
        }
        let lines: Vec<String> = dir.read("out.jsonl").lines().map(result_line).collect();
        dir.write("in.jsonl", lines.join("\n"));
        next = [&through, &more[..], &["--batch-results", "in.jsonl"]].concat();
    }
    assert_eq!(export(&dir), wanted);
    all_accounted_for(&dir, 12);
}

/// The result line that a service writes for a request that the mock answers.
fn result_line(request: &str) -> String {
    let request: Value = serde_json::from_str(request).unwrap();
    let (text, finish) = mock::answer_to(&request["body"]);
    json!({"id": "b", "custom_id": request["custom_id"], "error": null, "response": {
        "status_code": 200, "request_id": "q", "body": {
            "choices": [{"index": 0, "text": text, "finish_reason": finish}]}}})
    .to_string()
}

#[test]
fn a_validator_sees_whole_conversations() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write(
        "check.py",
        "import json, sys\n\
         for line in sys.stdin:\n\
         \x20   row = json.loads(line)\n\
         \x20   said = ' '.join(turn['content'] for turn in row.get('turns', []))\n\
         \x20   print(json.dumps({'accept': 'castle' not in said, 'reason': 'a castle'}), flush=True)\n",
    );
    let more = [&TURNS[..], &["--validator", "python3 check.py"]].concat();
    ewe(&dir, &arguments(&mock, "30", &more)).success();
    all_accounted_for(&dir, 30);
    let castles = "select count(*) from instance where turns like '%castle%'";
    assert_eq!(number(&dir, castles), 0);
    let rejected = "select distinct detail from candidate where reason = 'validator'";
    assert_eq!(dir.sql(rejected), [["a castle"]]);
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn the_turns_table_of_a_recipe_file_sets_its_constants() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write(
        "r.toml",
        "[self-instruct]\n[turns]\nexamples = 2\ntemperature = 0.3\ntokens = 99\nanswer_tokens = 77\n",
    );
    ewe(
        &dir,
        &arguments(&mock, "5", &["--recipe-file", "r.toml", "--turns", "2"]),
    )
    .success();
    let asked = dir.sql(
        "select distinct stage, parameters ->> '$.max_tokens', parameters ->> '$.temperature' from request order by 1",
    );
    assert_eq!(asked, [["follow_up", "99", "0.3"], ["reply", "77", "0.7"]]);
    let prompt = &dir.sql("select prompt from request where stage = 'follow_up' limit 1")[0][0];
    let (_, manner) = prompt.split_once("Users write like this:\n").unwrap();
    assert_eq!(
        manner.lines().take_while(|line| line.starts_with("- ")).count(),
        2
    );

    for (content, wanted) in [
        (
            "[self-instruct]\n[turns]\nturns = \"2\"\n",
            "unknown field `turns`",
        ),
        (
            "[self-instruct]\n[turns]\ntries = 0\n",
            "`tries` is 0: want at least 1",
        ),
        (
            "[self-instruct]\n[turns]\nanswer_top_p = 0\n",
            "`answer_top_p` is 0",
        ),
    ] {
        dir.write("r.toml", content);
        let out = ewe(
            &dir,
            &arguments(&mock, "9", &["--recipe-file", "r.toml", "--turns", "2"]),
        )
        .failure(1);
        assert!(out.stderr().contains(wanted), "{}", out.stderr());
    }
}
