//! Names of columns: those in use, in any case, and those that `--map` gives; what is told of others.

use serde_json::{Value, json};

use crate::{formats::one_seed, shell::Dir, support::ewe};

/// What the dataset has of files: instruction, input, output.
fn imported(dir: &Dir) -> Vec<Vec<String>> {
    dir.sql("select instruction, input, output from dataset where origin = 'import' order by instance_id")
}

#[test]
fn columns_of_any_name_are_mapped() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"q\": \"Name a river.\", \"answers\": {\"text\": [\"The Rhine.\"], \"start\": [3]}, \"about\": \"\"}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("the fields `q`, `answers`, `about`\nhint: --map instruction=q,output=answers"),
        "{said}"
    );
    let map = "instruction=q,output=answers.text.0,input=about";
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
    let rows = dir.sql("select instruction, input, output from dataset where origin = 'import'");
    assert_eq!(rows, [["Name a river.", "", "The Rhine."]]);
    ewe(&dir, &["filter", "rows.jsonl", "--map", "instruction=q"]).success();
    ewe(
        &dir,
        &["init", "--db", "seeds.db", "--seeds", "rows.jsonl", "--map", map],
    )
    .success();
    // A file beside it is looked at by its own names first.
    dir.write("eval.jsonl", "{\"q\": \"Name a river.\"}\n");
    dir.write("known.jsonl", "{\"instruction\": \"Name a river.\"}\n");
    for against in ["eval.jsonl", "known.jsonl"] {
        let out = ewe(
            &dir,
            &[
                "filter",
                "rows.jsonl",
                "--map",
                "instruction=q",
                "--rules",
                "none",
                "--against",
                against,
                "--json",
            ],
        );
        assert!(out.success().stdout().contains("\"accepted\":0"), "{against}");
    }
    for (map, words) in [
        (
            "instruction=nowhere,output=q",
            "no row of `rows.jsonl` has the column `nowhere`\nhint: its first row has the fields `q`",
        ),
        ("output=q,messages=q", "do not go together"),
        ("output=q,output=answers", "two columns"),
    ] {
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map])
            .failure(1)
            .stderr();
        assert!(said.contains(words), "{map}: {said}");
    }
    for map in ["question=q", "instruction"] {
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).failure(2);
    }
    dir.write(
        "talk.jsonl",
        "{\"talk\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}\n",
    );
    ewe(
        &dir,
        &["import", "--db", "d.db", "talk.jsonl", "--map", "messages=talk"],
    )
    .success();
    dir.write("text.jsonl", "{\"text\": \"Once upon a time\"}\n");
    let said = ewe(&dir, &["import", "--db", "d.db", "text.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("`text`") && said.contains("--map instruction=COLUMN,output=COLUMN"),
        "{said}"
    );
    ewe(&dir, &["filter", "text.jsonl", "--map", "instruction=text"]).success();
    dir.write(
        "wrapped.json",
        "{\"version\": 1, \"data\": [{\"question\": \"q\"}]}",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "wrapped.json"])
        .failure(1)
        .stderr();
    assert!(said.contains("jq -c '.data[]'"), "{said}");
}

#[test]
fn rows_of_instructions_alone_are_enough_for_the_filter() {
    let dir = Dir::new();
    one_seed(&dir);
    for (name, text) in [
        (
            "a.jsonl",
            "{\"instruction\": \"Name a river.\"}\n{\"instruction\": \"Name a river!\"}\n",
        ),
        ("b.csv", "question\nName a river.\nName a river!\n"),
        (
            "c.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Name a river.\"}]}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Name a river!\"}]}\n",
        ),
        (
            "d.jsonl",
            "{\"prompt\": \"Name a river.\"}\n{\"prompt\": \"Name a river!\"}\n",
        ),
        (
            "e.jsonl",
            "{\"instruction\": \"Name a river.\", \"output\": null}\n{\"instruction\": \"Name a river!\", \"output\": \"The Rhine.\"}\n",
        ),
    ] {
        dir.write(name, text);
        let out = ewe(&dir, &["filter", name, "--rules", "none", "--json"]).success();
        let counts: Value = serde_json::from_str(&out.stdout()).unwrap();
        assert_eq!(
            counts,
            json!({"rows": 2, "accepted": 1, "rejected": {"near_duplicate": 1}}),
            "{name}"
        );
    }
    let said = ewe(&dir, &["import", "--db", "d.db", "a.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("hint: there is no answer; --map output=COLUMN"),
        "{said}"
    );
}

#[test]
fn names_count_in_any_case_and_those_spelt_as_ours_first() {
    for (row, wanted) in [
        (
            json!({"Question": "Name a ewe.", "Answer": "Dolly"}),
            ["Name a ewe.", "", "Dolly"],
        ),
        (
            json!({"INSTRUCTION": "Name a ewe.", "RESPONSE": "Dolly", "SOURCE": "x"}),
            ["Name a ewe.", "", "Dolly"],
        ),
        (
            json!({"Context": "Name a ewe.", "Response": "Dolly"}),
            ["Name a ewe.", "", "Dolly"],
        ),
        (
            json!({"Messages": [{"Role": "user", "Content": "q"}, {"Role": "assistant", "Content": "a"}]}),
            ["q", "", "a"],
        ),
        (
            json!({"instruction": "q", "output": "a", "Response": "b", "Output": "c"}),
            ["q", "", "a"],
        ),
        (
            json!({"Prompt": "p", "question": "q", "answer": "a", "context": "c"}),
            ["q", "c", "a"],
        ),
    ] {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write("rows.jsonl", format!("{row}\n"));
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
        assert_eq!(imported(&dir), [wanted], "{row}");
        // What was no part of the task is written back, and the rows are known again.
        ewe(
            &dir,
            &[
                "export", "--db", "d.db", "--format", "alpaca", "--review", "any", "--out", "x.jsonl",
            ],
        )
        .success();
        let out = ewe(&dir, &["import", "--db", "d.db", "x.jsonl", "--json"]).success();
        let again: Value = serde_json::from_str(&out.stdout()).unwrap();
        assert_eq!(again["tasks"], 0, "{row}: {}", dir.read("x.jsonl"));
    }
}

#[test]
fn a_context_beside_a_question_asks_nothing() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"context\": \"c\", \"frage\": \"q\", \"answer\": \"a\"}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("`context`, `frage`, `answer`\nhint: --map instruction=context,output=answer says"),
        "{said}"
    );
}

#[test]
fn hints_name_the_columns_that_are_there() {
    for (row, hint) in [
        (
            json!({"Frage": "q", "Antwort": "a"}),
            "--map instruction=Frage,output=Antwort",
        ),
        (
            json!({"My question": "q", "The reply": "a"}),
            "--map 'instruction=My question,output=The reply'",
        ),
        (
            json!({"question": "q", "best_answer": "a"}),
            "--map output=best_answer",
        ),
    ] {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
            .failure(1)
            .stderr();
        assert!(said.contains(hint), "{row}: {said}");
        // It does what it says.
        let map = hint.trim_start_matches("--map ").trim_matches('\'');
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
        assert_eq!(imported(&dir), [["q", "", "a"]], "{row}");
    }
}

#[test]
fn preferences_are_named_with_a_way_out_that_works() {
    let talk = |answer: &str| json!([{"role": "user", "content": "Say a."}, {"role": "assistant", "content": answer}]);
    let dialogue = |answer: &str| format!("\n\nHuman: Say a.\n\nAssistant: {answer}");
    for (row, map) in [
        (
            json!({"prompt": "Say a.", "chosen": "a", "rejected": "b"}),
            "output=chosen",
        ),
        (
            json!({"prompt": "Say a.", "chosen": talk("a"), "rejected": talk("b")}),
            "messages=chosen",
        ),
        (
            json!({"chosen": talk("a"), "rejected": talk("b")}),
            "messages=chosen",
        ),
        (
            json!({"chosen": dialogue("a"), "rejected": dialogue("b")}),
            "messages=chosen",
        ),
    ] {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
            .failure(1)
            .stderr();
        assert!(
            said.contains("preferences") && said.contains(&format!("--map {map} ")),
            "{row}: {said}"
        );
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
        assert_eq!(imported(&dir), [["Say a.", "", "a"]], "{row}");
    }
    // Apart from their question answers are put behind it by another program.
    let answer = json!([{"role": "assistant", "content": "a"}]);
    for (row, hint) in [
        (
            json!({"prompt": [{"role": "user", "content": "Say a."}], "chosen": answer, "rejected": answer}),
            "`jq -c '{messages: (.prompt + .chosen)}' FILE`",
        ),
        (
            json!({"input": {"messages": []}, "preferred_output": answer, "non_preferred_output": answer}),
            "`jq -c '{messages: (.input.messages + .preferred_output)}' FILE`",
        ),
    ] {
        let dir = Dir::new();
        one_seed(&dir);
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
            .failure(1)
            .stderr();
        assert!(said.contains(hint), "{row}: {said}");
    }
}
