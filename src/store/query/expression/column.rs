//! The columns that an expression may name.

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Truth,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A column of tasks.
#[derive(Debug)]
pub(super) struct Column {
    /// Its name, as in `ewe list --json`, and where that is shorter, as the option calls it.
    names: &'static [&'static str],
    /// Its value in a row of `task`. A `+` keeps SQLite from using the column's index: the query
    /// plan has chosen one already.
    pub sql: &'static str,
    pub kind: Kind,
}

const COLUMNS: &[Column] = &[
    Column {
        names: &["id"],
        sql: "+task.id",
        kind: Kind::Number,
    },
    Column {
        names: &["review"],
        sql: "+task.review",
        kind: Kind::OneOf(&["pending", "accepted", "rejected"]),
    },
    Column {
        names: &["origin"],
        sql: "+task.origin",
        kind: Kind::OneOf(&["seed", "machine", "import"]),
    },
    Column {
        names: &["split"],
        sql: "iif(EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id), 'eval', 'train')",
        kind: Kind::OneOf(&["train", "eval"]),
    },
    Column {
        names: &["score"],
        sql: "+task.score",
        kind: Kind::Number,
    },
    Column {
        names: &["influence"],
        sql: "+task.influence",
        kind: Kind::Number,
    },
    Column {
        names: &["ifd"],
        sql: "+task.ifd",
        kind: Kind::Number,
    },
    Column {
        names: &["similarity", "nearest_rouge_l"],
        sql: "+task.nearest_rouge_l",
        kind: Kind::Number,
    },
    Column {
        names: &["length"],
        sql: "+task.length",
        kind: Kind::Number,
    },
    Column {
        names: &["instances"],
        sql: "(SELECT count(*) FROM instance WHERE instance.task_id = task.id)",
        kind: Kind::Number,
    },
    Column {
        names: &["turns"],
        sql: "(
            SELECT max(1 + (
                SELECT count(*)
                FROM json_each(instance.turns) AS turn
                WHERE turn.type = 'object' AND turn.value ->> 'role' = 'user'
            ))
            FROM instance
            WHERE instance.task_id = task.id
        )",
        kind: Kind::Number,
    },
    Column {
        names: &["continued"],
        sql: "EXISTS (
            SELECT 1
            FROM evolution
            JOIN candidate ON candidate.round = evolution.round
                AND candidate.kind = 'instruction'
                AND candidate.verdict = 'accepted'
            JOIN task AS later ON later.id = candidate.task_id
            WHERE evolution.parent_task_id = task.id
                AND evolution.operator = 'continue'
                AND later.review <> 'rejected'
        )",
        kind: Kind::Truth,
    },
    Column {
        names: &["classification", "is_classification"],
        sql: "+task.is_classification",
        kind: Kind::Truth,
    },
    Column {
        names: &["run", "run_id"],
        sql: "+task.run_id",
        kind: Kind::Number,
    },
    Column {
        names: &["round"],
        sql: "+task.round",
        kind: Kind::Number,
    },
    Column {
        names: &["name"],
        sql: "+task.name",
        kind: Kind::Text,
    },
    Column {
        names: &["instruction"],
        sql: "+task.instruction",
        kind: Kind::Text,
    },
    Column {
        names: &["reviewers"],
        sql: "(SELECT count(*) FROM assigned WHERE assigned.task_id = task.id)",
        kind: Kind::Number,
    },
    Column {
        names: &["opinions"],
        sql: "(SELECT count(*) FROM opinion_now WHERE opinion_now.task_id = task.id)",
        kind: Kind::Number,
    },
    Column {
        names: &["comments"],
        sql: "(SELECT count(*) FROM comment WHERE comment.task_id = task.id AND comment.withdrawn_at IS NULL)",
        kind: Kind::Number,
    },
    Column {
        names: &["disagreement"],
        sql: "(task.id IN (SELECT task_id FROM disagreement))",
        kind: Kind::Truth,
    },
    Column {
        names: &["created_at"],
        sql: "+task.created_at",
        kind: Kind::Text,
    },
    Column {
        names: &["updated_at"],
        sql: "+task.updated_at",
        kind: Kind::Text,
    },
];

/// The score of a criterion of a rubric, whose name is bound: the mean of the judges, and of
/// several instances the worst.
pub(super) const CRITERION: Column = Column {
    names: &["rubric.…"],
    sql: "(
        SELECT min(mean)
        FROM (
            SELECT avg(criterion_score.score) AS mean
            FROM criterion_score
            WHERE criterion_score.task_id = task.id AND criterion_score.criterion = ?
            GROUP BY criterion_score.instance_id
        )
    )",
    kind: Kind::Number,
};

/// What the names of criteria begin with.
pub(super) const RUBRIC: &str = "rubric.";

impl Column {
    /// Returns the column of this name, in any case.
    pub fn named(name: &str) -> Option<&'static Column> {
        let is_its = |known: &&str| known.eq_ignore_ascii_case(name);
        COLUMNS.iter().find(|column| column.names.iter().any(is_its))
    }

    /// Fails if one value of the column is not below another.
    pub fn has_order(&self, at: usize) -> Result<(), String> {
        match self.kind {
            Kind::Number | Kind::Text => Ok(()),
            Kind::Truth | Kind::OneOf(_) => Err(format!(
                "character {at}: `{}` has no order: compare it by = or !=",
                self.names[0]
            )),
        }
    }

    /// Says which values it has.
    pub fn wants(&self) -> String {
        let what = match self.kind {
            Kind::Number => "a number".to_owned(),
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Truth => "yes or no".to_owned(),
            Kind::OneOf(words) => format!("one of '{}'", words.join("', '")),
        };
        format!("{what} for `{}`", self.names[0])
    }
}

/// Returns the names of all columns.
pub(super) fn names() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.names[0]).collect();
    names.join(", ")
}

/// Parses the value of a column that is true or false.
pub(super) fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Origin, Review, Split};

    #[test]
    fn words_are_those_of_the_enums() {
        let words = |name: &str| match Column::named(name).map(|column| column.kind) {
            Some(Kind::OneOf(words)) => words.to_vec(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(words("review"), Review::ALL.map(Review::as_str));
        assert_eq!(words("ORIGIN"), Origin::ALL.map(Origin::as_str));
        assert_eq!(words("split"), Split::ALL.map(Split::as_str));
    }
}
