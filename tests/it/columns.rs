//! Column names: known names in any case, names given by `--map`, and errors about others.

use serde_json::{Value, json};

use crate::{
    formats::one_seed,
    shell::Dir,
    support::{ewe, import_file},
};

/// Imported examples: instruction, input, output.
fn imported(dir: &Dir) -> Vec<Vec<String>> {
    dir.sql("select instruction, input, output from dataset where origin = 'import' order by instance_id")
}

#[test]
fn map_reads_columns_of_any_name() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"q\": \"Name a river.\", \"answers\": {\"text\": [\"The Rhine.\"], \"start\": [3]}, \"about\": \"\"}\n",
    );
    let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
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
    // An `--against` file is read by its own column names first.
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
    let said = import_file(&dir, "text.jsonl").failure(1).stderr();
    assert!(
        said.contains("`text`") && said.contains("--map instruction=COLUMN,output=COLUMN"),
        "{said}"
    );
    ewe(&dir, &["filter", "text.jsonl", "--map", "instruction=text"]).success();
    dir.write(
        "wrapped.json",
        "{\"version\": 1, \"data\": [{\"question\": \"q\"}]}",
    );
    let said = import_file(&dir, "wrapped.json").failure(1).stderr();
    assert!(said.contains("jq -c '.data[]'"), "{said}");
}

#[test]
fn the_filter_reads_rows_without_answers() {
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
    let said = import_file(&dir, "a.jsonl").failure(1).stderr();
    assert!(
        said.contains("hint: there is no answer; --map output=COLUMN"),
        "{said}"
    );
}

#[test]
fn column_names_match_in_any_case_exact_names_first() {
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
        import_file(&dir, "rows.jsonl").success();
        assert_eq!(imported(&dir), [wanted], "{row}");
        // Fields that are not part of the task are written back, and the rows are recognized again.
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
fn a_context_beside_an_unknown_question_column_is_an_error() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"context\": \"c\", \"frage\": \"q\", \"answer\": \"a\"}\n",
    );
    let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
    assert!(
        said.contains("`context`, `frage`, `answer`\nhint: --map instruction=context,output=answer says"),
        "{said}"
    );
}

#[test]
fn hints_name_the_columns_of_the_file() {
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
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(said.contains(hint), "{row}: {said}");
        // The hint works.
        let map = hint.trim_start_matches("--map ").trim_matches('\'');
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
        assert_eq!(imported(&dir), [["q", "", "a"]], "{row}");
    }
}

#[test]
fn preference_rows_are_refused_with_a_map_that_works() {
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
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(
            said.contains("preferences") && said.contains(&format!("--map {map} ")),
            "{row}: {said}"
        );
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--map", map]).success();
        assert_eq!(imported(&dir), [["Say a.", "", "a"]], "{row}");
    }
    // Some programs store the answers apart from their question; ewe cannot join them.
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
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(said.contains(hint), "{row}: {said}");
    }
}
