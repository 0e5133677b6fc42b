//! `--map instruction=question,output=answer`: the roles of a file's columns.

use std::str::FromStr;

/// The role of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The instruction.
    Instruction,
    /// The input.
    Input,
    /// The answer.
    Output,
    /// The system message.
    System,
    /// A conversation.
    Messages,
    /// A text to complete, used as it is.
    Prompt,
    /// The completion.
    Completion,
}

impl Role {
    const ALL: [(Role, &'static str); 7] = [
        (Role::Instruction, "instruction"),
        (Role::Input, "input"),
        (Role::Output, "output"),
        (Role::System, "system"),
        (Role::Messages, "messages"),
        (Role::Prompt, "prompt"),
        (Role::Completion, "completion"),
    ];

    fn word(self) -> &'static str {
        Role::ALL
            .into_iter()
            .find(|(role, _)| *role == self)
            .map_or("", |(_, word)| word)
    }
}

/// One `instruction=question` of `--map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    role: Role,
    column: String,
}

impl FromStr for Mapped {
    type Err = String;

    fn from_str(text: &str) -> Result<Mapped, String> {
        let (word, column) = text
            .split_once('=')
            .ok_or("want the column of a role\nhint: --map instruction=question,output=answer")?;
        let role = Role::ALL.into_iter().find(|(_, name)| *name == word.trim());
        let (role, _) = role.ok_or_else(|| {
            let words = Role::ALL.map(|(_, word)| word);
            format!(
                "`{word}` is nothing that a row has\nhint: one of {}",
                words.join(", ")
            )
        })?;
        match column.trim() {
            "" => Err(format!("no column is named for `{word}`")),
            column => Ok(Mapped {
                role,
                column: column.to_owned(),
            }),
        }
    }
}

/// The columns whose roles were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    columns: Vec<Mapped>,
}

impl Mapping {
    /// Combines the roles of several columns.
    ///
    /// # Errors
    ///
    /// When two columns have one role, or roles that exclude each other are given.
    pub fn new(columns: &[Mapped]) -> Result<Mapping, String> {
        let mapping = Mapping {
            columns: columns.to_vec(),
        };
        for (place, mapped) in columns.iter().enumerate() {
            if let Some(other) = columns[..place].iter().find(|other| other.role == mapped.role) {
                return Err(format!(
                    "--map gives `{}` two columns, `{}` and `{}`",
                    mapped.role.word(),
                    other.column,
                    mapped.column
                ));
            }
        }
        let kinds: [&[Role]; 3] = [
            &[Role::Instruction, Role::Input, Role::Output],
            &[Role::Messages],
            &[Role::Prompt, Role::Completion],
        ];
        let given = |roles: &&[Role]| columns.iter().find(|mapped| roles.contains(&mapped.role));
        let given: Vec<_> = kinds
            .iter()
            .filter_map(given)
            .map(|mapped| mapped.role.word())
            .collect();
        match given[..] {
            [first, second, ..] => Err(format!(
                "--map has `{first}` and `{second}`, which do not go together\nhint: instruction, input and output; or messages; or prompt and completion"
            )),
            _ => Ok(mapping),
        }
    }

    /// Gives a single column a role.
    pub(super) fn of(role: Role, column: &str) -> Mapping {
        Mapping {
            columns: vec![Mapped {
                role,
                column: column.to_owned(),
            }],
        }
    }

    /// Whether no role was given.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the column of a role.
    pub(super) fn column(&self, role: Role) -> Option<&str> {
        let mapped = self.columns.iter().find(|mapped| mapped.role == role)?;
        Some(&mapped.column)
    }

    /// Returns all columns that were named.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|mapped| mapped.column.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(texts: &[&str]) -> Result<Mapping, String> {
        let columns: Result<Vec<Mapped>, String> = texts.iter().map(|text| text.parse()).collect();
        Mapping::new(&columns?)
    }

    #[test]
    fn roles_go_together_or_are_refused() {
        let good = mapping(&["instruction=q a", "output=answers.text.0"]).unwrap();
        assert_eq!(good.column(Role::Instruction), Some("q a"));
        assert_eq!(good.column(Role::Output), Some("answers.text.0"));
        assert_eq!(good.column(Role::Input), None);
        for (texts, what) in [
            (&["instruction"][..], "hint: --map instruction=question"),
            (&["question=q"], "`question` is nothing that a row has"),
            (&["output="], "no column is named for `output`"),
            (&["output=a", "output=b"], "two columns, `a` and `b`"),
            (&["output=a", "messages=b"], "do not go together"),
            (&["prompt=a", "output=b"], "do not go together"),
        ] {
            let error = mapping(texts).unwrap_err();
            assert!(error.contains(what), "{texts:?}: {error}");
        }
    }
}
