//! Names for the other fields of a row that no reader takes for a part of the task.

use crate::interchange::{
    Format, Need,
    extra::Extra,
    format::{GROUP, HISTORY, PREFIX, TREE_ROWS},
};

/// Renames other fields whose name is taken, that a reader would take for a part of the task, or by
/// which the row would be recognized as one of another format. `fields` are those of the format;
/// `says_system` is whether one of the messages is the system message.
pub(super) fn untaken(extra: Extra, fields: &[(String, String)], format: Format, says_system: bool) -> Extra {
    let own: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut named: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
    extra.renamed(|name| {
        let is_taken = own.contains(&name)
            || name == GROUP
            || is_read(name, &own, format, says_system)
            || misleads(name, &named, format);
        if is_taken {
            return Some(format!("{PREFIX}{name}"));
        }
        named.push(name.to_owned());
        None
    })
}

/// Renames other fields of an instance in format `self-instruct` whose name is taken.
pub(super) fn untaken_in_instance(extra: Extra) -> Extra {
    extra.renamed(|name| {
        ["input", "output"]
            .contains(&name)
            .then(|| format!("{PREFIX}{name}"))
    })
}

/// Whether a reader of the format takes a field of this name for a part of the task, beside the
/// format's own fields.
fn is_read(name: &str, own: &[&str], format: Format, says_system: bool) -> bool {
    let is_pair = matches!(format, Format::Alpaca | Format::Dolly | Format::Completion);
    let inputs: &[&str] = match is_pair {
        true => format.inputs(),
        false => &[],
    };
    let histories: &[&str] = match is_pair {
        true => &[HISTORY],
        false => &[],
    };
    let systems: &[&str] = match says_system {
        true => &[],
        false => format.systems(),
    };
    let rows: &[&str] = match format {
        Format::Oasst => &[TREE_ROWS],
        _ => &[],
    };
    [inputs, histories, systems, rows]
        .into_iter()
        .any(|names| is_found(name, names, own))
}

/// Whether a reader that looks for the first of `names` finds this one, and none of `own` before.
fn is_found(name: &str, names: &[&str], own: &[&str]) -> bool {
    match names.iter().position(|other| own.contains(other)) {
        Some(first) => names[..first].contains(&name),
        // Readers take a name in another case if none is exact.
        None => names.iter().any(|other| other.eq_ignore_ascii_case(name)),
    }
}

/// Whether a row with the fields `named` and this one would be taken for one of another format.
fn misleads(name: &str, named: &[String], format: Format) -> bool {
    // A tree is recognized by its prompt, whatever else is there.
    if format == Format::Oasst {
        return false;
    }
    let has = |field: &str| field == name || named.iter().any(|other| other == field);
    Format::of_columns(has, has, Need::Task) != Some(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that other fields get beside `own` ones.
    fn names(extra: &str, own: &[&str], format: Format, says_system: bool) -> String {
        let own: Vec<_> = own
            .iter()
            .map(|name| ((*name).to_owned(), "\"\"".to_owned()))
            .collect();
        let extra = untaken(Extra::parse(extra).unwrap(), &own, format, says_system);
        extra.names().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_other_field_becomes_a_part_of_the_task() {
        let dolly = ["instruction", "context", "response", "category"];
        let alpaca = ["instruction", "input", "output"];
        let completion = ["prompt", "completion"];
        for (extra, own, format, wanted) in [
            (
                r#"{"input":1,"Input":1}"#,
                &dolly[..],
                Format::Dolly,
                "ewe_input Input",
            ),
            (
                r#"{"context":1,"input":1}"#,
                &alpaca,
                Format::Alpaca,
                "context ewe_input",
            ),
            (
                r#"{"system":1,"System_Prompt":1}"#,
                &dolly,
                Format::Dolly,
                "ewe_system ewe_System_Prompt",
            ),
            (r#"{"history":[]}"#, &dolly, Format::Dolly, "ewe_history"),
            (r#"{"history":[]}"#, &alpaca, Format::Alpaca, "ewe_history"),
            (
                r#"{"history":[],"input":1,"system":1}"#,
                &completion,
                Format::Completion,
                "ewe_history input system",
            ),
            // Each of both is harmless, and not both of them.
            (
                r#"{"instruction":1,"output":1}"#,
                &completion,
                Format::Completion,
                "instruction ewe_output",
            ),
            (
                r#"{"history":[],"input":1}"#,
                &["messages"],
                Format::Chat,
                "history input",
            ),
            (r#"{"system":1}"#, &["messages"], Format::Chat, "ewe_system"),
            (
                r#"{"ewe_rows":2,"id":1}"#,
                &["prompt"],
                Format::Oasst,
                "ewe_ewe_rows id",
            ),
        ] {
            assert_eq!(names(extra, own, format, false), wanted, "{format:?}: {extra}");
        }
        let system = r#"{"system_prompt":1}"#;
        assert_eq!(names(system, &["messages"], Format::Chat, true), "system_prompt");
        let with_system = ["instruction", "context", "response", "category", "system"];
        assert_eq!(names(system, &with_system, Format::Dolly, false), "system_prompt");
    }

    #[test]
    fn an_instance_keeps_its_input_and_output() {
        let extra = Extra::parse(r#"{"input":1,"x":2,"output":3,"ewe_turns":[]}"#).unwrap();
        assert_eq!(
            untaken_in_instance(extra).to_json(),
            r#"{"ewe_input":1,"x":2,"ewe_output":3,"ewe_turns":[]}"#
        );
    }
}
