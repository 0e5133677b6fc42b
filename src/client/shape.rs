//! The shape of a request: which fields go to a server, and under which names. Some of it is said on the command line, some
//! is learnt from what the server refuses. Neither changes what is asked: names, and how the next token is drawn.

use super::objection::Objection;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that are not left out, since without them it would be another question, or one without an end.
pub(super) const ASKED: [&str; 4] = ["model", "prompt", "messages", "response_format"];
/// Fields that can be left out or have another name.
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
/// What nobody may add: it would be another question, or an answer in a form that is not read.
const OURS: [&str; 6] = ["model", "prompt", "messages", "stream", "n", "stream_options"];
/// What is sent for a temperature of 0 where only more than 0 is taken: as good as greedy.
const NEARLY_GREEDY: f64 = 0.01;

/// What the command line says about requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    renames: BTreeMap<String, String>,
    drops: BTreeSet<String>,
    extra: Map<String, Value>,
}

/// What a server's refusals taught.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    renames: BTreeMap<String, String>,
    /// Names that were tried and refused.
    refused: BTreeSet<String>,
    drops: BTreeSet<String>,
    /// Fields that are left out where they have this value.
    without: Vec<(String, Value)>,
    /// Fields that have another value where they have this one.
    replaced: Vec<(String, Value, Value)>,
    /// The least `max_tokens` that is taken.
    least_tokens: u64,
    /// Fields that requests were tried without, which did not help.
    in_vain: BTreeSet<String>,
}

impl Shape {
    /// From `FROM=TO` of each field that has another name, the fields that are left out, and the fields that are added.
    ///
    /// # Errors
    ///
    /// Names the field that cannot be renamed, left out or added.
    pub fn new(renames: &[String], drops: &[String], extra: Map<String, Value>) -> Result<Shape, String> {
        let known = |field: &str, option: &str| match FIELDS.contains(&field) {
            true => Ok(field.to_string()),
            false => Err(format!(
                "{option}: '{field}' is no field that can be changed\nhint: these can: {}",
                FIELDS.join(", ")
            )),
        };
        let mut shape = Shape {
            extra,
            ..Shape::default()
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

    /// What is added to every request, as a part of a model's name in content keys: with other fields it answers
    /// otherwise. None where nothing is added.
    pub fn in_name(&self) -> Option<String> {
        let sorted: BTreeMap<&String, &Value> = self.extra.iter().collect();
        (!sorted.is_empty()).then(|| json!(sorted).to_string())
    }

    /// The request with these fields, as it is sent.
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

    /// Whether the server is told where to stop.
    pub fn sends_stop(&self, learnt: &Learnt) -> bool {
        !self.drops.contains("stop") && !learnt.drops.contains("stop")
    }

    /// What follows from an objection to a body that had these fields: a line about what is done from now on. None where
    /// nothing can be done.
    pub fn learn(
        &self,
        objection: &Objection,
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
        if ASKED.contains(&field.as_str()) {
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
    /// Leaves the stop strings out; returns whether they were sent until now.
    pub fn leave_stop_out(&mut self) -> bool {
        self.drops.insert("stop".to_string())
    }

    /// How many tokens a request allows where so many are asked for.
    pub fn allowed(&self, tokens: usize) -> usize {
        tokens.max(usize::try_from(self.least_tokens).unwrap_or(tokens))
    }

    /// Remembers that a request without this field was refused all the same.
    pub fn note_in_vain(&mut self, field: &str) {
        self.in_vain.insert(field.to_string());
    }

    /// Whether that is so.
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

    fn objection(field: &str, instead: Option<&str>, is_about_value: bool) -> Objection {
        Objection {
            field: field.into(),
            instead: instead.map(str::to_string),
            is_about_value,
            least: None,
        }
    }

    #[test]
    fn the_command_line_renames_drops_and_adds() {
        let extra = json!({"top_k": 5, "chat_template_kwargs": {"enable_thinking": false}});
        let shape = Shape::new(
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
        assert_eq!(Shape::default().in_name(), None);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let new = |renames: &[&str], drops: &[&str], extra: Value| {
            let text = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
            Shape::new(&text(renames), &text(drops), extra.as_object().unwrap().clone()).unwrap_err()
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
        let (shape, mut learnt) = (Shape::default(), Learnt::default());
        let mut learn = |objection: Objection| shape.learn(&objection, &fields(), &mut learnt);
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
        let (shape, mut learnt) = (Shape::default(), Learnt::default());
        let least = |least| Objection {
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
        // It only ever grows.
        assert!(shape.learn(&least(32), &fields(), &mut learnt).is_some());
        assert_eq!(shape.learn(&least(16), &fields(), &mut learnt), None);
        assert_eq!(shape.body(&fields(), &learnt)["max_tokens"], 32);
    }
}
