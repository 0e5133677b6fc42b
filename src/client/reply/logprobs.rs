//! The logprobs of an answer, in the two forms of OpenAI's APIs. Servers mix them: llama.cpp
//! answers completions in the form of chats.

use crate::choice::ReportedToken;
use serde_json::Value;

/// Reads the field `logprobs` of a choice, if it has one.
pub(super) fn tokens(choice: &Value) -> Option<Vec<ReportedToken>> {
    let field = &choice["logprobs"];
    let tokens = match field["content"].as_array().or(field.as_array()) {
        Some(content) => content.iter().map(of_chat).collect(),
        None => of_completion(field)?,
    };
    (!tokens.is_empty()).then_some(tokens)
}

/// A token of a chat: `{"token", "logprob", "top_logprobs": [{"token", "logprob"}, …]}`.
fn of_chat(token: &Value) -> ReportedToken {
    let one = |token: &Value| Some((text(token), token["logprob"].as_f64()?));
    let others = token["top_logprobs"].as_array().into_iter().flatten();
    ReportedToken {
        text: text(token),
        likeliest: one(token).into_iter().chain(others.filter_map(one)).collect(),
    }
}

/// The text of a token: by its bytes if it has them, since some servers write special marks for
/// spaces in `token`.
fn text(token: &Value) -> String {
    let bytes = token["bytes"].as_array().filter(|bytes| !bytes.is_empty());
    let bytes = bytes.and_then(|bytes| {
        let byte = |value: &Value| u8::try_from(value.as_u64()?).ok();
        bytes.iter().map(byte).collect::<Option<Vec<u8>>>()
    });
    match bytes {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => token["token"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The lists of completions: `tokens`, `token_logprobs`, and objects in `top_logprobs`.
fn of_completion(field: &Value) -> Option<Vec<ReportedToken>> {
    let texts = field["tokens"].as_array()?;
    let tokens = texts.iter().enumerate().map(|(at, text)| {
        let text = text.as_str().unwrap_or_default().to_owned();
        let own = field["token_logprobs"][at].as_f64();
        let others = field["top_logprobs"][at].as_object().into_iter().flatten();
        let others = others.filter_map(|(text, logprob)| Some((text.clone(), logprob.as_f64()?)));
        ReportedToken {
            likeliest: own
                .map(|own| (text.clone(), own))
                .into_iter()
                .chain(others)
                .collect(),
            text,
        }
    });
    Some(tokens.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_say_the_same() {
        let completion = json!({"text": " 4", "logprobs": {"tokens": [" 4"], "token_logprobs": [-0.5],
            "top_logprobs": [{" 3": -1.5}], "text_offset": [0]}});
        let chat = json!({"message": {"content": " 4"}, "logprobs": {"content": [{"token": "\u{2581}4",
            "bytes": [32, 52], "logprob": -0.5, "top_logprobs": [{"token": " 3", "logprob": -1.5}]}]}});
        let wanted = ReportedToken {
            text: " 4".to_owned(),
            likeliest: vec![(" 4".to_owned(), -0.5), (" 3".to_owned(), -1.5)],
        };
        for choice in [completion, chat] {
            assert_eq!(tokens(&choice), Some(vec![wanted.clone()]), "{choice}");
        }
    }

    #[test]
    fn what_is_no_list_of_tokens_is_none() {
        for field in [
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!({"content": null}),
            json!({"content": []}),
            json!({"tokens": 5}),
        ] {
            assert_eq!(tokens(&json!({"logprobs": field})), None, "{field}");
        }
        assert_eq!(tokens(&json!("text")), None);
        let odd = json!({"logprobs": {"content": [5, {"token": 7, "bytes": [900], "logprob": "x"}]}});
        assert_eq!(
            tokens(&odd).unwrap(),
            [ReportedToken::default(), ReportedToken::default()]
        );
    }
}
