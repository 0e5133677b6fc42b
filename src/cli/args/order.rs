//! The order of a list: `--sort`.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, ValueEnum};

use crate::store::{Result, Sort, Store};

/// The orders of `--sort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortOrder {
    /// By what every task has.
    Known(Known),
    /// By a field of one's own: its name, and whether the highest value comes first.
    Field(String, bool),
}

/// Orders by what every task has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Known {
    /// As they were stored
    Id,
    /// Latest first
    Newest,
    /// Most text first
    Longest,
    /// Least text first
    Shortest,
    /// Most similar to another task first
    Similar,
    /// Lowest score of a judge first
    Score,
    /// What raised the held-out loss most first
    Influence,
    /// What lowered the held-out loss most first
    Helped,
    /// Highest IFD first: answers that their instructions help least to predict
    Ifd,
}

impl Known {
    fn sort(self) -> Sort {
        match self {
            Known::Id => Sort::Id,
            Known::Newest => Sort::Newest,
            Known::Longest => Sort::Longest,
            Known::Shortest => Sort::Shortest,
            Known::Similar => Sort::Similar,
            Known::Score => Sort::Score,
            Known::Influence => Sort::Influence,
            Known::Helped => Sort::Helped,
            Known::Ifd => Sort::Ifd,
        }
    }
}

impl SortOrder {
    /// Returns the order as the store knows it.
    ///
    /// # Errors
    ///
    /// If there is no such field.
    pub async fn sort(&self, store: &Store) -> Result<Sort> {
        match self {
            SortOrder::Known(known) => Ok(known.sort()),
            SortOrder::Field(name, descending) => store.sort_by_field(name, *descending).await,
        }
    }
}

/// Splits `field.NAME` or `field.NAME:desc` into the name and whether the highest comes first.
pub fn field(word: &str) -> Option<(&str, bool)> {
    let name = word.strip_prefix("field.")?;
    let (name, descending) = match name.strip_suffix(":desc") {
        Some(name) => (name, true),
        None => (name.strip_suffix(":asc").unwrap_or(name), false),
    };
    (!name.is_empty()).then_some((name, descending))
}

/// Reads an order; the help and completions list those that every dataset has.
#[derive(Debug, Clone)]
pub struct OrderParser;

impl TypedValueParser for OrderParser {
    type Value = SortOrder;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> std::result::Result<SortOrder, clap::Error> {
        let text = value.to_string_lossy();
        if let Ok(known) = Known::from_str(&text, false) {
            return Ok(SortOrder::Known(known));
        }
        if let Some((name, descending)) = field(&text) {
            return Ok(SortOrder::Field(name.to_owned(), descending));
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        if let Some(arg) = arg {
            error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
        }
        error.insert(ContextKind::InvalidValue, ContextValue::String(text.into_owned()));
        let names = Known::value_variants()
            .iter()
            .filter_map(|known| Some(known.to_possible_value()?.get_name().to_owned()));
        let names = names.chain(["field.NAME".to_owned()]).collect();
        error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let known = Known::value_variants().iter();
        Some(Box::new(known.filter_map(ValueEnum::to_possible_value)))
    }
}
