//! A template of the user's own: a Jinja file with two blocks, `prompt` and `completion`, rendered each by itself, so that what is
//! learnt is never searched for in a text.

use super::dataset::Row;
use anyhow::{Context, Result, bail};
use ewe::prompt::template::Spans;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use std::path::{Path, PathBuf};

const NAME: &str = "template";

/// A parsed template.
#[derive(Debug)]
pub struct UserTemplate {
    path: PathBuf,
    text: String,
    environment: Environment<'static>,
}

impl UserTemplate {
    /// Reads a file. Fails when it is malformed or lacks one of the blocks.
    pub fn read(path: &Path) -> Result<UserTemplate> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment
            .add_template_owned(NAME, text.clone())
            .with_context(|| format!("{} is not a template", path.display()))?;
        let template = UserTemplate {
            path: path.to_owned(),
            text,
            environment,
        };
        let row = |word: &str| Row {
            id: String::new(),
            group: String::new(),
            instruction: word.to_owned(),
            input: word.to_owned(),
            output: word.to_owned(),
        };
        if template.render(&row("a"))?.completion == template.render(&row("b"))?.completion {
            bail!(
                "{}: the block `completion` does not depend on the row\nhint: write {{{{ output }}}} where the answer goes",
                path.display()
            );
        }
        Ok(template)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Lays a row out. Fails on a name that is none of `instruction`, `input` and `output`.
    pub fn render(&self, row: &Row) -> Result<Spans> {
        let values = context! { instruction => &row.instruction, input => &row.input, output => &row.output };
        let block = |name: &str| -> Result<String> {
            let template = self.environment.get_template(NAME)?;
            let mut rendered = template.render_captured(&values)?;
            Ok(rendered.with_state_mut(|state| state.render_block(name))?)
        };
        let within = |name: &str| {
            block(name).with_context(|| {
                format!(
                    "{}: cannot render the block `{name}`\nhint: {{% block {name} %}}…{{% endblock %}} over instruction, input and output",
                    self.path.display()
                )
            })
        };
        Ok(Spans {
            prompt: within("prompt")?,
            completion: within("completion")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<UserTemplate> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        UserTemplate::read(file.path())
    }

    #[test]
    fn blocks_are_the_spans() {
        let template = read(
            "{% block prompt %}<q>{{ instruction }}{% if input %} [{{ input }}]{% endif %}\n{% endblock %}\n\
             {% block completion %} {{ output }} </q>{% endblock %}",
        )
        .unwrap();
        let row = |input: &str| Row {
            id: "line 1".to_owned(),
            group: "line 1".to_owned(),
            instruction: "a < b & \"c\"".to_owned(),
            input: input.to_owned(),
            output: "<q>".to_owned(),
        };
        let spans = template.render(&row("")).unwrap();
        assert_eq!(
            (spans.prompt.as_str(), spans.completion.as_str()),
            ("<q>a < b & \"c\"\n", " <q> </q>")
        );
        assert_eq!(
            template.render(&row("x")).unwrap().prompt,
            "<q>a < b & \"c\" [x]\n"
        );
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for (text, word) in [
            ("{% block prompt %}", "not a template"),
            ("{{ instruction }} {{ output }}", "block `prompt`"),
            (
                "{% block prompt %}{{ instruction }}{% endblock %}",
                "block `completion`",
            ),
            (
                "{% block prompt %}{{ question }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
                "block `prompt`",
            ),
            (
                "{% block prompt %}{{ output }}{% endblock %}{% block completion %}yes{% endblock %}",
                "does not depend on the row",
            ),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
