//! Converts a task to a text for an editor, and back.
//!
//! Lines that begin with `%%` name the text that follows. A text's own line of that kind gets a
//! backslash in front, and so does one that begins with a backslash and `%%`.

use std::{io::Write, process::Command};

use anyhow::{Context, bail};

use super::view::TaskView;
use crate::interchange::turns;
use crate::store::{Edit, InstanceEdit, Store, TurnEdit};

/// Opens the task in `$VISUAL` or `$EDITOR`. Returns the changes.
///
/// # Errors
///
/// When there is no such task, the editor fails, or its text cannot be parsed; then the message
/// says where the text was kept.
pub async fn edit(store: &Store, id: i64) -> anyhow::Result<Edit> {
    let view = TaskView::brief(store, id, "").await?;
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|editor| !editor.is_empty()))
        .with_context(|| {
            format!("no editor is set\nhint: set $EDITOR; `ewe edit {id} --instruction TEXT` needs none")
        })?;
    let mut file = tempfile::Builder::new()
        .prefix(&format!("ewe-task-{id}-"))
        .suffix(".txt")
        .tempfile()?;
    file.write_all(to_text(&view).as_bytes())?;
    file.flush()?;
    // As in git, the variable may hold arguments too, so a shell splits it.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg("ewe")
        .arg(file.path())
        .status()
        .with_context(|| format!("cannot start the editor `{editor}`"))?;
    if !status.success() {
        bail!("the editor `{editor}` ended with {status}; nothing was changed");
    }
    // Editors replace the file rather than write into it, so it is read by name.
    let text = std::fs::read_to_string(file.path()).context("cannot read back what was edited")?;
    match from_text(&text, &view) {
        Ok(edit) => Ok(edit),
        Err(what) => {
            let (_, path) = file.keep()?;
            bail!(
                "{what}; nothing was changed\nhint: your text is kept in `{}`",
                path.display()
            )
        }
    }
}

fn to_text(view: &TaskView) -> String {
    let mut text = String::new();
    let mut section = |title: &str, body: &str| {
        text.push_str(&format!("%% {title}\n"));
        for line in body.split('\n') {
            if line.trim_start_matches('\\').starts_with("%%") {
                text.push('\\');
            }
            text.push_str(line);
            text.push('\n');
        }
    };
    section("instruction", &view.task.instruction);
    for instance in &view.instances {
        section(&format!("input {}", instance.ordinal), &instance.input);
        section(&format!("output {}", instance.ordinal), &instance.output);
        for (place, turn) in turns::of_column(instance.turns.as_deref()).iter().enumerate() {
            let title = format!("turn {} {place} {}", instance.ordinal, turn.role);
            section(&title, &turn.content);
        }
    }
    text
}

fn from_text(text: &str, view: &TaskView) -> Result<Edit, String> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    // The last line break ends the last line and does not begin another.
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if let Some(title) = line.strip_prefix("%%") {
            sections.push((title.trim(), Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            let escaped = line.starts_with('\\') && line.trim_start_matches('\\').starts_with("%%");
            lines.push(if escaped { &line[1..] } else { line });
        } else if !line.trim().is_empty() {
            return Err("there is text before the first line that begins with `%%`".into());
        }
    }
    let mut edit = Edit {
        version: Some(view.version),
        ..Edit::default()
    };
    let mut seen = Vec::new();
    for (title, lines) in sections {
        if seen.contains(&title) {
            return Err(format!("`%% {title}` is there twice"));
        }
        seen.push(title);
        let body = lines.join("\n");
        if title == "instruction" {
            if body.trim().is_empty() {
                return Err("the instruction is empty".into());
            }
            edit.instruction = Some(body);
            continue;
        }
        let unknown = || format!("`%% {title}` is not a text of this task");
        let (column, ordinal) = title.split_once(' ').ok_or_else(unknown)?;
        // Turns have their place and the role of who speaks.
        let (ordinal, turn) = match column {
            "turn" => ordinal.trim().split_once(' ').ok_or_else(unknown)?,
            _ => (ordinal, ""),
        };
        let ordinal: i64 = ordinal.trim().parse().map_err(|_| unknown())?;
        if !view.instances.iter().any(|instance| instance.ordinal == ordinal) {
            return Err(unknown());
        }
        let at = edit
            .instances
            .iter()
            .position(|instance| instance.ordinal == ordinal)
            .unwrap_or_else(|| {
                edit.instances.push(InstanceEdit {
                    ordinal,
                    ..InstanceEdit::default()
                });
                edit.instances.len() - 1
            });
        match column {
            "input" => edit.instances[at].input = Some(body),
            "output" => edit.instances[at].output = Some(body),
            "turn" => {
                let place = turn.trim().split(' ').next().unwrap_or_default();
                let place = place.parse().map_err(|_| unknown())?;
                edit.instances[at].turns.push(TurnEdit { place, content: body });
            }
            _ => return Err(unknown()),
        }
    }
    Ok(edit)
}
