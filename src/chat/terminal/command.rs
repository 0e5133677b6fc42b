//! What begins with a slash in a chat, and the sampling parameters that it changes.

use std::path::PathBuf;

use ewe::backend::Sampling;

/// What `/help` prints.
pub const HELP: &str = "\
/system TEXT    set the system message; alone, show it
/reset          forget what was said
/regenerate     answer the last question again
/params         show how tokens are chosen; /params temperature 0.2 changes it
/save FILE      write the conversation as a row of messages, for ewe import
/help           show this
/quit           leave, as Ctrl-D does

A message of several lines stands between lines of \"\"\", or has \\ at the end of
each line but the last. // at the beginning stands for a slash. Ctrl-C stops the
answer. The arrows bring back what was typed before, which no file keeps.";

/// The sampling parameters that `/params` shows and changes.
const PARAMS: [&str; 9] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "max_tokens",
    "seed",
];

/// A command of the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Lists the commands.
    Help,
    /// Shows the system message, or sets it.
    System(Option<String>),
    /// Forgets what was said.
    Reset,
    /// Writes the conversation to a file.
    Save(PathBuf),
    /// Answers the last question again.
    Regenerate,
    /// Shows the sampling parameters, after these changes.
    Params(Vec<(String, String)>),
    /// Leaves.
    Quit,
}

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A command.
    Command(Command),
    /// A message for the model.
    Message(String),
}

impl Typed {
    /// Reads what was typed. Commands exist on a terminal only.
    ///
    /// # Errors
    ///
    /// For people, on a command that does not exist, or lacks something.
    pub fn read(text: &str, is_terminal: bool) -> Result<Typed, String> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix('/').filter(|_| is_terminal) else {
            return Ok(Typed::Message(text.to_owned()));
        };
        if rest.starts_with('/') {
            return Ok(Typed::Message(rest.to_owned()));
        }
        let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim();
        let command = match name {
            "help" | "?" => Command::Help,
            "system" => Command::System(Some(rest).filter(|text| !text.is_empty()).map(str::to_owned)),
            "reset" | "clear" => Command::Reset,
            "save" if rest.is_empty() => {
                return Err("/save lacks the name of a file\nhint: /save chat.jsonl".to_owned());
            }
            "save" => Command::Save(rest.into()),
            "regenerate" => Command::Regenerate,
            "params" => Command::Params(changes(rest)?),
            "quit" | "exit" | "bye" => Command::Quit,
            _ => {
                return Err(format!(
                    "there is no command /{name}\nhint: /help lists them; a message that begins with a slash \
                     begins with two"
                ));
            }
        };
        Ok(Typed::Command(command))
    }
}

/// Reads `NAME VALUE` or `NAME=VALUE`, any number of them.
fn changes(text: &str) -> Result<Vec<(String, String)>, String> {
    let words: Vec<&str> = text
        .split([' ', '\t', '='])
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.chunks_exact(2);
    match pairs.remainder() {
        [] => Ok(pairs
            .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
            .collect()),
        [name, ..] => Err(format!(
            "`{name}` lacks a value\nhint: /params temperature 0.2, or /params alone"
        )),
    }
}

/// Returns the sampling parameters, as they are set.
pub fn params(sampling: &Sampling) -> String {
    let value = |name: &&str| match *name {
        "temperature" => sampling.temperature.to_string(),
        "top_p" => sampling.top_p.to_string(),
        "top_k" => sampling.top_k.to_string(),
        "min_p" => sampling.min_p.to_string(),
        "presence_penalty" => sampling.presence_penalty.to_string(),
        "frequency_penalty" => sampling.frequency_penalty.to_string(),
        "repetition_penalty" => sampling.repetition_penalty.to_string(),
        "max_tokens" => sampling.max_tokens.to_string(),
        _ => sampling.seed.to_string(),
    };
    let lines = PARAMS.iter().map(|name| format!("{name:<20}{}", value(name)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Changes a sampling parameter.
///
/// # Errors
///
/// For people, on a name that is none, and on a value that is out of range.
pub fn set(sampling: &mut Sampling, name: &str, value: &str) -> Result<(), String> {
    // The names of options are understood, too.
    let name = name.trim_start_matches('-').replace('-', "_");
    let wrong = |want: &str| format!("{name} cannot be `{value}`: want {want}");
    let number = |least: f64, most: f64, want: &str| -> Result<f64, String> {
        let number = value.parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| wrong(want))
    };
    let part = || number(0.0, 1.0, "a number from 0 to 1");
    let penalty = || number(-100.0, 100.0, "a number from -100 to 100");
    let count = || value.parse().map_err(|_| wrong("a number of tokens"));
    match name.as_str() {
        "temperature" => sampling.temperature = number(0.0, 100.0, "a number from 0 to 100")?,
        "top_p" => sampling.top_p = part()?,
        "top_k" => sampling.top_k = count()?,
        "min_p" => sampling.min_p = part()?,
        "presence_penalty" => sampling.presence_penalty = penalty()?,
        "frequency_penalty" => sampling.frequency_penalty = penalty()?,
        "repetition_penalty" => {
            sampling.repetition_penalty = number(0.01, 100.0, "a number from 0.01 to 100")?;
        }
        "max_tokens" => sampling.max_tokens = count()?,
        "seed" => sampling.seed = value.parse().map_err(|_| wrong("a whole number"))?,
        _ => {
            return Err(format!(
                "there is no parameter `{name}`\nhint: one of {}",
                PARAMS.join(", ")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_on_a_terminal() {
        let read = |text: &str| Typed::read(text, true);
        let is = |command| Ok(Typed::Command(command));
        assert_eq!(read("/help"), is(Command::Help));
        assert_eq!(
            read(" /system  Be brief. "),
            is(Command::System(Some("Be brief.".into())))
        );
        assert_eq!(read("/system"), is(Command::System(None)));
        assert_eq!(
            read("/save my chat.jsonl"),
            is(Command::Save("my chat.jsonl".into()))
        );
        assert_eq!(read("/bye"), is(Command::Quit));
        assert_eq!(read("//etc/hosts?"), Ok(Typed::Message("/etc/hosts?".into())));
        assert_eq!(read(" a /help b\n"), Ok(Typed::Message("a /help b".into())));
        assert_eq!(Typed::read("/help", false), Ok(Typed::Message("/help".into())));
        for wrong in ["/save", "/hepl", "/params temperature", "/params seed=1 top_p"] {
            assert!(read(wrong).unwrap_err().contains("\nhint: "), "{wrong}");
        }
    }

    #[test]
    fn parameters_are_changed_within_their_ranges() {
        let mut sampling = Sampling::default();
        let Ok(Typed::Command(Command::Params(changes))) =
            Typed::read("/params temperature 0.2 top-p=0.5 --seed 7", true)
        else {
            panic!("it is a command");
        };
        for (name, value) in &changes {
            set(&mut sampling, name, value).unwrap();
        }
        assert_eq!(
            (sampling.temperature, sampling.top_p, sampling.seed),
            (0.2, 0.5, 7)
        );
        let shown = params(&sampling);
        assert_eq!(shown.lines().count(), PARAMS.len());
        assert!(shown.contains("temperature         0.2\n"), "{shown}");
        for name in PARAMS {
            assert!(set(&mut sampling, name, "1").is_ok(), "{name}");
            for absurd in ["x", "-900", "NaN", "", "1e300"] {
                assert!(set(&mut sampling, name, absurd).is_err(), "{name} {absurd}");
            }
        }
        assert!(
            set(&mut sampling, "temprature", "1")
                .unwrap_err()
                .contains("temperature, top_p")
        );
    }
}
