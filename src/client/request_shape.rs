//! The shape of a request: which fields are sent, and under which names. Options decide some of it,
//! some is learnt from refusals. Neither changes the prompt: only names of fields, and sampling
//! parameters.

use super::objection::FieldObjection;
use super::wire::REQUIRED_FIELDS;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that can be left out or renamed.
const FIELDS: [&str; 11] = [
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "response_format",
];
/// Fields that options may not add: they would change the prompt, or the form of the response.
const OURS: [&str; 6] = ["model", "prompt", "messages", "stream", "n", "stream_options"];
/// The temperature that is sent in place of 0 if the server takes only more than 0: nearly greedy.
const NEARLY_GREEDY: f64 = 0.01;

/// Fields of requests that options rename, leave out or add.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestShape {
    renames: BTreeMap<String, String>,
    drops: BTreeSet<String>,
    extra: Map<String, Value>,
}

/// Fields of requests that a server refused.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    renames: BTreeMap<String, String>,
    /// Names that were refused.
    refused: BTreeSet<String>,
    drops: BTreeSet<String>,
    /// Fields that are left out if they have this value.
    without: Vec<(String, Value)>,
    /// Fields, a value of theirs, and the value to send in its place.
    replaced: Vec<(String, Value, Value)>,
    /// The least `max_tokens` that the server takes.
    least_tokens: u64,
    /// Fields whose omission did not help.
    in_vain: BTreeSet<String>,
}

impl RequestShape {
    /// Reads `FROM=TO` for each renamed field, the fields left out, and the fields added.
    ///
    /// # Errors
    ///
    /// Names a field that cannot be renamed, left out or added.
    pub fn new(
        renames: &[String],
        drops: &[String],
        extra: Map<String, Value>,
    ) -> Result<RequestShape, String> {
        let known = |field: &str, option: &str| match FIELDS.contains(&field) {
            true => Ok(field.to_string()),
            false => Err(format!(
                "{option}: '{field}' is no field that can be changed\nhint: these can: {}",
                FIELDS.join(", ")
            )),
        };
        let mut shape = RequestShape {
            extra,
            ..RequestShape::default()
        };
        for rename in renames {
            let (from, to) = rename
                .split_once('=')
                .filter(|(_, to)| !to.trim().is_empty())
                .ok_or_else(|| {
                    format!("--request-field: '{rename}' is no FROM=TO\nhint: such as max_tokens=max_completion_tokens")
                })?;
            let from = known(from.trim(), "--request-field")?;
            if OURS.contains(&to.trim()) || FIELDS.contains(&to.trim()) {
                return Err(format!("--request-field: '{to}' is the name of another field"));
            }
            shape.renames.insert(from, to.trim().to_string());
        }
        for field in drops {
            shape.drops.insert(known(field.trim(), "--drop-field")?);
        }
        if let Some(ours) = OURS.iter().find(|name| shape.extra.contains_key(**name)) {
            return Err(format!("--extra-body: the field '{ours}' is ewe's to fill"));
        }
        Ok(shape)
    }

    /// Returns the added fields as a part of the model's name in content keys, since they change
    /// the answers. `None` if no field is added.
    pub fn in_name(&self) -> Option<String> {
        let sorted: BTreeMap<&String, &Value> = self.extra.iter().collect();
        (!sorted.is_empty()).then(|| json!(sorted).to_string())
    }

    /// Returns the body of a request with these fields.
    pub fn body(&self, fields: &Map<String, Value>, learnt: &Learnt) -> Map<String, Value> {
        let mut body = Map::new();
        for (field, value) in fields {
            let same = |(name, of): &(String, Value)| name == field && of == value;
            if self.drops.contains(field) || learnt.drops.contains(field) || learnt.without.iter().any(same) {
                continue;
            }
            let replaced = learnt
                .replaced
                .iter()
                .find(|(name, of, _)| name == field && of == value);
            let value = match value.as_u64() {
                Some(tokens) if field == "max_tokens" && tokens < learnt.least_tokens => {
                    json!(learnt.least_tokens)
                }
                _ => replaced.map_or(value, |(.., instead)| instead).clone(),
            };
            let name = learnt
                .renames
                .get(field)
                .or(self.renames.get(field))
                .unwrap_or(field);
            body.insert(name.clone(), value);
        }
        body.extend(self.extra.clone());
        body
    }

    /// Whether stop strings are sent.
    pub fn sends_stop(&self, learnt: &Learnt) -> bool {
        !self.drops.contains("stop") && !learnt.drops.contains("stop")
    }

    /// Learns from an objection to a request with these fields. Returns a line about what is done
    /// from now on, or `None` if nothing can be done.
    pub fn learn(
        &self,
        objection: &FieldObjection,
        fields: &Map<String, Value>,
        learnt: &mut Learnt,
    ) -> Option<String> {
        if self.extra.contains_key(&objection.field) {
            return None;
        }
        let renamed = self.renames.iter().chain(&learnt.renames);
        let field = renamed
            .filter(|(_, to)| **to == objection.field)
            .map(|(from, _)| from.clone())
            .next()
            .unwrap_or_else(|| objection.field.clone());
        let value = fields.get(&field)?.clone();
        if REQUIRED_FIELDS.contains(&field.as_str()) {
            return None;
        }
        if field == "max_tokens"
            && let Some(least) = objection.least
            && least > learnt.least_tokens
        {
            learnt.least_tokens = least;
            return Some(format!(
                "`max_tokens` is sent as {least} at least from now on, and answers are cut here"
            ));
        }
        learnt.refused.insert(objection.field.clone());
        let guessed =
            (field == "max_tokens" && !objection.is_about_value).then(|| "max_completion_tokens".to_string());
        let instead = objection.instead.clone().or(guessed);
        let instead = instead.filter(|name| {
            !learnt.refused.contains(name) && !OURS.contains(&name.as_str()) && !fields.contains_key(name)
        });
        if let Some(name) = instead {
            learnt.renames.insert(field.clone(), name.clone());
            return Some(format!("`{field}` is sent as `{name}` from now on"));
        }
        if field == "max_tokens" {
            return None;
        }
        if !objection.is_about_value || field == "seed" || field == "stop" {
            learnt.drops.insert(field.clone());
            return Some(match field.as_str() {
                "stop" => "`stop` is left out from now on, and answers are cut where it says so".to_string(),
                _ => format!("`{field}` is left out from now on, and is what the server makes it"),
            });
        }
        let is_replaced = learnt.replaced.iter().any(|(name, ..)| *name == field);
        if field == "temperature" && value == 0.0 && !is_replaced {
            learnt.replaced.push((field, value, json!(NEARLY_GREEDY)));
            return Some(format!(
                "a `temperature` of 0 is sent as {NEARLY_GREEDY} from now on"
            ));
        }
        let line = format!("`{field}` is left out from now on where it would be {value}");
        learnt.without.push((field, value));
        Some(line)
    }
}

impl Learnt {
    /// Stops sending stop strings. Returns whether they were sent until now.
    pub fn leave_stop_out(&mut self) -> bool {
        self.drops.insert("stop".to_string())
    }

    /// Returns the `max_tokens` to send for a request that wants `tokens`.
    pub fn allowed(&self, tokens: usize) -> usize {
        tokens.max(usize::try_from(self.least_tokens).unwrap_or(tokens))
    }

    /// Notes that a request without this field was refused, too.
    pub fn note_in_vain(&mut self, field: &str) {
        self.in_vain.insert(field.to_string());
    }

    /// Whether a request without this field was refused, too.
    pub fn was_in_vain(&self, field: &str) -> bool {
        self.in_vain.contains(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Map<String, Value> {
        let fields = json!({"model": "m", "prompt": "p", "max_tokens": 9, "temperature": 0.0, "top_p": 1.0, "seed": 3, "stop": ["x"]});
        fields.as_object().unwrap().clone()
    }

    fn objection(field: &str, instead: Option<&str>, is_about_value: bool) -> FieldObjection {
        FieldObjection {
            field: field.into(),
            instead: instead.map(str::to_string),
            is_about_value,
            least: None,
        }
    }

    #[test]
    fn the_command_line_renames_drops_and_adds() {
        let extra = json!({"top_k": 5, "chat_template_kwargs": {"enable_thinking": false}});
        let shape = RequestShape::new(
            &["max_tokens=max_completion_tokens".into()],
            &["seed".into(), "stop".into()],
            extra.as_object().unwrap().clone(),
        )
        .unwrap();
        assert_eq!(
            json!(shape.body(&fields(), &Learnt::default())),
            json!({"model": "m", "prompt": "p", "max_completion_tokens": 9, "temperature": 0.0, "top_p": 1.0,
                "top_k": 5, "chat_template_kwargs": {"enable_thinking": false}})
        );
        assert!(shape.in_name().unwrap().starts_with("{\"chat_template_kwargs\""));
        assert_eq!(RequestShape::default().in_name(), None);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let new = |renames: &[&str], drops: &[&str], extra: Value| {
            let text = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
            RequestShape::new(&text(renames), &text(drops), extra.as_object().unwrap().clone()).unwrap_err()
        };
        for (error, wanted) in [
            (new(&["max_tokens"], &[], json!({})), "is no FROM=TO"),
            (new(&["max_tokens="], &[], json!({})), "is no FROM=TO"),
            (new(&["prompt=text"], &[], json!({})), "'prompt'"),
            (new(&["seed=prompt"], &[], json!({})), "another field"),
            (new(&["seed=top_k"], &[], json!({})), "another field"),
            (new(&[], &["messages"], json!({})), "'messages'"),
            (new(&[], &["sed"], json!({})), "hint: these can: max_tokens"),
            (new(&[], &[], json!({"stream": true})), "'stream'"),
        ] {
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn refusals_teach_once_and_never_change_the_question() {
        let (shape, mut learnt) = (RequestShape::default(), Learnt::default());
        let mut learn = |objection: FieldObjection| shape.learn(&objection, &fields(), &mut learnt);
        for field in ["model", "prompt", "response_format", "unknown"] {
            assert_eq!(learn(objection(field, None, false)), None, "{field}");
        }
        assert_eq!(
            learn(objection("max_tokens", None, true)),
            None,
            "the value is the question's"
        );
        assert!(
            learn(objection("max_tokens", None, false))
                .unwrap()
                .contains("`max_completion_tokens`")
        );
        assert_eq!(learn(objection("max_completion_tokens", None, false)), None);
        assert!(learn(objection("max_completion_tokens", Some("n_predict"), false)).is_some());
        assert!(
            learn(objection("temperature", None, true))
                .unwrap()
                .contains("0.01")
        );
        assert!(
            learn(objection("temperature", None, true))
                .unwrap()
                .contains("where it would be 0")
        );
        assert!(learn(objection("seed", None, true)).is_some());
        assert!(learn(objection("stop", None, false)).unwrap().contains("cut"));
        assert!(
            learn(objection("top_p", Some("prompt"), true))
                .unwrap()
                .contains("where it would be 1")
        );
        let body = json!(shape.body(&fields(), &learnt));
        assert_eq!(body, json!({"model": "m", "prompt": "p", "n_predict": 9}));
        let mut warmer = fields();
        warmer.insert("temperature".into(), json!(0.7));
        assert_eq!(shape.body(&warmer, &learnt)["temperature"], 0.7);
    }

    #[test]
    fn fewer_tokens_than_are_taken_are_raised() {
        let (shape, mut learnt) = (RequestShape::default(), Learnt::default());
        let least = |least| FieldObjection {
            least: Some(least),
            ..objection("max_tokens", None, true)
        };
        let line = shape.learn(&least(16), &fields(), &mut learnt).unwrap();
        assert!(line.contains("16 at least"), "{line}");
        assert_eq!(shape.body(&fields(), &learnt)["max_tokens"], 16);
        assert_eq!((learnt.allowed(9), learnt.allowed(300)), (16, 300));
        let mut more = fields();
        more.insert("max_tokens".into(), json!(300));
        assert_eq!(shape.body(&more, &learnt)["max_tokens"], 300);
        // The least value never shrinks.
        assert!(shape.learn(&least(32), &fields(), &mut learnt).is_some());
        assert_eq!(shape.learn(&least(16), &fields(), &mut learnt), None);
        assert_eq!(shape.body(&fields(), &learnt)["max_tokens"], 32);
    }
}
