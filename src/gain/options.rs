//! The options behind `--`, which go on to `ewe train`.

/// Options that are set for all steps, and what to do in place of giving them to one.
const SET: [(&str, &str); 14] = [
    ("db", "give it before the `--`"),
    ("model", "give it before the `--`"),
    ("out", "give it before the `--`"),
    (
        "template",
        "give it before the `--`, so that both models are asked by it too",
    ),
    ("template-file", "give the file as the template before the `--`"),
    ("seed", "give it before the `--`"),
    ("device", "give it before the `--`"),
    ("data", "`ewe import` takes the rows of a file into the dataset"),
    ("keep-checkpoints", "leave it away: two are kept"),
    ("resume", "leave it away: the same command goes on by itself"),
    (
        "allow-changes",
        "another folder for the result, which leaves the first one as it is",
    ),
    (
        "adapter",
        "`ewe merge` makes a model of it, which the tuned one is then compared with",
    ),
    ("dry-run", "`ewe train` with the same options does it"),
    ("json", "`ewe gain --result FILE` writes the figures of all steps"),
];

/// The option with a condition on tasks, which is put together with that of rows to leave out.
const CONDITION: &str = "where";

/// Refuses options that are set for all steps.
///
/// # Errors
///
/// Names the first, and what to do in its place.
pub fn check(options: &[String]) -> Result<(), String> {
    for (name, hint) in SET {
        if options.iter().any(|option| value_of(option, name).is_some()) {
            return Err(format!(
                "`--{name}` cannot be given to `ewe train` here: it is set for all steps\nhint: {hint}"
            ));
        }
    }
    Ok(())
}

/// Returns the options without the condition on tasks.
pub fn without_condition(options: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match value_of(option, CONDITION) {
            None => kept.push(option.clone()),
            Some(Some(_)) => {}
            // The value is the next word.
            Some(None) => {
                options.next();
            }
        }
    }
    kept
}

/// If the word is the option of this name, returns the value that it has behind `=`, if any.
fn value_of<'a>(word: &'a str, name: &str) -> Option<Option<&'a str>> {
    let rest = word.strip_prefix("--")?.strip_prefix(name)?;
    match rest.strip_prefix('=') {
        Some(value) => Some(Some(value)),
        None => rest.is_empty().then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_set_for_all_steps_is_refused_with_a_way_out() {
        for line in [
            "--epochs 3 --model x",
            "--out=tuned",
            "--template alpaca",
            "--template-file mine.jinja",
            "--data rows.jsonl",
            "--adapter a",
            "--resume",
            "--keep-checkpoints 4",
        ] {
            let said = check(&words(line)).expect_err(line);
            assert!(said.contains("is set for all steps\nhint: "), "{said}");
        }
        let said = check(&words("--seed 3")).unwrap_err();
        assert!(said.starts_with("`--seed` cannot be given"), "{said}");
        // Names that begin alike, and values.
        check(&words("--eval-data x --lr 1e-4 --label model --output-of x")).unwrap();
        check(&[]).unwrap();
    }

    #[test]
    fn a_condition_is_taken_out() {
        let all = ["--epochs", "3", "--where", "score >= 4", "--lr", "1e-4"].map(str::to_owned);
        assert_eq!(without_condition(&all), words("--epochs 3 --lr 1e-4"));
        let all = ["--where=score >= 4", "--nondeterministic"].map(str::to_owned);
        assert_eq!(without_condition(&all), words("--nondeterministic"));
    }
}
