//! `ewe show`

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use crate::cli::terminal::{clean, indent, one_line};
use crate::text::counted;
use crate::{curate::view::TaskView, store::Store};

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

/// Prints one task with everything that is known of it.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let store = Store::open_to_read(&args.db).await?;
    let view = TaskView::load(&store, args.id).await?;
    let mut out = BufWriter::new(crate::streams::stdout());
    if args.json {
        writeln!(out, "{}", crate::cli::args::json::pretty(&view)?)?;
    } else {
        print(&mut out, &view)?;
    }
    out.flush()?;
    store.finish().await?;
    Ok(())
}

fn print(out: &mut impl Write, view: &TaskView) -> std::io::Result<()> {
    let task = &view.task;
    write!(out, "task {} · {} · {}", task.id, task.origin, task.review)?;
    if task.is_classification {
        write!(out, " · classification")?;
    }
    if let Some(name) = &task.name {
        write!(out, " · {}", clean(name))?;
    }
    if let Some(source_id) = &task.source_id {
        write!(out, " · {}", clean(source_id))?;
    }
    if let Some(run) = task.run_id {
        write!(out, " · run {run}")?;
    }
    if let Some(round) = task.round {
        write!(out, ", round {round}")?;
    }
    writeln!(out, " · {}", task.created_at)?;
    if let Some(source) = &view.source {
        write!(out, "from `{}`", clean(&source.file))?;
        match (source.first_row, source.last_row) {
            (Some(first), Some(last)) if first < last => write!(out, ", rows {first} to {last}")?,
            (Some(first), _) => write!(out, ", row {first}")?,
            _ => {}
        }
        writeln!(out)?;
    }
    if let Some(system) = &task.system {
        writeln!(out, "\nsystem\n{}", indent(system, 2))?;
    }
    writeln!(out, "\ninstruction\n{}", indent(&task.instruction, 2))?;
    for instance in &view.instances {
        writeln!(out, "\ninstance {}", instance.ordinal)?;
        if !instance.input.is_empty() {
            writeln!(out, "  input\n{}", indent(&instance.input, 4))?;
        }
        writeln!(out, "  output\n{}", indent(&instance.output, 4))?;
        if let Some(extra) = &instance.extra {
            writeln!(out, "  other fields\n{}", indent(extra, 4))?;
        }
    }
    if !view.neighbors.is_empty() {
        writeln!(out, "\nnearest by ROUGE-L")?;
        for near in &view.neighbors {
            let instruction = one_line(&near.instruction, 80);
            writeln!(
                out,
                "  {:.2}  {:>6}  {:<8}  {instruction}",
                near.rouge_l, near.id, near.review
            )?;
        }
    }
    for judgment in &view.judgments {
        let score = match judgment.score {
            Some(score) => format!("score {score}"),
            None => "no score".to_string(),
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
            indent(judgment.problem.as_ref().unwrap_or(&judgment.reason), 2)
        )?;
    }
    if let Some(evolution) = &view.evolution {
        writeln!(
            out,
            "\nmade of task {} · {}\n  {}",
            evolution.parent_task_id,
            clean(&evolution.operator),
            one_line(&evolution.parent, 100)
        )?;
    }
    for revision in &view.history {
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
        if revision.action != "import" {
            writeln!(
                out,
                "  from {}\n  to   {}",
                clean(&revision.before),
                clean(&revision.after)
            )?;
        }
    }
    for call in &view.provenance {
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
    }
    Ok(())
}
