//! `ewe accept`, `ewe reject` and `ewe unsure` with a reviewer's name: an opinion.

use std::io::Write;

use crate::cli::terminal::{clean, counted};
use crate::next::NextCommands;
use crate::store::teams::assignment::Chosen;
use crate::store::teams::opinion::{Given, NewOpinion};
use crate::store::{Filter, Store};
use crate::streams::json;
use crate::task::Stance;
use crate::text::{chosen, shell_word};

use super::decision::{Args, check, confirm};

/// Records what a reviewer says of tasks, as one action.
pub(super) async fn run(args: &Args, name: &str, verdict: Stance, quiet: bool) -> anyhow::Result<()> {
    check(args);
    let store = Store::open(&args.db).await?;
    let reviewer = store.reviewer(name).await?;
    let filter = Filter {
        assigned_to: Some(reviewer.clone()),
        ..args.select.filter()
    };
    store.check_choices(&filter).await?;
    let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
    let new = NewOpinion {
        reviewer: &reviewer,
        verdict,
        note: args.reason.as_deref(),
    };
    let given = if ids.is_empty() {
        let mut seen = None;
        if !args.yes {
            let count = store.count(&filter, None).await?;
            if count > 0 {
                confirm(count, &format!("become {verdict} by {}", clean(&reviewer)))?;
            }
            seen = Some(count);
        }
        store
            .give_opinion(Chosen::Filter(&filter), seen, None, &new)
            .await?
    } else {
        store.give_opinion(Chosen::Ids(&ids), None, None, &new).await?
    };
    let waiting = Filter {
        awaiting: Some(reviewer.clone()),
        review: Some(crate::task::Review::Pending),
        ..Filter::default()
    };
    let waiting = store.count(&waiting, None).await?;
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": given })))?;
        return Ok(());
    }
    let name = clean(&reviewer);
    match &given {
        Some(given) => {
            writeln!(
                out,
                "{} {verdict} by {name}{} (action {}; `ewe undo` takes it back)",
                counted(given.change.tasks, "task"),
                outcome(given),
                given.change.group
            )?;
        }
        None => writeln!(out, "nothing to do: {name} said so already")?,
    }
    out.flush()?;
    next(args, &reviewer, waiting, given.as_ref()).say(quiet);
    Ok(())
}

/// Says what the opinions decide.
fn outcome(given: &Given) -> String {
    let mut parts = Vec::new();
    for (number, what) in [(given.accepted, "accepted"), (given.rejected, "rejected")] {
        if number > 0 {
            let words = [format!("is {what} now"), format!("are {what} now")];
            parts.push(chosen(number, &words[0], &words[1]));
        }
    }
    if given.disagreements > 0 {
        parts.push(chosen(
            given.disagreements,
            "is for somebody to settle",
            "are for somebody to settle",
        ));
    }
    match parts.is_empty() {
        true => String::new(),
        false => format!("; {}", parts.join(", ")),
    }
}

/// What comes next: the rest of the queue, or what reviewers do not agree on.
fn next(args: &Args, reviewer: &str, waiting: i64, given: Option<&Given>) -> NextCommands {
    let db = shell_word(&args.db);
    let next = NextCommands::default();
    if waiting > 0 {
        let name = shell_word(reviewer.as_ref());
        return next.with(
            format!("ewe review --db {db} --as {name}"),
            chosen(waiting, "task waits", "tasks wait"),
        );
    }
    match given {
        Some(given) if given.disagreements > 0 => next.with(
            format!("ewe review --db {db} --disagreement"),
            "decide where reviewers do not agree",
        ),
        _ => next,
    }
}
