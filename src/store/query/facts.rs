//! Queries for people: the text that gives a figure of the dataset card, so that everybody can count again. A test does.

/// A literal in SQL. What one cannot see, or not tell from something else, is written by its number.
fn quoted(text: &str) -> String {
    let mut literal = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => literal.push_str("''"),
            ' ' => literal.push(' '),
            _ if character.is_ascii_graphic() || character.is_alphanumeric() => literal.push(character),
            _ => literal.push_str(&format!("' || char({}) || '", u32::from(character))),
        }
    }
    literal.push('\'');
    literal
}

/// Tasks of the dataset.
pub fn tasks() -> String {
    "SELECT count(DISTINCT task_id) FROM dataset".to_owned()
}

/// Examples of the dataset.
pub fn examples() -> String {
    "SELECT count(*) FROM dataset".to_owned()
}

/// Examples whose task has this review.
pub fn examples_of(review: &str) -> String {
    format!("SELECT count(*) FROM dataset WHERE review = {}", quoted(review))
}

/// Tasks of this origin and review, with instances or without.
pub fn tasks_of(origin: &str, review: &str) -> String {
    format!(
        "SELECT count(*) FROM task WHERE origin = {} AND review = {}",
        quoted(origin),
        quoted(review)
    )
}

/// Tasks of this origin that were not rejected.
pub fn kept_of(origin: &str) -> String {
    format!(
        "SELECT count(*) FROM task WHERE origin = {} AND review <> 'rejected'",
        quoted(origin)
    )
}

/// Model calls of all runs.
pub fn requests() -> String {
    "SELECT count(*) FROM request".to_owned()
}

/// Tasks of the dataset that classify.
pub fn classification() -> String {
    "SELECT count(DISTINCT task_id) FROM dataset WHERE is_classification = 1".to_owned()
}

/// Examples with an input.
pub fn with_input() -> String {
    "SELECT count(*) FROM dataset WHERE input <> ''".to_owned()
}

/// Everything that was parsed.
pub fn candidates() -> String {
    "SELECT count(*) FROM candidate".to_owned()
}

/// What the filter let through.
pub fn accepted_candidates() -> String {
    "SELECT count(*) FROM candidate WHERE verdict = 'accepted'".to_owned()
}

/// What the filter turned away.
pub fn rejections() -> String {
    "SELECT count(*) FROM rejection".to_owned()
}

/// Candidates of this kind that were rejected for this reason.
pub fn rejections_of(kind: &str, reason: &str) -> String {
    format!(
        "SELECT count(*) FROM candidate WHERE verdict = 'rejected' AND kind = {} AND reason = {}",
        quoted(kind),
        quoted(reason)
    )
}

/// Tasks of the dataset with a nearest neighbour of at least so many hundredths.
pub fn nearest_from(hundredths: i64) -> String {
    format!(
        "SELECT count(*) FROM task WHERE review <> 'rejected' AND CAST(nearest_rouge_l * 20 AS INTEGER) * 5 >= {hundredths}"
    )
}

/// A sum over the requests of a run.
pub fn of_run(run_id: i64, what: &str) -> String {
    format!("SELECT {what} FROM request WHERE run_id = {run_id}")
}

/// Tasks that a run brought in.
pub fn tasks_of_run(run_id: i64) -> String {
    format!("SELECT count(*) FROM task WHERE run_id = {run_id}")
}

/// Examples that this judge gave this score, or whose score could not be read.
pub fn scores_of(model: &str, score: Option<i64>) -> String {
    let score = score.map_or("NULL".to_owned(), |score| score.to_string());
    format!(
        "SELECT count(*) FROM judged JOIN task ON task.id = task_id \
         WHERE review <> 'rejected' AND model = {} AND judged.score IS {score}",
        quoted(model)
    )
}

/// Examples with this label.
pub fn label(label: &str) -> String {
    format!(
        "SELECT count(*) FROM dataset WHERE is_classification = 1 AND lower(output) = {}",
        quoted(label)
    )
}

/// Tasks with this verb, as they were counted last.
pub fn verb(verb: &str) -> String {
    format!(
        "SELECT coalesce(sum(root.value), 0) FROM tally, json_each(counts, '$.roots.' || {}) AS root WHERE subject = 'task'",
        quoted(verb)
    )
}
