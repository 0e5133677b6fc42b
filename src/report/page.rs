//! The report: charts and the dataset card in one HTML file that needs neither network nor scripts.

use std::{fmt::Write, io::Write as _, path::Path};

use anyhow::Context;

use super::{
    Figures, card,
    chart::{
        self,
        svg::{escape, grouped},
    },
    evaluation::Evidence,
};
use crate::text::noun;
use crate::{
    atomic_file::{AtomicFile, cannot_write},
    store::Store,
};

/// Writes the report on `store` to `path`, which appears complete or stays as it was.
///
/// # Errors
///
/// When the store cannot be read, or `path` cannot be written.
pub async fn write(store: &Store, path: &Path) -> anyhow::Result<()> {
    let figures = Figures::load(store).await?;
    let evidence = Evidence::load(store, &figures).await?;
    let name = store
        .path()
        .file_name()
        .unwrap_or(store.path().as_os_str())
        .to_string_lossy()
        .into_owned();
    let mut file = AtomicFile::begin(path)?;
    file.write_all(html(&name, &figures, &evidence).as_bytes())
        .with_context(|| cannot_write(path))?;
    store.check_unchanged()?;
    file.commit()
}

/// Returns the page for a dataset of this name.
pub fn html(name: &str, figures: &Figures, evidence: &Evidence) -> String {
    let name = escape(name);
    let mut charts = String::new();
    for chart in chart::all(figures) {
        let _ = writeln!(charts, "{}", chart.figure);
    }
    let dataset = &figures.dataset;
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n\
         <p class=\"lead\"><b>{}</b> {} with <b>{}</b> {} in the dataset.</p>\n\
         <div class=\"charts\">\n{charts}</div>\n{}{}</main>\n</body>\n</html>\n",
        include_str!("page.css"),
        chart::STYLE,
        grouped(dataset.tasks),
        noun(dataset.tasks, "task"),
        grouped(dataset.examples),
        if dataset.examples == 1 {
            "example is"
        } else {
            "examples are"
        },
        evidence.html(),
        card::html(figures),
    )
}
