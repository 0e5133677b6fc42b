//! The rows that helped and hurt most, by the latest `ewe influence`.

use std::fmt::Write;

use super::html::{MOST_CHARACTERS, settings, write_source, write_text};
use crate::report::chart::svg::{chosen, counted, escape, short};
use crate::store::query::evaluation::{InfluenceTotals, InfluentialRow};
use crate::store::{Result, Store};

/// Rows of either kind.
const MOST_ROWS: i64 = 20;

/// What the latest run found.
#[derive(Debug, Clone, PartialEq)]
pub struct Influence {
    totals: InfluenceTotals,
    helped: Vec<InfluentialRow>,
    hurt: Vec<InfluentialRow>,
}

/// Reads the latest run.
pub async fn load(store: &Store) -> Result<Option<Influence>> {
    let Some(totals) = store.latest_influence().await? else {
        return Ok(None);
    };
    let run = totals.run_id;
    Ok(Some(Influence {
        helped: store
            .influential_rows(run, true, MOST_ROWS, MOST_CHARACTERS)
            .await?,
        hurt: store
            .influential_rows(run, false, MOST_ROWS, MOST_CHARACTERS)
            .await?,
        totals,
    }))
}

/// Appends the rows.
pub fn write(body: &mut String, influence: &Influence) {
    let totals = &influence.totals;
    let _ = writeln!(
        body,
        "<h3>Rows that helped and hurt</h3>\n<p>Of {}, {} the loss on held-out tasks if trained on. Influence is between −1 \
         and 1.</p>",
        counted(totals.rows, "row"),
        chosen(totals.above, "lowers", "lower")
    );
    for (rows, how) in [(&influence.helped, "helped"), (&influence.hurt, "hurt")] {
        if rows.is_empty() {
            let _ = writeln!(body, "<p>No row {how}.</p>");
            continue;
        }
        let count = counted(rows.len() as i64, "row");
        let _ = writeln!(
            body,
            "<details class=\"answers\"><summary>{count} that {how} most</summary>"
        );
        rows.iter().for_each(|row| one(body, row));
        body.push_str("</details>\n");
    }
    let settings = settings(&totals.config);
    write_source(
        body,
        &format!(
            "the gradients of run {} ({settings}). <code>SELECT * FROM influence WHERE run_id = {}</code> has all values.",
            totals.run_id, totals.run_id
        ),
    );
}

/// Appends a row.
fn one(body: &mut String, row: &InfluentialRow) {
    let value = format!("{:+.4}", row.value).replace('-', "−");
    let _ = writeln!(body, "<article>\n<h4>Task {}: {value}</h4>", row.task_id);
    write_text(body, "instruction", &row.instruction);
    if !row.input.text.is_empty() {
        write_text(body, "input", &row.input);
    }
    write_text(body, "output", &row.output);
    if let Some((task, instruction)) = &row.speaks_to {
        let words = escape(&short(&instruction.text, 200));
        let _ = writeln!(body, "<p>Most of all on held-out task {task}: {words}</p>");
    }
    body.push_str("</article>\n");
}
