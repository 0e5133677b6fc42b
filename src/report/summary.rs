//! The figures as plain text, for a terminal.

use std::io::{self, Write};

use super::figures::{Bucket, CandidateCounts, Figures, Labels, RootCounts, ScoreCount};
use crate::store::curation::validation::ValidatorCounts;
use crate::store::fields::counts::FieldCounts;
use crate::store::query::stats::RunCost;
use crate::text::{counted, noun, one_line};

/// How many pairs of verb and object are shown.
const MOST_PAIRS: usize = 20;

/// The most lines of a histogram; the last one has the sum of all further buckets.
const HISTOGRAM_LINES: usize = 20;

/// The width of the longest bar of a histogram, in characters.
const BAR: i64 = 40;

/// Writes all figures. Sections without data are left out.
///
/// # Errors
///
/// When `out` fails.
pub fn write(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    dataset(out, figures)?;
    origins(out, figures)?;
    candidates(out, &figures.candidates, &figures.silent_reasons)?;
    figures.documents.write(out)?;
    requests(out, figures)?;
    runs(out, &figures.runs)?;
    scores(out, &figures.scores)?;
    figures.agreement.write(out)?;
    figures.team.write(out)?;
    validators(out, &figures.validators)?;
    roots(out, &figures.roots)?;
    labels(out, &figures.labels)?;
    fields(out, &figures.fields)?;
    for (title, buckets, step) in [
        (
            "instructions by length in characters",
            &figures.instruction_lengths,
            25,
        ),
        (
            "inputs by length in characters, where there is one",
            &figures.input_lengths,
            100,
        ),
        ("outputs by length in characters", &figures.output_lengths, 100),
        (
            "ROUGE-L with the nearest task, in hundredths",
            &figures.similarities,
            5,
        ),
    ] {
        histogram(out, title, buckets, step)?;
    }
    Ok(())
}

fn dataset(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    writeln!(
        out,
        "dataset       {}, {}",
        counted(figures.dataset.tasks, "task"),
        counted(figures.dataset.examples, "example")
    )?;
    if figures.dataset.held_out > 0 {
        let held_out = figures.dataset.held_out;
        writeln!(out, "{:<14}{held_out:>9} {}", "held out", noun(held_out, "task"))?;
    }
    for (what, number, one) in [
        ("classification", figures.balance.classification, "task"),
        ("without input", figures.balance.without_input, "example"),
    ] {
        writeln!(out, "{what:<14}{number:>9} {}", noun(number, one))?;
    }
    Ok(())
}

/// Writes the values of people's own fields, the most frequent first.
fn fields(out: &mut impl Write, fields: &[FieldCounts]) -> io::Result<()> {
    for counts in fields.iter().filter(|counts| counts.tasks > 0) {
        let tasks = counted(counts.tasks, "task");
        writeln!(out, "\nfield {}: {tasks}", one_line(&counts.field.name, 40))?;
        // An empty range is one, and a choice that no task has is none.
        let has_ranges = !counts.ranges.is_empty();
        for (label, tasks) in counts.shown() {
            if tasks > 0 || has_ranges {
                writeln!(out, "  {:<40} {tasks:>9}", one_line(&label, 40))?;
            }
        }
    }
    Ok(())
}

fn origins(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<10} {:>9} {:>9} {:>9} {:>9}",
        "origin", "pending", "accepted", "rejected", "all"
    )?;
    for row in &figures.origins {
        let (pending, accepted, rejected) = (row.pending, row.accepted, row.rejected);
        let all = pending + accepted + rejected;
        writeln!(
            out,
            "{:<10} {pending:>9} {accepted:>9} {rejected:>9} {all:>9}",
            row.origin
        )?;
    }
    Ok(())
}

fn candidates(
    out: &mut impl Write,
    candidates: &CandidateCounts,
    silent_reasons: &[String],
) -> io::Result<()> {
    if candidates.parsed == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "\ncandidates    {} parsed = {} accepted + {} rejected{}",
        candidates.parsed,
        candidates.accepted,
        candidates.rejected,
        match candidates.fell {
            0 => String::new(),
            fell => format!(" + {fell} that fell with their instruction"),
        }
    )?;
    for row in candidates.verdicts.iter().filter(|row| row.verdict == "rejected") {
        let reason = one_line(row.reason.as_deref().unwrap_or(""), 40);
        writeln!(out, "  {:<12} {reason:<40} {:>7}", row.kind, row.candidates)?;
    }
    if candidates.rescued > 0 {
        let tasks = counted(candidates.rescued, "task");
        writeln!(out, "  rescued: {tasks} made of what was rejected")?;
    }
    if !silent_reasons.is_empty() {
        let reasons: Vec<_> = silent_reasons.iter().map(|reason| one_line(reason, 40)).collect();
        writeln!(out, "  never fired: {}", reasons.join(", "))?;
    }
    Ok(())
}

fn requests(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    let requests = &figures.requests;
    if requests.requests == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "\nrequests      {}: {} + {}",
        requests.requests,
        counted(requests.prompt_tokens, "prompt token"),
        counted(requests.completion_tokens, "completion token")
    )
}

fn runs(out: &mut impl Write, runs: &[RunCost]) -> io::Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:>4}  {:<10} {:<12} {:>9} {:>8}  model",
        "run", "command", "status", "requests", "tasks"
    )?;
    for run in runs {
        let (command, model) = (
            one_line(&run.command, 10),
            one_line(run.model.as_deref().unwrap_or(""), 40),
        );
        let status = run.status.as_str();
        let line = format!(
            "{:>4}  {command:<10} {status:<12} {:>9} {:>8}  {model}",
            run.run_id, run.requests, run.tasks
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn scores(out: &mut impl Write, scores: &[ScoreCount]) -> io::Result<()> {
    if !scores.is_empty() {
        writeln!(
            out,
            "\n{:>5} {:>7} {:>7} {:>7} {:>7} {:>11}  judge",
            "1", "2", "3", "4", "5", "unreadable"
        )?;
    }
    for of_judge in scores.chunk_by(|a, b| a.model == b.model) {
        let count = |score| {
            of_judge
                .iter()
                .find(|row| row.score == score)
                .map_or(0, |row| row.instances)
        };
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(|score| count(Some(score)));
        let judge = one_line(&of_judge[0].model, 60);
        writeln!(
            out,
            "{one:>5} {two:>7} {three:>7} {four:>7} {five:>7} {:>11}  {judge}",
            count(None)
        )?;
    }
    Ok(())
}

fn validators(out: &mut impl Write, validators: &[ValidatorCounts]) -> io::Result<()> {
    if !validators.is_empty() {
        writeln!(out, "\n{:>9} {:>9}  validator", "accepted", "rejected")?;
    }
    for of in validators {
        let validator = one_line(&of.validator, 60);
        writeln!(out, "{:>9} {:>9}  {validator}", of.accepted, of.rejected)?;
    }
    Ok(())
}

fn roots(out: &mut impl Write, roots: &RootCounts) -> io::Result<()> {
    if roots.verbs.is_empty() {
        return Ok(());
    }
    let verbs = roots
        .verbs
        .iter()
        .map(|row| format!("{} {}", row.verb, row.tasks));
    writeln!(out, "\nverbs         {}", verbs.collect::<Vec<_>>().join(", "))?;
    let pairs = roots.pairs();
    let pairs = pairs
        .iter()
        .take(MOST_PAIRS)
        .map(|(verb, object)| format!("{verb} {} {}", one_line(&object.noun, 24), object.tasks));
    writeln!(out, "with object   {}", pairs.collect::<Vec<_>>().join(", "))?;
    writeln!(
        out,
        "found         {} with verb and object, {} with a verb only, {} without",
        counted(roots.with_object, "task"),
        roots.verb_only,
        roots.without
    )
}

fn labels(out: &mut impl Write, labels: &Labels) -> io::Result<()> {
    if labels.most.is_empty() {
        return Ok(());
    }
    let most = labels
        .most
        .iter()
        .map(|row| format!("{} {}", one_line(&row.label, 20), row.examples));
    writeln!(
        out,
        "\nlabels        {}; others {}, longer answers {}",
        most.collect::<Vec<_>>().join(", "),
        labels.other,
        labels.long
    )
}

/// Writes a histogram as bars of text, with the tail in one line.
fn histogram(out: &mut impl Write, title: &str, buckets: &[Bucket], step: i64) -> io::Result<()> {
    if buckets.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    let most = buckets
        .iter()
        .map(|bucket| bucket.count)
        .max()
        .unwrap_or(1)
        .max(1);
    let (shown, tail) = buckets.split_at(HISTOGRAM_LINES.min(buckets.len()));
    for bucket in shown {
        let bar = "█".repeat((bucket.count * BAR / most) as usize);
        let range = format!("{}–{}", bucket.from, bucket.from + step - 1);
        writeln!(out, "  {range:>11} {:>7} {bar}", bucket.count)?;
    }
    if let [first, ..] = tail {
        let count: i64 = tail.iter().map(|bucket| bucket.count).sum();
        writeln!(out, "  {:>11} {count:>7}", format!("{}–", first.from))?;
    }
    Ok(())
}
