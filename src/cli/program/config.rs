//! `ewe config`

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cli::args::number;
use crate::cli::terminal::clean;
use crate::cli::{Globals, command, settings};
use crate::settings::shown::Shown;
use crate::settings::written::RunOptions;
use crate::store::Store;
use crate::streams;
use crate::text::format_error;

/// Arguments of `ewe config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Options stand in ewe.toml, in this folder or further up in the repository or the
home folder, in the file of --config, or in variables such as EWE_DB. What is
typed goes before variables, these before the table of the command, and that
before the top of the file. docs/settings.md has the layout.")]
pub struct Args {
    /// The command; without one, all that is set is shown and checked
    #[arg(value_name = "COMMAND")]
    pub of: Option<String>,

    /// Options of the command, as they would be typed
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub line: Vec<OsString>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Print a file for --config, with what is set and typed
    #[arg(long, conflicts_with = "json")]
    pub toml: bool,

    /// Print the options of this training run of --db as a file for --config: `ewe config --of-run
    /// 7 train --db my.db`
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "toml"], value_parser = number::id)]
    pub of_run: Option<i64>,
}

/// Shows what holds. The exit code is 1 if a command could not use what is set.
pub async fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let Some(name) = &args.of else {
        if args.toml || args.of_run.is_some() {
            bail!("say for which command\nhint: such as `ewe config --toml train`");
        }
        return all(args, globals);
    };
    let typed = [typed(globals), args.line.clone()].concat();
    let mut line: Vec<OsString> = vec!["ewe".into(), name.into()];
    line.extend(typed.iter().cloned());
    let resolved = settings::resolved(&command(), &line)?;
    let matches = resolved.options.look_at(&resolved.arguments[2..]);
    let mut out = streams::stdout();
    if let Some(id) = args.of_run {
        let db = matches
            .try_get_raw("db")
            .ok()
            .flatten()
            .and_then(|mut paths| paths.next());
        let db = db.context(
            "no dataset is named\nhint: it is named after the command, as in `ewe train --db my.db`",
        )?;
        write!(out, "{}", of_run(Path::new(db), id).await?)?;
    } else if args.toml {
        let options = RunOptions::given(&resolved.options, &matches);
        write!(out, "{}", options.to_toml(resolved.options.command(), &[]))?;
    } else {
        let shown = Shown::of(&resolved, &typed);
        match args.json {
            true => writeln!(out, "{}", streams::json::pretty(&shown.to_json())?)?,
            false => write!(out, "{}", shown.text())?,
        }
    }
    out.flush()?;
    Ok(0)
}

/// Shows all that is set, and checks it for every command.
fn all(args: &Args, globals: &Globals) -> Result<u8> {
    let root = command();
    let (sources, errors) = settings::checked(&root, &typed(globals))?;
    let shown = Shown::of_sources(&root, &sources);
    let mut out = streams::stdout();
    if args.json {
        writeln!(out, "{}", streams::json::pretty(&shown.to_json())?)?;
    } else if shown.rows.is_empty() {
        writeln!(out, "nothing is set")?;
    } else {
        write!(out, "{}", shown.text())?;
    }
    out.flush()?;
    for error in &errors {
        eprintln!("error: {}", clean(&format_error(error)));
    }
    Ok(u8::from(!errors.is_empty()))
}

/// The options of every command that say where settings stand, as they are typed.
fn typed(globals: &Globals) -> Vec<OsString> {
    let file = globals.config.as_ref().map(|path| {
        let mut word = OsString::from("--config=");
        word.push(path);
        word
    });
    let none = globals.no_config.then(|| OsString::from("--no-config"));
    file.into_iter().chain(none).collect()
}

/// The options of a training run of a dataset, as TOML.
async fn of_run(db: &Path, id: i64) -> Result<String> {
    let store = Store::open_to_read(db).await?;
    let runs = store.runs_of("train").await?;
    store.close().await;
    let run = runs.into_iter().find(|(run, _, _)| *run == id);
    let (_, config, _) = run.with_context(|| {
        format!(
            "`{}` has no training run {id}\nhint: `ewe report` and `ewe stats` list its runs",
            db.display()
        )
    })?;
    let options = RunOptions::of_json(&config["options"]).filter(|options| !options.is_empty());
    let options =
        options.with_context(|| format!("training run {id} is of a version that kept no options"))?;
    let remark = format!("The options of training run {id} of {}.", db.display());
    Ok(options.to_toml("train", &[remark.replace('\n', " ")]))
}
