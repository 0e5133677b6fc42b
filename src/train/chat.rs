//! The model's own chat template, applied to one exchange and cut where the answer begins.

use crate::model::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use ewe::prompt::template::Spans;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value, context};

/// Renders the exchange. The prompt is the template over the question with the answer's opening; the completion is
/// what the template over both adds to it.
///
/// Fails when the model has no template, when it refuses the exchange, and when its rendering of both does not begin
/// with its rendering of the question: then no span is the answer's.
pub fn render(tokenizer: &Tokenizer, user: &str, assistant: &str) -> Result<Spans> {
    let source = tokenizer.chat_template().context(
        "the model has no chat template\nhint: --template alpaca, or put chat_template.jinja beside its tokenizer",
    )?;
    let (begin, end) = tokenizer.special_texts();
    let mut environment = Environment::new();
    // As `transformers` reads chat templates.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.context("cannot set up the template language")?);
    environment.set_unknown_method_callback(string_method);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    let template = environment.template_from_str(source).context("the model's chat template is malformed")?;
    let question = context! { role => "user", content => user };
    let answer = context! { role => "assistant", content => assistant };
    let render = |messages: Vec<Value>, opening: bool| {
        template
            .render(context! {
                messages => messages, add_generation_prompt => opening, bos_token => begin, eos_token => end,
            })
            .context("the model's chat template refuses the exchange")
    };
    let prompt = render(vec![question.clone()], true)?;
    let both = render(vec![question, answer], false)?;
    match both.strip_prefix(&prompt) {
        Some(completion) => Ok(Spans { prompt, completion: completion.to_owned() }),
        None => bail!(
            "the model's chat template writes a question differently once it is answered, so no part is the answer's\n\
             hint: --template alpaca"
        ),
    }
}

/// The methods of Python's strings that chat templates use.
fn string_method(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("chat templates may not call {method}"));
    let text = value.as_str().ok_or_else(unknown)?;
    let first = args.first().and_then(Value::as_str);
    Ok(match (method, first) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        ("startswith", Some(start)) => text.starts_with(start).into(),
        ("endswith", Some(end)) => text.ends_with(end).into(),
        ("split", Some(separator)) => text.split(separator).map(Value::from).collect::<Vec<_>>().into(),
        _ => return Err(unknown()),
    })
}
