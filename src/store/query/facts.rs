//! Queries for people: the SQL behind each figure of the dataset card, so that everybody can count
//! again. A test does.

/// Writes an SQL literal. Characters that are invisible or ambiguous are written as numbers.
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

/// Counts tasks of the dataset.
pub fn tasks() -> String {
    "SELECT count(DISTINCT task_id) FROM dataset".to_owned()
}

/// Counts examples of the dataset.
pub fn examples() -> String {
    "SELECT count(*) FROM dataset".to_owned()
}

/// Counts examples whose task has this review.
pub fn examples_of(review: &str) -> String {
    format!("SELECT count(*) FROM dataset WHERE review = {}", quoted(review))
}

/// Counts tasks of this origin and review, with instances or without.
pub fn tasks_of(origin: &str, review: &str) -> String {
    format!(
        "SELECT count(*) FROM task WHERE origin = {} AND review = {}",
        quoted(origin),
        quoted(review)
    )
}

/// Counts tasks of this origin that were not rejected.
pub fn kept_of(origin: &str) -> String {
    format!(
        "SELECT count(*) FROM task WHERE origin = {} AND review <> 'rejected'",
        quoted(origin)
    )
}

/// Counts requests of all runs.
pub fn requests() -> String {
    "SELECT count(*) FROM request".to_owned()
}

/// Counts classification tasks of the dataset.
pub fn classification() -> String {
    "SELECT count(DISTINCT task_id) FROM dataset WHERE is_classification = 1".to_owned()
}

/// Counts examples with an input.
pub fn with_input() -> String {
    "SELECT count(*) FROM dataset WHERE input <> ''".to_owned()
}

/// Counts tasks of which two reviewers or more have an opinion that holds.
pub fn reviewed_twice() -> String {
    "SELECT count(*) FROM (SELECT 1 FROM opinion_now GROUP BY task_id HAVING count(*) >= 2)".to_owned()
}

/// Counts all candidates.
pub fn candidates() -> String {
    "SELECT count(*) FROM candidate".to_owned()
}

/// Counts accepted candidates.
pub fn accepted_candidates() -> String {
    "SELECT count(*) FROM candidate WHERE verdict = 'accepted'".to_owned()
}

/// Counts candidates that were rejected for a reason of their own.
pub fn rejections() -> String {
    "SELECT count(*) FROM rejection WHERE reason <> 'instruction_rejected'".to_owned()
}

/// Counts candidates of this kind that were rejected for this reason.
pub fn rejections_of(kind: &str, reason: &str) -> String {
    format!(
        "SELECT count(*) FROM candidate WHERE verdict = 'rejected' AND kind = {} AND reason = {}",
        quoted(kind),
        quoted(reason)
    )
}

/// Counts tasks of the dataset whose nearest neighbor has at least this ROUGE-L, in hundredths.
pub fn nearest_from(hundredths: i64) -> String {
    format!(
        "SELECT count(*) FROM task WHERE review <> 'rejected' AND CAST(nearest_rouge_l * 20 AS INTEGER) * 5 >= {hundredths}"
    )
}

/// Returns a sum or count over the requests of a run.
pub fn of_run(run_id: i64, what: &str) -> String {
    format!("SELECT {what} FROM request WHERE run_id = {run_id}")
}

/// Counts the tasks that a run added.
pub fn tasks_of_run(run_id: i64) -> String {
    format!("SELECT count(*) FROM task WHERE run_id = {run_id}")
}

/// Counts the examples that this judge gave this score; `None` stands for unreadable scores.
pub fn scores_of(model: &str, score: Option<i64>) -> String {
    let score = score.map_or("NULL".to_owned(), |score| score.to_string());
    format!(
        "SELECT count(*) FROM judged JOIN task ON task.id = task_id \
         WHERE review <> 'rejected' AND model = {} AND judged.score IS {score}",
        quoted(model)
    )
}

/// Counts the examples with this label.
pub fn label(label: &str) -> String {
    format!(
        "SELECT count(*) FROM dataset WHERE is_classification = 1 AND lower(output) = {}",
        quoted(label)
    )
}

/// Counts the tasks with this verb, as of the last tally.
pub fn verb(verb: &str) -> String {
    format!(
        "SELECT coalesce(sum(root.value), 0) FROM tally, json_each(counts, '$.roots.' || {}) AS root WHERE subject = 'task'",
        quoted(verb)
    )
}
