//! `ewe accept` and `ewe reject`

use std::io::Write;

use super::decision::{check, confirm};
use super::{after, opinion};
use crate::cli::terminal::counted;
use crate::streams::json;
use crate::{
    curate,
    store::{Actor, Store},
    task::{Review, Stance},
};

/// Arguments of `ewe accept` and of `ewe reject`.
pub use super::decision::Args;

/// Sets the review of some tasks, as one action.
pub async fn run(args: &Args, review: Review, quiet: bool) -> anyhow::Result<()> {
    if let (Some(name), Some(verdict)) = (&args.name, Stance::of(review)) {
        return opinion::run(args, name, verdict, quiet).await;
    }
    let filter = args.select.filter();
    check(args);
    let store = Store::open(&args.db).await?;
    store.check_choices(&filter).await?;
    let who = curate::who();
    let actor = Actor {
        who: &who,
        note: args.reason.as_deref(),
    };
    let change = if args.ids.is_empty() {
        let mut seen = None;
        if !args.yes {
            let chosen = store.count(&filter, None).await?;
            match store.count_changing(&filter, chosen, review).await? {
                0 => {}
                tasks => confirm(tasks, &format!("become {review}"))?,
            }
            seen = Some(chosen);
        }
        store.review_all(&filter, seen, review, actor).await?
    } else {
        let ids: Vec<i64> = args.ids.iter().flat_map(|ids| ids.0.clone()).collect();
        store.review(&ids, review, actor).await?
    };
    let next = after::review(&store, &args.db).await?;
    store.close().await;
    let mut out = crate::streams::stdout();
    if args.json {
        writeln!(out, "{}", json::value(&serde_json::json!({ "change": change })))?;
        return Ok(());
    }
    match change {
        Some(change) => {
            writeln!(
                out,
                "{} {review} (action {}; `ewe undo` takes it back)",
                counted(change.tasks, "task"),
                change.group
            )?;
        }
        None => writeln!(out, "nothing to do: {review} already")?,
    }
    out.flush()?;
    next.say(quiet);
    Ok(())
}
