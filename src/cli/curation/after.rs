//! What comes after a review.

use std::path::Path;

use crate::next::NextCommands;
use crate::store::query::list::{Position, Sort};
use crate::store::{Filter, Result, Store};
use crate::task::{Origin, Review};
use crate::text::shell_word;

/// Returns the commands that go on once nothing is pending and something besides seeds is accepted:
/// training on it, with the model that was trained last, and the report. None before that.
pub async fn review(store: &Store, db: &Path) -> Result<NextCommands> {
    let any = async |review, origin| -> Result<bool> {
        let filter = Filter {
            review: Some(review),
            origin,
            ..Filter::default()
        };
        let ids = store.ids(&filter, Sort::default(), Position::Start, 1).await?;
        Ok(!ids.is_empty())
    };
    let next = NextCommands::default();
    let accepted = any(Review::Accepted, Some(Origin::Machine)).await?
        || any(Review::Accepted, Some(Origin::Import)).await?;
    if !accepted || any(Review::Pending, None).await? {
        return Ok(next);
    }
    let trained = store.runs_of("train").await?;
    // The run may have been started in another folder, by a path from there.
    let mut models = trained
        .iter()
        .filter_map(|(_, config, _)| config["model"].as_str());
    let model = models.find(|model| Path::new(model).exists());
    let (model, what) = match model {
        Some(model) => (
            shell_word(Path::new(model)),
            "all are reviewed: train on what was accepted",
        ),
        None => (
            "DIR".to_owned(),
            "all are reviewed: train on what was accepted; DIR or a hub id",
        ),
    };
    let db = shell_word(db);
    Ok(next
        .with(
            format!("ewe train --db {db} --review accepted --model {model} --out tuned"),
            what,
        )
        .with(
            format!("ewe report --db {db} --out report.html"),
            "figures and charts",
        ))
}
