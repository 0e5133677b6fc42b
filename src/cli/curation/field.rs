//! `ewe field`

use std::{io::Write, path::PathBuf};

use anyhow::bail;

use crate::cli::terminal::{clean, counted};
use crate::next::NextCommands;
use crate::store::fields::counts::FieldCounts;
use crate::store::fields::{FieldChange, NewField};
use crate::store::{Field, Filter, Store};
use crate::streams::json;
use crate::task::FieldType;
use crate::text::{one_line, shell_word};

/// Arguments of `ewe field`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// add: make a field, or bring one back that was removed; list: show all fields, and how often
    /// each value occurs; rename: give a field another name; change: give it other values to choose
    /// from, or another key; remove: hide it; its values are kept, and add brings it back
    #[arg(value_name = "ACTION", default_value = "list")]
    pub action: String,

    /// The field's name; for rename, the old name and the new one
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// What its values are: text, number, flag (yes or no), choice or tags [default: choice with
    /// --values, otherwise text; a field that was removed comes back as it was]
    #[arg(long = "type", id = "field_type", value_name = "TYPE")]
    pub kind: Option<FieldType>,

    /// The values of a choice in their order, with commas between them
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub values: Vec<String>,

    /// The letter that edits it on the page and in `ewe review`; `none` takes it away
    #[arg(long, value_name = "LETTER")]
    pub key: Option<String>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    List,
    Rename,
    Change,
    Remove,
}

impl Action {
    fn named(name: &str) -> anyhow::Result<Action> {
        Ok(match name {
            "add" => Action::Add,
            "list" => Action::List,
            "rename" => Action::Rename,
            "change" => Action::Change,
            "remove" => Action::Remove,
            other => bail!("`ewe field` cannot `{other}`\nhint: add, list, rename, change or remove"),
        })
    }
}

/// How many values of each field the list shows.
const SHOWN: usize = 8;

/// Does what the action says.
pub async fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let action = Action::named(&args.action)?;
    check(args, action);
    let mut out = crate::streams::stdout();
    if action == Action::List {
        let store = Store::open_to_read(&args.db).await?;
        let counts = store.field_counts(&Filter::default(), SHOWN).await?;
        store.finish().await?;
        return match args.json {
            true => Ok(json::write_array(&mut out, &counts)?),
            false => Ok(print(&mut out, &counts, args)?),
        };
    }
    let store = Store::open(&args.db).await?;
    let (field, done) = act(&store, args, action).await?;
    store.close().await;
    if args.json {
        writeln!(out, "{}", json::line(&field)?)?;
        return Ok(());
    }
    writeln!(out, "field `{}` {done}", clean(&field.name))?;
    out.flush()?;
    if action == Action::Add {
        say_next(args, &field, quiet);
    }
    Ok(())
}

/// Changes the fields. Returns the field as it is now, and what was done, for people.
async fn act(store: &Store, args: &Args, action: Action) -> anyhow::Result<(Field, String)> {
    let key = args.key.clone().map(|key| match key.as_str() {
        "none" => String::new(),
        _ => key,
    });
    Ok(match (action, args.names.as_slice()) {
        (Action::Add, [name]) => {
            let new = NewField {
                name: name.clone(),
                kind: args.kind,
                choices: args.values.clone(),
                key: key.filter(|key| !key.is_empty()),
            };
            let field = store.add_field(&new).await?;
            let done = format!("added, {}", described(&field));
            (field, done)
        }
        (Action::Rename, [name, new]) => {
            let name_of = FieldChange {
                name: Some(new.clone()),
                ..FieldChange::default()
            };
            let field = store.change_field(name, &name_of).await?;
            let done = format!("was `{}`", clean(name));
            (field, done)
        }
        (Action::Change, [name]) => {
            let change = FieldChange {
                name: None,
                choices: (!args.values.is_empty()).then(|| args.values.clone()),
                key,
            };
            let field = store.change_field(name, &change).await?;
            let done = format!("changed, {}", described(&field));
            (field, done)
        }
        (_, [name, ..]) => {
            let (field, tasks) = store.remove_field(name).await?;
            let kept = counted(tasks, "value");
            let done = format!("removed; {kept} kept, and `ewe field add` brings it back");
            (
                Field {
                    is_hidden: true,
                    ..field
                },
                done,
            )
        }
        (_, []) => unreachable!("checked above"),
    })
}

/// Says what to do with a new field.
fn say_next(args: &Args, field: &Field, quiet: bool) {
    let (db, name) = (shell_word(&args.db), shell_word(field.name.as_ref()));
    let value = field.choices.first().map_or("…", String::as_str);
    let word = shell_word(format!("{}={value}", field.name).as_ref());
    NextCommands::default()
        .with(format!("ewe label --db {db} 7 {word}"), "give task 7 a value")
        .with(
            format!("ewe import --db {db} FILE --fields {name}"),
            "take it from rows of a file",
        )
        .say(quiet);
}

/// Exits like clap if names and options do not fit the action.
fn check(args: &Args, action: Action) {
    let (names, what) = match action {
        Action::List => (0, "list takes no name"),
        Action::Rename => (2, "rename takes two names: the old one and the new one"),
        Action::Add | Action::Change | Action::Remove => (1, "say which field: one name"),
    };
    let wrong = if args.names.len() != names {
        Some(what)
    } else if args.kind.is_some() && action != Action::Add {
        Some("--type is for add: a field keeps its type")
    } else if !args.values.is_empty() && !matches!(action, Action::Add | Action::Change) {
        Some("--values is for add and change")
    } else if args.key.is_some() && !matches!(action, Action::Add | Action::Change) {
        Some("--key is for add and change")
    } else if action == Action::Change && args.values.is_empty() && args.key.is_none() {
        Some("say what to change: --values or --key")
    } else {
        None
    };
    if let Some(what) = wrong {
        clap::Error::raw(
            clap::error::ErrorKind::ArgumentConflict,
            format!("{what}\n\nFor more information, try '--help'.\n"),
        )
        .exit()
    }
}

/// Says what a field is.
fn described(field: &Field) -> String {
    let mut text = field.kind.to_string();
    if !field.choices.is_empty() {
        let choices = field.choices.join(", ");
        text += &format!(" of {}", one_line(&choices, 120));
    }
    if let Some(key) = &field.key {
        text += &format!(", key {key}");
    }
    text
}

/// Prints fields, each with its most frequent values.
fn print(out: &mut impl Write, fields: &[FieldCounts], args: &Args) -> std::io::Result<()> {
    if fields.is_empty() {
        return writeln!(
            out,
            "{}: no field; `ewe field add NAME` makes one",
            args.db.display()
        );
    }
    for counts in fields {
        writeln!(
            out,
            "{}  ({})  {}",
            clean(&counts.field.name),
            described(&counts.field),
            counted(counts.tasks, "task")
        )?;
        for (label, tasks) in counts.shown() {
            writeln!(out, "  {tasks:>8}  {}", one_line(&label, 60))?;
        }
        let more = counts.different - counts.values.len() as i64;
        if more > 0 && counts.ranges.is_empty() && counts.field.choices.is_empty() {
            writeln!(out, "  {:>8}  {}", "", counted(more, "other value"))?;
        }
    }
    Ok(())
}
