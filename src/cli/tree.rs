//! Clap's description of the command line: of the command that is typed, or of all.
//!
//! Describing all commands, with some 800 options and their help, takes longer than the rest of a
//! start. A line that is right needs one of them; help, and the error of a line that is wrong, come
//! from [`whole`].

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::{Args, Command, CommandFactory};

use super::{Cli, Globals, curation, data, help, models, program};
use crate::program::about;
use crate::settings::line;
use crate::settings::options::Commands;

/// Adds the options of a command to its description.
type Describe = fn(Command) -> Command;

/// What describes the options of each command. A command that is missing here is only
/// slower to start; a test finds it.
const OPTIONS: [(&str, Describe); 51] = [
    ("init", data::init::Args::augment_args),
    ("generate", data::generate::Args::augment_args),
    ("judge", data::judge::Args::augment_args),
    ("validate", data::validate::Args::augment_args),
    ("recipe", data::recipe::Args::augment_args),
    ("filter", data::filter::Args::augment_args),
    ("import", data::import::Args::augment_args),
    ("add-documents", data::add_documents::Args::augment_args),
    ("export", data::export::Args::augment_args),
    ("list", curation::list::Args::augment_args),
    ("show", curation::show::Args::augment_args),
    ("search", curation::search::Args::augment_args),
    ("candidates", curation::candidates::Args::augment_args),
    ("rescue", curation::rescue::Args::augment_args),
    ("accept", curation::accept::Args::augment_args),
    ("reject", curation::reject::Args::augment_args),
    ("unsure", curation::unsure::Args::augment_args),
    ("assign", curation::assign::Args::augment_args),
    ("agreement", curation::agreement::Args::augment_args),
    ("comment", curation::comment::Args::augment_args),
    ("edit", curation::edit::Args::augment_args),
    ("field", curation::field::Args::augment_args),
    ("label", curation::label::Args::augment_args),
    ("undo", curation::undo::Args::augment_args),
    ("log", curation::log::Args::augment_args),
    ("backup", data::backup::Args::augment_args),
    ("merge-db", data::merge_db::Args::augment_args),
    ("check", data::check::Args::augment_args),
    ("review", curation::review::Args::augment_args),
    ("curate", curation::curate::Args::augment_args),
    ("report", curation::report::Args::augment_args),
    ("stats", curation::stats::Args::augment_args),
    ("split", data::split::Args::augment_args),
    ("train", models::train::Args::augment_args),
    ("gain", models::gain::Args::augment_args),
    ("merge", models::merge::Args::augment_args),
    ("push", models::push::Args::augment_args),
    ("plan", models::plan::Args::augment_args),
    ("complete", models::complete::Args::augment_args),
    ("score", models::score::Args::augment_args),
    ("influence", models::influence::Args::augment_args),
    ("eval", models::eval::Args::augment_args),
    ("compare", models::compare::Args::augment_args),
    ("chat", models::chat::Args::augment_args),
    ("serve", models::serve::Args::augment_args),
    ("selftest", models::selftest::Args::augment_args),
    ("config", program::config::Args::augment_args),
    ("demo", program::demo::Args::augment_args),
    ("doctor", program::doctor::Args::augment_args),
    ("completions", program::completions::Args::augment_args),
    ("man", program::man::Args::augment_args),
];

/// Returns the whole command line, as the help shows it.
pub fn whole() -> Command {
    static WHOLE: OnceLock<Command> = OnceLock::new();
    WHOLE.get_or_init(|| help::arranged(Cli::command())).clone()
}

/// Returns the options of the command `name`, without those of every command; none for a name that
/// no command has, or that is an alias.
pub fn options_of(name: &str) -> Option<Command> {
    let (name, add) = OPTIONS.iter().find(|(own, _)| *own == name)?;
    Some(add(Command::new(*name)))
}

/// Returns the program with the command of the line alone, or with none if the line names none.
/// What it parses, [`whole`] parses as well, and to the same; its help and its errors are to be
/// passed over. None for a word that is not a command's own name.
pub fn of_line(line: &[OsString]) -> Option<Command> {
    let program = Command::new("ewe")
        .version(about::VERSION_WITH_COMMIT)
        .propagate_version(true);
    let program = Globals::augment_args(program);
    match line::command_at(&program, line) {
        Some(at) => Some(program.subcommand(options_of(line[at].to_str()?)?)),
        None => Some(program.subcommand_required(true)),
    }
}

/// The commands, for settings.
pub struct Tree;

impl Commands for Tree {
    fn one(&self, name: &str) -> Option<Command> {
        let line = ["ewe", name].map(OsString::from);
        of_line(&line).filter(Command::has_subcommands)
    }

    fn all(&self) -> Command {
        whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;
    use clap::error::ErrorKind;

    fn line(words: &str) -> Vec<OsString> {
        words.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn every_command_is_described_alone_as_among_all() {
        let whole = Cli::command();
        for among in whole.get_subcommands() {
            let name = among.get_name();
            let alone =
                options_of(name).unwrap_or_else(|| panic!("{name}: put it into OPTIONS of src/cli/tree.rs"));
            let shown = |command: &Command| -> Vec<String> {
                let args = command.get_arguments().map(|arg: &Arg| format!("{arg:?}"));
                args.chain(command.get_groups().map(|group| format!("{group:?}")))
                    .collect()
            };
            assert_eq!(shown(&alone), shown(among), "{name}");
        }
        assert!(options_of("version").is_none() && options_of("hepl").is_none());
    }

    #[test]
    fn a_line_is_described_by_its_command() {
        let names = |words: &str| -> Option<Vec<String>> {
            let program = of_line(&line(words))?;
            let names = program
                .get_subcommands()
                .map(|command| command.get_name().to_owned());
            Some(names.collect())
        };
        let one = |name: &str| Some(vec![name.to_owned()]);
        assert_eq!(names("ewe list --db d.db"), one("list"));
        assert_eq!(names("ewe -q --config c.toml list"), one("list"));
        assert_eq!(names("ewe --config=list show"), one("show"));
        assert_eq!(names("ewe --version"), Some(Vec::new()));
        assert_eq!(names("ewe lst"), None);
        // Another name of `doctor`: all commands find it.
        assert_eq!(names("ewe version"), None);
        let version = |words: &str| {
            let error = of_line(&line(words)).unwrap().try_get_matches_from(line(words));
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DisplayVersion);
            error.to_string()
        };
        let of_whole = |words: &str| whole().try_get_matches_from(line(words)).unwrap_err().to_string();
        for words in ["ewe --version", "ewe -q -V", "ewe train --version"] {
            assert_eq!(version(words), of_whole(words));
        }
    }
}
