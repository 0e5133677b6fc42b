//! Values of fields in `ewe review`: a field's own key, or `l` and its number, then the number of a
//! choice, or a value that is typed.

use super::session::{Mode, ReviewSession};
use crate::curate::view::FieldView;
use crate::store::fields::assign::{Assignment, How};
use crate::store::{Error, Result};
use crate::task::FieldType;
use crate::text::clean;

/// How many choices have a number.
const NUMBERED: usize = 9;

/// What a field can be chosen to be.
fn choices(view: &FieldView) -> Vec<String> {
    match view.field.kind {
        FieldType::Flag => vec!["yes".to_owned(), "no".to_owned()],
        _ => view.field.choices.clone(),
    }
}

/// Says which fields there are, with their numbers.
pub(super) fn offer(fields: &[FieldView]) -> String {
    let each = fields
        .iter()
        .take(NUMBERED)
        .enumerate()
        .map(|(at, view)| format!("{} {}", at + 1, clean(&view.field.name)));
    format!("which field: {}", each.collect::<Vec<_>>().join(" · "))
}

/// Says which values a field has, and what was typed.
pub(super) fn prompt(view: &FieldView, typed: &str) -> String {
    let name = clean(&view.field.name);
    let choices = choices(view);
    let each = choices
        .iter()
        .take(NUMBERED)
        .enumerate()
        .map(|(at, choice)| format!("{} {}", at + 1, clean(choice)));
    let each: Vec<String> = each.collect();
    match each.is_empty() {
        true => format!("{name}: {}▏", clean(typed)),
        false => format!("{name} ({} · 0 none): {}▏", each.join(" · "), clean(typed)),
    }
}

impl ReviewSession<'_> {
    /// Begins to label: the only field at once, otherwise after its number.
    pub async fn label(&mut self) {
        let fields = self.task.as_ref().map_or(&[][..], |view| &view.fields);
        match fields.len() {
            0 => self.message = "no field yet: `ewe field add` makes one".to_owned(),
            1 => self.begin_label(0),
            _ => self.mode = Mode::Fields,
        }
    }

    /// Asks for a value of the field at this place.
    pub fn begin_label(&mut self, place: usize) {
        let fields = self.task.as_ref().map_or(&[][..], |view| &view.fields);
        let Some(view) = fields.get(place) else {
            self.mode = Mode::Queue;
            return;
        };
        let text = match choices(view).is_empty() {
            true => view.shown.clone(),
            false => String::new(),
        };
        self.mode = Mode::Value(place, text);
    }

    /// Returns the place of the field with this key.
    pub fn field_of_key(&self, key: char) -> Option<usize> {
        let fields = &self.task.as_ref()?.fields;
        let has = |view: &FieldView| view.field.key.as_deref().is_some_and(|own| own.chars().eq([key]));
        fields.iter().position(has)
    }

    /// Returns the choice with this number; an empty text for 0.
    pub fn numbered(&self, place: usize, digit: char) -> Option<String> {
        let view = self.task.as_ref()?.fields.get(place)?;
        let choices = choices(view);
        match digit.to_digit(10)? as usize {
            _ if choices.is_empty() => None,
            0 => Some(String::new()),
            number => choices.get(number - 1).cloned(),
        }
    }

    /// Gives the task a value, as it was typed.
    pub async fn set_label(&mut self, place: usize, text: &str) -> Result<()> {
        self.mode = Mode::Queue;
        let Some(view) = &self.task else {
            return Ok(());
        };
        let Some(field) = view.fields.get(place).map(|view| view.field.clone()) else {
            return Ok(());
        };
        let (id, version) = (view.task.id, view.version);
        let values = match field.typed(text) {
            Ok(values) => values,
            Err(error) => {
                self.message = error.to_string().replace('\n', " · ");
                return Ok(());
            }
        };
        let said = match values.is_empty() {
            true => format!("task {id} has no {} any more", clean(&field.name)),
            false => format!(
                "task {id}: {} {}",
                clean(&field.name),
                clean(&field.shown(&values))
            ),
        };
        let assignment = Assignment {
            field,
            how: How::Set,
            values,
        };
        let labelled = self
            .store()
            .label(&[id], Some(version), &[assignment], self.actor(None))
            .await;
        match labelled {
            Ok(change) => {
                self.message = said;
                self.remember(change, id, "labelled");
                let (scroll, message) = (self.scroll, self.message.clone());
                self.look_at(id).await?;
                (self.scroll, self.message) = (scroll, message);
                Ok(())
            }
            Err(Error::ChangedMeanwhile { .. }) => {
                self.look_at(id).await?;
                self.message = "changed meanwhile, nothing was set: this is how it is now".to_owned();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
