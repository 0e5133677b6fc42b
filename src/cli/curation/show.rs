//! `ewe show`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::cli::terminal::{clean, indent, one_line};
use crate::curate;
use crate::curate::view::{FieldView, PassageView, TaskView};
use crate::interchange::turns;
use crate::store::Store;
use crate::store::curation::judgment::Judgment;
use crate::store::curation::log::Revision;
use crate::store::curation::validation::Validation;
use crate::store::query::figures::{InfluenceOn, InstanceFigures};
use crate::store::query::neighbor::StoredNeighbor;
use crate::store::query::provenance::{Provenance, SourceFile};
use crate::store::task::StoredTask;
use crate::store::teams::comment::Comment;
use crate::store::teams::opinion::Assigned;
use crate::streams::pager;
use crate::task::Turn;
use crate::text::counted;

/// Arguments of `ewe show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dataset
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,

    /// The task's id
    #[arg(value_parser = crate::cli::args::number::id)]
    pub id: i64,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints one task with all its details.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let view = TaskView::load(&store, args.id, &curate::who()).await?;
    let ended = store.finish().await;
    let mut out = Vec::new();
    if args.json {
        writeln!(out, "{}", crate::streams::json::pretty(&view)?)?;
        let mut stdout = crate::streams::stdout();
        stdout.write_all(&out)?;
        stdout.flush()?;
    } else {
        print(&mut out, &view)?;
        pager::show(&out, false)?;
    }
    ended?;
    Ok(())
}

fn print(out: &mut impl Write, view: &TaskView) -> io::Result<()> {
    print_heading(out, &view.task)?;
    if let Some(source) = &view.source {
        print_source(out, source)?;
    }
    print_fields(out, &view.fields)?;
    print_texts(out, view)?;
    for passage in &view.passages {
        print_passage(out, passage)?;
    }
    print_reviewers(out, &view.assigned)?;
    print_comments(out, &view.comments)?;
    print_neighbors(out, &view.neighbors)?;
    for judgment in &view.judgments {
        print_judgment(out, judgment)?;
    }
    for validation in &view.validations {
        print_validation(out, validation)?;
    }
    for figures in &view.figures {
        print_figures(out, figures)?;
    }
    if !view.influenced_by.is_empty() {
        writeln!(out, "\ninfluenced by")?;
        print_influence(out, &view.influenced_by)?;
    }
    match &view.evolution {
        Some(evolution) if evolution.is_continuation() => {
            writeln!(out, "\ncontinues task {}", evolution.parent_task_id)?;
        }
        Some(evolution) => writeln!(
            out,
            "\nmade of task {} · {}\n  {}",
            evolution.parent_task_id,
            clean(&evolution.operator),
            one_line(&evolution.parent, 100)
        )?,
        None => {}
    }
    for revision in &view.history {
        print_revision(out, revision)?;
    }
    for call in &view.provenance {
        print_request(out, call)?;
    }
    Ok(())
}

fn print_heading(out: &mut impl Write, task: &StoredTask) -> io::Result<()> {
    write!(out, "task {} · {} · {}", task.id, task.origin, task.review)?;
    if task.is_classification {
        write!(out, " · classification")?;
    }
    if task.is_held_out {
        write!(out, " · held out")?;
    }
    for name in [&task.name, &task.source_id].into_iter().flatten() {
        write!(out, " · {}", clean(name))?;
    }
    if let Some(run) = task.run_id {
        write!(out, " · run {run}")?;
    }
    if let Some(round) = task.round {
        write!(out, ", round {round}")?;
    }
    writeln!(out, " · {}", task.created_at)
}

fn print_source(out: &mut impl Write, source: &SourceFile) -> io::Result<()> {
    write!(out, "from `{}`", clean(&source.file))?;
    match (source.first_row, source.last_row) {
        (Some(first), Some(last)) if first < last => write!(out, ", rows {first} to {last}")?,
        (Some(first), _) => write!(out, ", row {first}")?,
        _ => {}
    }
    writeln!(out)
}

/// Prints the values of the fields that people added.
fn print_fields(out: &mut impl Write, fields: &[FieldView]) -> io::Result<()> {
    let own: Vec<&FieldView> = fields.iter().filter(|field| !field.shown.is_empty()).collect();
    if own.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nfields")?;
    for view in own {
        let (name, value) = (clean(&view.field.name), &view.shown);
        match value.contains('\n') {
            true => writeln!(out, "  {name}\n{}", indent(value, 4))?,
            false => writeln!(out, "  {name}: {}", clean(value))?,
        }
    }
    Ok(())
}

/// Prints the system message, the instruction and the instances.
fn print_texts(out: &mut impl Write, view: &TaskView) -> io::Result<()> {
    if let Some(system) = &view.task.system {
        writeln!(out, "\nsystem\n{}", indent(system, 2))?;
    }
    writeln!(out, "\ninstruction\n{}", indent(&view.task.instruction, 2))?;
    for instance in &view.instances {
        writeln!(out, "\ninstance {}", instance.ordinal)?;
        if !instance.input.is_empty() {
            writeln!(out, "  input\n{}", indent(&instance.input, 4))?;
        }
        let first = turns::first_answer(&instance.output, instance.extra.as_deref());
        print_said(out, "output", &first)?;
        for (place, turn) in turns::of_column(instance.turns.as_deref()).iter().enumerate() {
            print_said(out, &format!("turn {place} · {}", clean(&turn.role)), turn)?;
            let others = turn.fields.iter();
            for (name, value) in others.filter(|(name, value)| !turns::is_reasoning(name, value)) {
                writeln!(out, "    {}\n{}", clean(name), indent(value, 6))?;
            }
        }
        if let Some(extra) = &instance.extra {
            writeln!(out, "  other fields\n{}", indent(extra, 4))?;
        }
    }
    Ok(())
}

/// Prints the text of a message below its label, with its reasoning marked as such.
fn print_said(out: &mut impl Write, label: &str, turn: &Turn) -> io::Result<()> {
    let (thought, text) = turns::parted(turn);
    writeln!(out, "  {label}")?;
    if let Some(thought) = thought {
        writeln!(
            out,
            "    (reasoning)\n{}\n    (answer)",
            indent(thought.trim(), 6)
        )?;
    }
    writeln!(out, "{}", indent(&text, 4))
}

/// Prints a passage that the task was made from. The words that the output has are between «».
fn print_passage(out: &mut impl Write, view: &PassageView) -> io::Result<()> {
    let passage = &view.passage;
    write!(
        out,
        "\npassage {} · {} · `{}`",
        passage.passage_id,
        clean(&passage.kind),
        clean(&passage.path)
    )?;
    if let Some(page) = passage.page {
        write!(out, ", page {page}")?;
    }
    if !passage.heading.is_empty() {
        write!(out, " · {}", one_line(&passage.heading, 80))?;
    }
    if !passage.is_current {
        write!(out, " · no longer there")?;
    }
    writeln!(out)?;
    let text: String = view
        .pieces
        .iter()
        .map(|piece| match piece.supports {
            true => format!("«{}»", piece.text),
            false => piece.text.clone(),
        })
        .collect();
    writeln!(out, "{}", indent(&text, 2))
}

/// Prints whom the task is assigned to, and what they said.
fn print_reviewers(out: &mut impl Write, assigned: &[Assigned]) -> io::Result<()> {
    if assigned.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nreviewers")?;
    for one in assigned {
        writeln!(out, "  {}: {}", clean(&one.reviewer), one.said())?;
    }
    Ok(())
}

fn print_comments(out: &mut impl Write, comments: &[Comment]) -> io::Result<()> {
    for comment in comments {
        writeln!(
            out,
            "\ncomment by {} · {}\n{}",
            clean(&comment.author),
            comment.created_at,
            indent(&comment.text, 2)
        )?;
    }
    Ok(())
}

fn print_neighbors(out: &mut impl Write, neighbors: &[StoredNeighbor]) -> io::Result<()> {
    if neighbors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nnearest by ROUGE-L")?;
    for near in neighbors {
        let instruction = one_line(&near.instruction, 80);
        writeln!(
            out,
            "  {:.2}  {:>6}  {:<8}  {instruction}",
            near.rouge_l, near.id, near.review
        )?;
    }
    Ok(())
}

fn print_judgment(out: &mut impl Write, judgment: &Judgment) -> io::Result<()> {
    let score = match (judgment.expected, judgment.score) {
        (Some(mean), _) if judgment.rubric.is_some() => format!("score {mean:.2}"),
        (Some(expected), _) => format!("score {expected:.2} by likelihood"),
        (None, Some(score)) => format!("score {score}"),
        (None, None) => "no score".to_string(),
    };
    let holds = if judgment.holds {
        ""
    } else {
        " · of another text, or renewed since"
    };
    writeln!(
        out,
        "\ninstance {} · {score} · {} · {}{holds}\n{}",
        judgment.ordinal,
        clean(&judgment.model),
        judgment.created_at,
        indent(&said(judgment), 2)
    )
}

/// What a judge said: its reason, or a line for each criterion of the rubric.
fn said(judgment: &Judgment) -> String {
    let problem = judgment.problem.clone();
    let Some((rubric, criteria)) = judgment.rubric.as_ref().zip(judgment.criteria()) else {
        return problem.unwrap_or_else(|| judgment.reason.clone());
    };
    let lines = criteria.iter().map(|of| {
        let reason = if of.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", of.reason)
        };
        format!("\n{} {} of {}{reason}", of.criterion, of.score, of.highest)
    });
    format!("by the rubric {rubric}{}", lines.collect::<String>())
}

fn print_validation(out: &mut impl Write, validation: &Validation) -> io::Result<()> {
    let what = if validation.accepted {
        "accepted"
    } else {
        "rejected"
    };
    let reason = match validation.reason.is_empty() {
        true => String::new(),
        false => format!(": {}", clean(&validation.reason)),
    };
    writeln!(
        out,
        "\ninstance {} · {what} by `{}`{reason}",
        validation.ordinal,
        clean(&validation.validator)
    )
}

/// Prints what an instance did to the held-out loss, and how difficult it is.
fn print_figures(out: &mut impl Write, figures: &InstanceFigures) -> io::Result<()> {
    write!(out, "\ninstance {}", figures.ordinal)?;
    if let Some(influence) = figures.influence {
        write!(out, " · influence {influence:+.3}")?;
    }
    if let Some(ifd) = figures.ifd {
        write!(out, " · IFD {ifd:.2}")?;
    }
    writeln!(out)?;
    print_influence(out, &figures.on)
}

fn print_influence(out: &mut impl Write, all: &[InfluenceOn]) -> io::Result<()> {
    for on in all {
        let how = if on.value < 0.0 { "hurt" } else { "helped" };
        let instruction = one_line(&on.instruction, 70);
        writeln!(
            out,
            "  {how:<6}  {:+.3}  {:>6}  {instruction}",
            on.value, on.task_id
        )?;
    }
    Ok(())
}

fn print_revision(out: &mut impl Write, revision: &Revision) -> io::Result<()> {
    write!(
        out,
        "\naction {} · {} · {} · {}",
        revision.group,
        revision.at,
        clean(&revision.who),
        revision.action
    )?;
    if let Some(undoes) = revision.undoes {
        write!(out, " of {undoes}")?;
    }
    if let Some(note) = &revision.note {
        write!(out, " · {}", clean(note))?;
    }
    writeln!(out)?;
    let is_compared = revision.before != revision.after;
    if is_compared && !matches!(revision.action.as_str(), "import" | "rescue") {
        let (before, after) = revision.sides();
        writeln!(out, "  from {}\n  to   {}", clean(&before), clean(&after))?;
    }
    Ok(())
}

fn print_request(out: &mut impl Write, call: &Provenance) -> io::Result<()> {
    writeln!(
        out,
        "\nrequest {} · {} · {} · {} + {} · {}\n  prompt\n{}\n  response\n{}",
        call.request_id,
        clean(&call.stage),
        clean(call.model.as_deref().unwrap_or("")),
        call.prompt_tokens,
        counted(call.completion_tokens, "token"),
        call.finish_reason,
        indent(&call.prompt, 4),
        indent(&call.response, 4)
    )?;
    if !call.reasoning.is_empty() {
        writeln!(out, "  reasoning\n{}", indent(&call.reasoning, 4))?;
    }
    Ok(())
}
