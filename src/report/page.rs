//! The report: figures and charts as one HTML file that needs nothing else, neither network nor script.

use std::{fmt::Write, io::Write as _, path::Path};

use super::{
    Figures,
    chart::{self, escape},
};
use crate::{replace::Replacement, store::Store};

/// Writes the report on `store` to `path`, which appears whole or stays as it was.
///
/// # Errors
///
/// When the store cannot be read, or `path` not written.
pub async fn write(store: &Store, path: &Path) -> anyhow::Result<()> {
    let figures = Figures::load(store).await?;
    let name = store
        .path()
        .file_name()
        .unwrap_or(store.path().as_os_str())
        .to_string_lossy()
        .into_owned();
    let mut file = Replacement::begin(path)?;
    file.write_all(html(&name, &figures).as_bytes())?;
    file.commit()
}

/// The page for a dataset of this name.
pub fn html(name: &str, figures: &Figures) -> String {
    let name = escape(name);
    let mut body = String::new();
    let dataset = &figures.dataset;
    let _ = write!(
        body,
        "<h1>{name}</h1>\n<p class=\"lead\"><b>{}</b> tasks with <b>{}</b> examples are in the dataset.</p>\n",
        dataset.tasks, dataset.examples
    );
    let rows = figures.origins.iter().map(|row| {
        let (pending, accepted, rejected) = (row.pending, row.accepted, row.rejected);
        let all = pending + accepted + rejected;
        vec![
            row.origin.to_string(),
            accepted.to_string(),
            pending.to_string(),
            rejected.to_string(),
            all.to_string(),
        ]
    });
    table(
        &mut body,
        "Tasks",
        &["origin", "accepted", "pending", "rejected", "all"],
        rows,
    );
    if figures.candidates.parsed > 0 {
        let candidates = &figures.candidates;
        let _ = writeln!(
            body,
            "<p>{} candidates were parsed out of {} responses: {} accepted, {} rejected.</p>",
            candidates.parsed, figures.requests.requests, candidates.accepted, candidates.rejected
        );
    }
    body.push_str("<div class=\"charts\">\n");
    for chart in chart::all(figures) {
        let _ = writeln!(
            body,
            "<figure><figcaption>{}</figcaption>{}</figure>",
            escape(&chart.title),
            chart.svg
        );
    }
    body.push_str("</div>\n");
    let rows = figures.candidates.verdicts.iter().map(|row| {
        let reason = row.reason.clone().unwrap_or_default();
        vec![
            row.kind.clone(),
            row.verdict.clone(),
            reason,
            row.candidates.to_string(),
        ]
    });
    table(
        &mut body,
        "Verdicts",
        &["kind", "verdict", "reason", "candidates"],
        rows,
    );
    let rows = figures.runs.iter().map(|run| {
        vec![
            run.run_id.to_string(),
            run.command.clone(),
            run.model.clone().unwrap_or_default(),
            run.status.as_str().to_owned(),
            run.started_at.clone(),
            run.requests.to_string(),
            run.prompt_tokens.to_string(),
            run.completion_tokens.to_string(),
            run.tasks.to_string(),
        ]
    });
    let heads = [
        "run",
        "command",
        "model",
        "status",
        "started",
        "requests",
        "prompt tokens",
        "completion tokens",
        "tasks",
    ];
    table(&mut body, "Runs", &heads, rows);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        include_str!("page.css"),
        chart::STYLE,
    )
}

/// A table; nothing where it would have no rows. Columns of numbers stand to the right.
fn table(body: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        body,
        "<div class=\"scroll\"><table>\n<caption>{}</caption>\n<tr>",
        escape(title)
    );
    for head in heads {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(head));
    }
    body.push_str("</tr>\n");
    for row in rows {
        body.push_str("<tr>");
        for cell in row {
            let class = if cell.parse::<i64>().is_ok() {
                " class=\"number\""
            } else {
                ""
            };
            let _ = write!(body, "<td{class}>{}</td>", escape(&cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
}
