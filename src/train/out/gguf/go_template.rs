//! A chat template as one of Ollama's, which are Go templates. It is not translated: the texts
//! between the messages are taken from conversations that it renders, and a template whose texts do
//! not fit together is not written at all.

use crate::model::text::chat_template::{ChatMessage, ChatTemplate, Rendering};
use chrono::{NaiveDate, NaiveDateTime};
use std::collections::BTreeMap;

/// Contents that no template writes. They neither begin nor end with white space, which many
/// templates trim.
const SYSTEM: &str = "ewe's system message";
const QUESTION: &str = "ewe's question";
const ANSWER: &str = "ewe's answer";
const NEXT: &str = "ewe's next question";

/// The texts of a conversation around its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoTemplate {
    /// Before the first question.
    begin: String,
    /// Before a system message, and from it to the question.
    system: [String; 2],
    /// From a question to where its answer begins.
    opening: String,
    /// What precedes earlier answers besides, which the model writes itself: a space, say.
    lead: String,
    /// From an answer to the next question.
    between: String,
    /// Whether the template itself has no place for a system message.
    pub system_is_ours: bool,
}

impl GoTemplate {
    /// Finds the texts of the chat template `source`. `begin` is the text of the token that the
    /// program puts before every prompt.
    ///
    /// # Errors
    ///
    /// The reason why no such template does the same, as a sentence without its end.
    pub fn of(
        source: &str,
        special: &BTreeMap<String, String>,
        begin: Option<&str>,
    ) -> Result<GoTemplate, String> {
        let template = ChatTemplate::new(source, special).map_err(|_| "it is malformed".to_owned())?;
        let render = |messages: &[ChatMessage]| -> Result<String, String> {
            let [one, other] = [2001, 2031].map(|year| rendered(&template, messages, day(year)));
            match (one, other) {
                (Some(one), Some(other)) if one == other => Ok(one),
                (Some(_), Some(_)) => Err("it writes the date".to_owned()),
                _ => Err("it refuses a plain conversation".to_owned()),
            }
        };
        let user = |text: &str| ChatMessage::new("user", text);
        let system = ChatMessage::new("system", SYSTEM);
        let answer = ChatMessage::new("assistant", ANSWER);
        let told = "it writes earlier messages differently than the last".to_owned();

        let asked = render(&[user(QUESTION)])?;
        let (before, opening) = asked.split_once(QUESTION).ok_or("it changes what is asked")?;
        let talk = render(&[user(QUESTION), answer.clone(), user(NEXT)])?;
        let (lead, between) = talk
            .strip_prefix(&asked)
            .and_then(|rest| rest.strip_suffix(&format!("{NEXT}{opening}")))
            .and_then(|rest| rest.split_once(ANSWER))
            .ok_or(told.clone())?;
        let parts = render(&[system.clone(), user(QUESTION)])
            .ok()
            .and_then(|text| parts_of_system(&text, opening));
        let found = GoTemplate {
            begin: before.to_owned(),
            system_is_ours: parts.is_none(),
            // As people do where there is no place for it: before the question.
            system: parts.unwrap_or_else(|| [before.to_owned(), "\n\n".to_owned()]),
            opening: opening.to_owned(),
            lead: lead.to_owned(),
            between: between.to_owned(),
        };
        let all = [
            system,
            user(QUESTION),
            answer.clone(),
            user(NEXT),
            answer,
            user(QUESTION),
        ];
        let longer = if found.system_is_ours { &all[1..] } else { &all[..] };
        if render(longer)? != found.rendered(longer) {
            return Err(told);
        }
        Ok(found.without(begin))
    }

    /// Returns the template without `begin` at its beginning.
    fn without(mut self, begin: Option<&str>) -> GoTemplate {
        let Some(begin) = begin else {
            return self;
        };
        let starts = [&mut self.begin, &mut self.system[0]];
        for text in starts {
            if let Some(rest) = text.strip_prefix(begin) {
                *text = rest.to_owned();
            }
        }
        self
    }

    /// Renders messages as Ollama does.
    fn rendered(&self, messages: &[ChatMessage]) -> String {
        let mut text = String::new();
        for (at, message) in messages.iter().enumerate() {
            let content = message.content.as_str();
            let (before, after) = match message.role.as_str() {
                "system" => (self.system[0].as_str(), self.system[1].as_str()),
                "user" if at == 0 => (self.begin.as_str(), self.opening.as_str()),
                "user" => ("", self.opening.as_str()),
                _ if at + 1 == messages.len() => (self.lead.as_str(), ""),
                _ => (self.lead.as_str(), self.between.as_str()),
            };
            text.extend([before, content, after]);
        }
        text
    }

    /// Returns the template in Go's language.
    pub fn source(&self) -> String {
        format!(
            "{{{{ range $i, $_ := .Messages }}}}\
             {{{{ if eq .Role \"system\" }}}}{}{{{{ .Content }}}}{}\
             {{{{ else if eq .Role \"user\" }}}}{{{{ if eq $i 0 }}}}{}{{{{ end }}}}{{{{ .Content }}}}{}\
             {{{{ else if eq .Role \"assistant\" }}}}{}{{{{ .Content }}}}\
             {{{{ if gt (len (slice $.Messages $i)) 1 }}}}{}{{{{ end }}}}\
             {{{{ end }}}}{{{{ end }}}}",
            literal(&self.system[0]),
            literal(&self.system[1]),
            literal(&self.begin),
            literal(&self.opening),
            literal(&self.lead),
            literal(&self.between),
        )
    }
}

/// Returns the texts before a system message and from it to the question.
fn parts_of_system(text: &str, opening: &str) -> Option<[String; 2]> {
    let (before, rest) = text.split_once(SYSTEM)?;
    let to_question = rest.strip_suffix(opening)?.strip_suffix(QUESTION)?;
    Some([before.to_owned(), to_question.to_owned()])
}

fn rendered(template: &ChatTemplate, messages: &[ChatMessage], now: NaiveDateTime) -> Option<String> {
    let rendered = template.render(now, messages, &Rendering::default()).ok()?;
    Some(rendered.text)
}

fn day(year: i32) -> NaiveDateTime {
    let day = NaiveDate::from_ymd_opt(year, 2, 3).unwrap_or_default();
    day.and_hms_opt(4, 5, 6).unwrap_or_default()
}

/// Returns a text as Go's templates write it, before `{{` or at the end.
fn literal(text: &str) -> String {
    let text = text.replace("{{", "{{ \"{{\" }}");
    match text.strip_suffix('{') {
        Some(rest) => format!("{rest}{{{{ \"{{\" }}}}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special() -> BTreeMap<String, String> {
        [("bos_token", "<s>"), ("eos_token", "</s>")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into()
    }

    const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}\
                          {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    #[test]
    fn the_texts_around_messages_are_found() {
        let found = GoTemplate::of(CHATML, &special(), None).unwrap();
        assert_eq!(found.begin, "<|im_start|>user\n");
        assert_eq!(found.opening, "<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(found.between, "<|im_end|>\n<|im_start|>user\n");
        assert_eq!(found.system[0], "<|im_start|>system\n");
        assert_eq!(found.system[1], "<|im_end|>\n<|im_start|>user\n");
        let source = found.source();
        assert!(
            source.starts_with(
                "{{ range $i, $_ := .Messages }}{{ if eq .Role \"system\" }}<|im_start|>system\n"
            )
        );
        assert!(source.ends_with("{{ end }}{{ end }}"), "{source}");
        assert_eq!(source.matches("{{ end }}").count(), 4);
    }

    #[test]
    fn a_default_system_message_is_part_of_the_beginning() {
        let source = format!(
            "{{% if messages[0]['role'] != 'system' %}}{{{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}}}{{% endif %}}{CHATML}"
        );
        let found = GoTemplate::of(&source, &special(), None).unwrap();
        assert_eq!(
            found.begin,
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n"
        );
        assert_eq!(found.system[0], "<|im_start|>system\n");
    }

    #[test]
    fn the_token_that_the_program_adds_is_left_out() {
        let source = format!("{{{{ bos_token }}}}{CHATML}");
        let found = GoTemplate::of(&source, &special(), Some("<s>")).unwrap();
        assert_eq!(found.begin, "<|im_start|>user\n");
        assert_eq!(found.system[0], "<|im_start|>system\n");
        let kept = GoTemplate::of(&source, &special(), None).unwrap();
        assert_eq!(kept.begin, "<s><|im_start|>user\n");
    }

    #[test]
    fn what_no_such_template_does_is_said() {
        let fails = |source: &str, words: &str| {
            let said = GoTemplate::of(source, &special(), None).unwrap_err();
            assert!(said.contains(words), "{said}");
        };
        fails("{% if %}", "malformed");
        fails(&format!("{{{{ strftime_now('%Y') }}}}{CHATML}"), "date");
        fails("{{ raise_exception('no') }}", "refuses");
        fails(
            "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}",
            "changes",
        );
        let third =
            "{% for m in messages %}{% if loop.index == 5 %}!{% endif %}{{ m['content'] }} {% endfor %}";
        fails(third, "differently");
        fails(
            "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "differently",
        );
    }

    #[test]
    fn a_system_message_without_a_place_stands_before_the_question() {
        let source = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}\
                      {% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}";
        let found = GoTemplate::of(source, &special(), None).unwrap();
        assert!(found.system_is_ours);
        let all = [ChatMessage::new("system", "S"), ChatMessage::new("user", "Q")];
        assert_eq!(found.rendered(&all), "[INST] S\n\nQ [/INST]");
        let source = found.source();
        assert!(source.contains("\"assistant\" }} {{ .Content }}"), "{source}");
    }

    #[test]
    fn braces_are_texts() {
        let source = "{% for m in messages %}{{ '{{' + m['content'] + '}}' }}{% endfor %}";
        let found = GoTemplate::of(source, &special(), None).unwrap();
        let text = found.source();
        assert!(text.contains("{{ \"{{\" }}{{ .Content }}}}"), "{text}");
        // One brace before a command would make another command of it.
        for (text, want) in [
            ("a{", "a{{ \"{\" }}"),
            ("{{{", "{{ \"{{\" }}{{ \"{\" }}"),
            ("{a{{", "{a{{ \"{{\" }}"),
        ] {
            assert_eq!(literal(text), want);
        }
    }
}
