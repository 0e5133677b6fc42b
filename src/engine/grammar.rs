//! Answers held to a grammar: a JSON Schema, a regular expression, a list of texts, or a
//! context-free grammar. [`Grammars`] compiles them for a vocabulary, by `llguidance`;
//! [`constraint`] follows one answer and says before each token which tokens may come. [`bounds`]
//! has what a grammar may cost; [`calls`]: an answer in a format, or calls of tools.

mod bounds;
pub mod calls;
pub mod constraint;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow, bail};
use llguidance::api::{GrammarWithLexer, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::model::fault;
use crate::model::text::token_bytes::TokenBytes;
use crate::model::text::tokenizer::Tokenizer;
use calls::CallMarks;
use constraint::Constraint;

/// The longest token that an answer may have, in bytes: the library's trie is not made for longer
/// ones, which real vocabularies lack.
const LONGEST_TOKEN: usize = 1000;

/// White space between the parts of a JSON text: blanks, or one line break and an indent, so that a
/// model that likes line breaks does not fill an answer with them; long enough for objects nested
/// ten deep and indented by four.
const WHITE_SPACE: &str = r"(\x0D?\x0A[\x20\x09]{0,40}|[\x20\x09]{1,40})";

/// The stack of a thread that compiles, in bytes: the library reads definitions that refer to one
/// another by recursion. Of [`bounds::check`]'s deepest schema it takes a tenth.
const STACK: usize = 128 << 20;

/// The most states of the automaton that follows an answer, of one or two kilobytes each: 40 MB at
/// most for each answer of a batch. Twice what [`bounds`] lets a regular expression have; a text of
/// a bounded length takes one for each character.
const MOST_STATES: usize = 20_000;

/// How many tokens an answer is followed for when its grammar is compiled: what is too large to
/// follow shows there.
const TRIED: usize = 3;

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum GrammarSource {
    /// A JSON text that a JSON Schema accepts.
    Schema(Value),
    /// A text that a regular expression accepts as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of a context-free grammar in the Lark dialect of `llguidance`.
    Lark(String),
    /// What this asks for, or calls of tools.
    OrCalls(Box<GrammarSource>, CallMarks),
}

/// Compiles grammars for one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
}

/// A compiled grammar. Clones share it.
#[derive(Clone)]
pub struct Grammar {
    /// At the beginning of an answer. In a mutex, since it computes what it needs only when asked.
    matcher: Arc<Mutex<Matcher>>,
}

impl Grammars {
    /// Returns the compiler for a model with `vocab` scores, whose answers end at `end_tokens`.
    /// Takes some tenths of a second for a vocabulary of 262,144.
    ///
    /// # Errors
    ///
    /// If the model has no end token: then nothing could end an answer that may go on.
    pub fn of(tokenizer: &Tokenizer, vocab: i64, end_tokens: &[i64]) -> Result<Grammars> {
        let bytes = TokenBytes::of(tokenizer);
        let word = |id: i64| {
            let mut word = bytes.bytes(id);
            if tokenizer.is_special(id) {
                // Such tokens have no text, and are not what the grammar means by their name.
                word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            if word.len() > LONGEST_TOKEN {
                word.clear();
            }
            word
        };
        let words: Vec<Vec<u8>> = (0..vocab).map(word).collect();
        let in_vocabulary = end_tokens.iter().filter(|id| (0..vocab).contains(id));
        let ends: Vec<u32> = in_vocabulary.map(|&id| id as u32).collect();
        let Some(&first) = ends.first() else {
            bail!("the model has no end-of-text token, so nothing could end an answer that has a format");
        };
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first), &words).with_eos_tokens(&ends);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            verbose_errors: false,
            max_lexer_states: MOST_STATES,
            ..ParserLimits::default()
        };
        Ok(Grammars { factory })
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    ///
    /// If it is malformed, too large, or asks for something that is not supported; if nothing can
    /// satisfy it, and if the vocabulary lacks the letters for it.
    pub fn compile(&self, source: &GrammarSource) -> Result<Grammar> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || self.compile_here(source))?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As [`Grammars::compile`], on this thread.
    fn compile_here(&self, source: &GrammarSource) -> Result<Grammar> {
        bounds::check(source)?;
        let grammar = match source {
            GrammarSource::OrCalls(answer, marks) => calls::either(plain(answer), marks),
            answer => TopLevelGrammar::from_grammar(plain(answer)),
        };
        // The library panics at some malformed schemas.
        let parser = fault::tamed(|| self.factory.create_parser(grammar));
        let parser = parser.map_err(|words| anyhow!("it cannot be compiled: {}", first_line(&words)))?;
        let mut matcher = Matcher::new(parser.map_err(|error| anyhow!(first_line(&error.to_string()))));
        if let Some(error) = matcher.get_error() {
            bail!(first_line(&error));
        }
        let nothing = "no token of the model's vocabulary can begin such an answer";
        let first = matcher.compute_mask_or_eos();
        let first = first.map_err(|error| match first_line(&error.to_string()) {
            // The library's name for it.
            said if said.contains("NoExtensionBias") => anyhow!(nothing),
            said => anyhow!(said),
        })?;
        if first.num_set() == 0 {
            bail!(nothing);
        }
        self.try_out(matcher.deep_clone(), first)?;
        Ok(Grammar {
            matcher: Arc::new(Mutex::new(matcher)),
        })
    }

    /// Follows the beginning of an answer, whose first token is one of `mask`. Fails if the grammar
    /// is too large to be followed.
    fn try_out(&self, mut matcher: Matcher, mut mask: SimpleVob) -> Result<()> {
        let trie = self.factory.tok_env().tok_trie();
        for _ in 0..TRIED {
            // White space may go on without leading anywhere.
            let leads_on = |id: &u32| trie.token(*id).iter().any(|byte| !byte.is_ascii_whitespace());
            let Some(token) = mask.iter().find(leads_on) else {
                return Ok(());
            };
            if matcher.consume_token(token).is_err() || matcher.is_stopped() {
                return Ok(());
            }
            match matcher.compute_mask_or_eos() {
                Ok(next) => mask = next,
                Err(error) => {
                    let is_too_large = [StopReason::LexerTooComplex, StopReason::ParserTooComplex];
                    if is_too_large.contains(&matcher.stop_reason()) {
                        bail!(
                            "it is too large to be followed: {}",
                            first_line(&error.to_string())
                        );
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Grammar {
    /// Begins an answer.
    pub fn begin(&self) -> Constraint {
        let matcher = self.matcher.lock().unwrap_or_else(PoisonError::into_inner);
        // Deep, since answers are followed on several threads at once.
        Constraint::of(matcher.deep_clone())
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Grammar) -> bool {
        Arc::ptr_eq(&self.matcher, &other.matcher)
    }
}

/// Returns the grammar of a source without calls.
fn plain(source: &GrammarSource) -> GrammarWithLexer {
    match source {
        GrammarSource::Schema(schema) => GrammarWithLexer::from_json_schema(spaced(schema)),
        GrammarSource::Regex(pattern) => GrammarWithLexer::from_regex(pattern),
        GrammarSource::Choice(texts) => GrammarWithLexer::from_lark(one_of(texts)),
        GrammarSource::Lark(lark) => GrammarWithLexer::from_lark(lark.clone()),
        GrammarSource::OrCalls(answer, _) => plain(answer),
    }
}

/// Returns a schema whose white space is bounded.
fn spaced(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        other => other.clone(),
    };
    if let Some(fields) = schema.as_object_mut() {
        fields
            .entry("x-guidance")
            .or_insert_with(|| json!({ "whitespace_pattern": WHITE_SPACE }));
    }
    schema
}

/// Returns a Lark grammar of some texts. They are one terminal, of which there may be many, while
/// alternatives of a rule are limited.
fn one_of(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
    format!("start: TEXT\nTEXT: {}", quoted.join(" | "))
}

/// Returns the first line of a message of the library, whose others show its inner state.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
