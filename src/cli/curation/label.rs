//! `ewe label`

use std::{io::Write, path::PathBuf};

use super::decision::{confirm, usage};
use crate::cli::args::select::Select;
use crate::cli::terminal::{clean, counted};
use crate::streams::json;
use crate::{
    curate::{self, ids::Ids},
    store::{
        Actor, Field, FieldError, Store,
        fields::{
            self,
            assign::{Assignment, How},
        },
    },
    task::FieldType,
};

/// Arguments of `ewe label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The tasks' ids, 7, or 7-12 for all of them, and values: difficulty=hard; difficulty= takes
    /// the value away; topics+=math,logic and topics-=math add tags and remove them
    #[arg(value_name = "WORDS", required = true)]
    pub words: Vec<Word>,

    /// Which tasks
    #[command(flatten)]
    pub select: Select,

    /// Do not ask for confirmation before changing all tasks that the options choose
    #[arg(long, help_heading = "How they are changed")]
    pub yes: bool,

    /// The reason, for the history
    #[arg(long, value_name = "TEXT", help_heading = "How they are changed")]
    pub reason: Option<String>,

    /// Print the result as JSON
    #[arg(long, help_heading = "How they are changed")]
    pub json: bool,
}

/// An id, or a value for a field.
#[derive(Debug, Clone)]
pub enum Word {
    /// Tasks.
    Tasks(Ids),
    /// A field, how its values change, and a value.
    Value(String, How, String),
}

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Word, String> {
        let Some((name, value)) = text.split_once('=') else {
            return match text.parse() {
                Ok(ids) => Ok(Word::Tasks(ids)),
                Err(what) => Err(format!("{what}; a value is a field, `=` and the value")),
            };
        };
        let (name, how) = match (name.strip_suffix('+'), name.strip_suffix('-')) {
            (Some(name), _) => (name, How::Add),
            (_, Some(name)) => (name, How::Remove),
            _ => (name, How::Set),
        };
        Ok(Word::Value(name.trim().to_owned(), how, value.to_owned()))
    }
}

/// Sets values of fields, as one action.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let filter = args.select.filter();
    let ids: Vec<i64> = args
        .words
        .iter()
        .filter_map(|word| match word {
            Word::Tasks(ids) => Some(ids.0.clone()),
            Word::Value(..) => None,
        })
        .flatten()
        .collect();
    match (ids.is_empty(), filter.is_empty()) {
        (true, true) => usage("say which tasks: ids, or options such as --origin or --where"),
        (false, false) => usage("say which tasks by ids or by options, not by both"),
        (false, true) if args.yes => usage("--yes is for tasks that options choose"),
        _ => {}
    }
    let store = Store::open(&args.db).await?;
    store.check_choices(&filter).await?;
    let assignments = assignments(&store.fields().await?, &args.words)?;
    if assignments.is_empty() {
        usage("say which value: a field, `=` and the value, such as difficulty=hard");
    }
    let who = curate::who();
    let actor = Actor {
        who: &who,
        note: args.reason.as_deref(),
    };
    let change = if ids.is_empty() {
        let mut seen = None;
        if !args.yes {
            let chosen = store.count(&filter, None).await?;
            if chosen > 0 {
                confirm(chosen, "be labelled")?;
            }
            seen = Some(chosen);
        }
        store.label_all(&filter, seen, &assignments, actor).await?
    } else {
        store.label(&ids, None, &assignments, actor).await?
    };
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    let set = assignments.iter().map(said).collect::<Vec<_>>().join(", ");
    match change {
        Some(change) => writeln!(
            out,
            "{} labelled: {set} (action {}; `ewe undo` takes it back)",
            counted(change.tasks, "task"),
            change.group
        )?,
        None => writeln!(out, "nothing to do: {set} already")?,
    }
    Ok(())
}

/// Reads the values by the types of their fields.
fn assignments(fields: &[Field], words: &[Word]) -> Result<Vec<Assignment>, crate::store::Error> {
    let mut found: Vec<Assignment> = Vec::new();
    for word in words {
        let Word::Value(name, how, value) = word else {
            continue;
        };
        let field = fields::named(fields, name)?;
        let wrong = |what: String| FieldError::Type { what };
        if *how != How::Set && field.kind != FieldType::Tags {
            let (name, kind) = (clean(&field.name), field.kind);
            return Err(wrong(format!(
                "field `{name}` is of type {kind}: += and -= are for tags\nhint: {name}=VALUE"
            ))
            .into());
        }
        if found.iter().any(|other| other.field.id == field.id) {
            let name = clean(&field.name);
            return Err(wrong(format!(
                "two values for field `{name}`\nhint: tags stand in one, with commas between them; += and -= take a command each"
            ))
            .into());
        }
        let values = field.typed(value)?;
        found.push(Assignment {
            field: field.clone(),
            how: *how,
            values,
        });
    }
    Ok(found)
}

/// Says what is set.
fn said(assignment: &Assignment) -> String {
    let name = clean(&assignment.field.name);
    let shown = crate::cli::terminal::one_line(&assignment.field.shown(&assignment.values), 80);
    match assignment.how {
        How::Set if assignment.values.is_empty() => format!("no {name}"),
        How::Set => format!("{name} {shown}"),
        How::Add => format!("{name} with {shown}"),
        How::Remove => format!("{name} without {shown}"),
    }
}
