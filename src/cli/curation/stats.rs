//! `ewe stats`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::terminal::one_line;
use crate::text::{counted, noun};
use crate::{report::Figures, store::Store};

/// Arguments of `ewe stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints counts.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let figures = Figures::load(&store).await?;
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        writeln!(out, "{}", crate::cli::args::json::pretty(&figures)?)?;
    } else {
        print(&mut out, &figures)?;
    }
    out.flush()?;
    store.finish().await?;
    Ok(())
}

fn print(out: &mut impl Write, figures: &Figures) -> std::io::Result<()> {
    let dataset = &figures.dataset;
    writeln!(
        out,
        "dataset       {}, {}",
        counted(dataset.tasks, "task"),
        counted(dataset.examples, "example")
    )?;
    for (what, number, one) in [
        ("classification", figures.balance.classification, "task"),
        ("without input", figures.balance.without_input, "example"),
    ] {
        writeln!(out, "{what:<14}{number:>9} {}", noun(number, one))?;
    }

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

    let candidates = &figures.candidates;
    if candidates.parsed > 0 {
        writeln!(
            out,
            "\ncandidates    {} parsed = {} accepted + {} rejected",
            candidates.parsed, candidates.accepted, candidates.rejected
        )?;
        for row in candidates.verdicts.iter().filter(|row| row.verdict == "rejected") {
            let reason = one_line(row.reason.as_deref().unwrap_or(""), 40);
            writeln!(out, "  {:<12} {reason:<40} {:>7}", row.kind, row.candidates)?;
        }
        if !figures.silent_reasons.is_empty() {
            let reasons: Vec<_> = figures
                .silent_reasons
                .iter()
                .map(|reason| one_line(reason, 40))
                .collect();
            writeln!(out, "  never fired: {}", reasons.join(", "))?;
        }
    }

    if figures.requests.requests > 0 {
        let requests = &figures.requests;
        writeln!(
            out,
            "\nrequests      {}: {} + {}",
            requests.requests,
            counted(requests.prompt_tokens, "prompt token"),
            counted(requests.completion_tokens, "completion token")
        )?;
    }
    if !figures.runs.is_empty() {
        writeln!(
            out,
            "\n{:>4}  {:<10} {:<12} {:>9} {:>8}  model",
            "run", "command", "status", "requests", "tasks"
        )?;
        for run in &figures.runs {
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
    }

    if !figures.scores.is_empty() {
        writeln!(
            out,
            "\n{:>5} {:>7} {:>7} {:>7} {:>7} {:>11}  judge",
            "1", "2", "3", "4", "5", "unreadable"
        )?;
    }
    for of_judge in figures.scores.chunk_by(|a, b| a.model == b.model) {
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

    let roots = &figures.roots;
    if !roots.verbs.is_empty() {
        let verbs = roots
            .verbs
            .iter()
            .map(|row| format!("{} {}", row.verb, row.tasks));
        writeln!(out, "\nverbs         {}", verbs.collect::<Vec<_>>().join(", "))?;
        let mut pairs: Vec<_> = roots
            .verbs
            .iter()
            .flat_map(|row| row.objects.iter().map(|object| (row.verb.as_str(), object)))
            .collect();
        pairs.sort_by_key(|(_, object)| std::cmp::Reverse(object.tasks));
        let pairs = pairs
            .iter()
            .take(20)
            .map(|(verb, object)| format!("{verb} {} {}", one_line(&object.noun, 24), object.tasks));
        writeln!(out, "with object   {}", pairs.collect::<Vec<_>>().join(", "))?;
        writeln!(
            out,
            "found         {} with verb and object, {} with a verb only, {} without",
            counted(roots.with_object, "task"),
            roots.verb_only,
            roots.without
        )?;
    }
    if !figures.labels.most.is_empty() {
        let labels = figures
            .labels
            .most
            .iter()
            .map(|row| format!("{} {}", one_line(&row.label, 20), row.examples));
        writeln!(
            out,
            "\nlabels        {}; others {}, longer answers {}",
            labels.collect::<Vec<_>>().join(", "),
            figures.labels.other,
            figures.labels.long
        )?;
    }
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

/// The bars of a histogram as text, the tail in one line.
fn histogram(
    out: &mut impl Write,
    title: &str,
    buckets: &[crate::report::Bucket],
    step: i64,
) -> std::io::Result<()> {
    const LINES: usize = 20;
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
    for bucket in buckets.iter().take(LINES) {
        let bar = "█".repeat((bucket.count * 40 / most) as usize);
        let range = format!("{}–{}", bucket.from, bucket.from + step - 1);
        writeln!(out, "  {range:>11} {:>7} {bar}", bucket.count)?;
    }
    if let [first, ..] = &buckets[LINES.min(buckets.len())..] {
        let count: i64 = buckets.iter().skip(LINES).map(|bucket| bucket.count).sum();
        writeln!(out, "  {:>11} {count:>7}", format!("{}–", first.from))?;
    }
    Ok(())
}
