//! What is known of the options of commands beyond clap's description.

use clap::ArgMatches;

/// An option that is of no use beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// The id of the option.
    pub option: &'static str,
    /// The id of the given option that makes it so; none if another is missing, or has its default.
    pub beside: Option<&'static str>,
    /// Why, after "it …".
    pub why: String,
}

/// Which options of a command go together.
pub trait Company {
    /// Returns pairs of ids of which only one may be given.
    fn exclusions(&self, command: &str) -> Vec<(&'static str, &'static str)>;

    /// Returns the options that are given and of no use beside the others.
    fn idle(&self, command: &str, matches: &ArgMatches) -> Vec<Idle>;
}
