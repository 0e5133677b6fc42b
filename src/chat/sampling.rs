//! Parameters about how tokens are chosen and what ends an answer, beyond plain numbers.

use serde_json::Value;

use super::error::ApiError;
use super::fields::JsonFields;

/// The most stop strings, and the most bytes of one. All of them are searched for at every token.
const MOST_STOPS: usize = 128;
const LONGEST_STOP: usize = 1024;

/// Default window of llama.cpp's repetition penalty, in tokens.
const DEFAULT_WINDOW: usize = 64;

/// The most tokens of a list.
const MOST: usize = 4096;

/// The largest bias, OpenAI's. It rules a token out, or all others.
const LARGEST_BIAS: f64 = 100.0;

/// Takes `top_k`; 0 is off.
pub fn top_k(fields: &mut JsonFields) -> Result<usize, ApiError> {
    // vLLM's -1 is off, too.
    match fields.take("top_k") {
        None => Ok(0),
        Some(value) => match (value.as_u64(), value.as_i64()) {
            (Some(k), _) => Ok(usize::try_from(k).unwrap_or(usize::MAX)),
            (None, Some(-1)) => Ok(0),
            _ => Err(fields.wrong("top_k", &value, "a whole number of at least 0")),
        },
    }
}

/// Takes the repetition penalty and its window: by default all tokens under vLLM's name, 64 under
/// llama.cpp's.
pub fn repetition(fields: &mut JsonFields) -> Result<(f64, Option<usize>), ApiError> {
    let names = ["repetition_penalty", "repeat_penalty"];
    let penalty = fields.one_of(&names, |fields, name| fields.number(name, 0.01..=100.0))?;
    let back = fields
        .one_of(&["repeat_last_n", "penalty_last_n"], |fields, name| {
            let Some(value) = fields.take(name) else {
                return Ok(None);
            };
            match (value.as_u64(), value.as_i64()) {
                (Some(back), _) => Ok(Some(Some(usize::try_from(back).unwrap_or(usize::MAX)))),
                (None, Some(-1)) => Ok(Some(None)),
                _ => Err(fields.wrong(name, &value, "a whole number of at least -1, which is all tokens")),
            }
        })?
        .map(|(_, back)| back);
    let window = match (penalty, back) {
        (_, Some(back)) => back,
        (Some(("repeat_penalty", _)), None) => Some(DEFAULT_WINDOW),
        _ => None,
    };
    Ok((penalty.map_or(1.0, |(_, penalty)| penalty), window))
}

/// Takes the stop strings, in either spelling.
pub fn stops(fields: &mut JsonFields) -> Result<Vec<String>, ApiError> {
    let mut stops = Vec::new();
    for name in ["stop", "stop_sequences"] {
        let more = fields.texts(name)?;
        if stops.len() + more.len() > MOST_STOPS {
            let message = format!(
                "`{name}` has {} texts, want at most {MOST_STOPS}",
                stops.len() + more.len()
            );
            return Err(ApiError::parameter(name, message));
        }
        if more.iter().any(String::is_empty) {
            let message = format!("`{name}` has an empty text, which stands everywhere\nhint: leave it away");
            return Err(ApiError::parameter(name, message));
        }
        if let Some(long) = more.iter().find(|text| text.len() > LONGEST_STOP) {
            let message = format!(
                "`{name}` has a text of {} bytes, want at most {LONGEST_STOP}",
                long.len()
            );
            return Err(ApiError::parameter(name, message));
        }
        stops.extend(more);
    }
    Ok(stops)
}

/// Takes `logit_bias`: what is added to the scores of tokens, by their ids.
pub fn bias(fields: &mut JsonFields) -> Result<Vec<(i64, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let want = format!(
        "an object of up to {MOST} token ids, each with a number from -{LARGEST_BIAS} to {LARGEST_BIAS}"
    );
    let Some(value) = fields.take(NAME) else {
        return Ok(Vec::new());
    };
    let known = value.as_object().filter(|entries| entries.len() <= MOST);
    let biases = known.and_then(|entries| {
        let read = |(id, bias): (&String, &Value)| {
            let id = id.parse::<i64>().ok().filter(|id| *id >= 0)?;
            let bias = bias.as_f64().filter(|bias| bias.abs() <= LARGEST_BIAS)?;
            Some((id, bias as f32))
        };
        entries.iter().map(read).collect::<Option<Vec<_>>>()
    });
    biases.ok_or_else(|| fields.wrong(NAME, &value, &want))
}

/// Takes `stop_token_ids`: tokens that end an answer.
pub fn stop_tokens(fields: &mut JsonFields) -> Result<Vec<i64>, ApiError> {
    const NAME: &str = "stop_token_ids";
    let Some(value) = fields.take(NAME) else {
        return Ok(Vec::new());
    };
    let known = value.as_array().filter(|ids| ids.len() <= MOST);
    let ids = known.and_then(|ids| {
        let ids = ids.iter().map(|id| id.as_i64().filter(|id| *id >= 0));
        ids.collect::<Option<Vec<i64>>>()
    });
    ids.ok_or_else(|| fields.wrong(NAME, &value, &format!("a list of up to {MOST} token ids")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_given_by_their_ids() {
        let fields = |body: &str| JsonFields::read(body.as_bytes()).unwrap();
        let read = |body: &str| bias(&mut fields(body)).map_err(|error| error.message);
        assert_eq!(
            read(r#"{"logit_bias": {"5": -100, "7": 1.5}}"#),
            Ok(vec![(5, -100.0), (7, 1.5)])
        );
        assert_eq!(read("{}"), Ok(vec![]));
        for wrong in [
            r#"{"x": 1}"#,
            r#"{"-5": 1}"#,
            r#"{"5": 101}"#,
            r#"{"5": "1"}"#,
            "[5]",
        ] {
            let error = read(&format!(r#"{{"logit_bias": {wrong}}}"#)).unwrap_err();
            assert!(
                error.contains("want an object of up to 4096 token ids"),
                "{error}"
            );
        }
        assert_eq!(
            stop_tokens(&mut fields(r#"{"stop_token_ids": [5, 0]}"#)),
            Ok(vec![5, 0])
        );
        assert!(stop_tokens(&mut fields(r#"{"stop_token_ids": [-1]}"#)).is_err());
    }
}
