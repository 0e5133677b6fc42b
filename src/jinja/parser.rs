//! Parses tokens into a syntax tree, as Jinja2 3.1 does. [`statements`] has the tags,
//! [`expressions`] the expressions.

mod expressions;
mod statements;

use std::collections::HashSet;

use super::Whitespace;
use super::ast::*;
use super::error::{Error, Result};
use super::lexer::{TokenKind, tokens};

/// Maximum depth of brackets and statements. Jinja2 compiles templates to Python, whose parser
/// gives up earlier.
const DEEPEST: usize = 100;

/// Syntax tree of a template.
#[derive(Debug)]
pub struct ParsedTemplate {
    pub body: Body,
    /// Blocks by name.
    pub blocks: Vec<(Text, Body)>,
    /// Whether it contains `{% generation %}`.
    pub marked: bool,
    /// Names that it reads and has not set before.
    pub names: HashSet<Text>,
}

/// Parses a template. Fails if it is malformed, with the line.
pub fn parse(source: &str, whitespace: Whitespace) -> Result<ParsedTemplate> {
    let mut parser = TemplateParser {
        tokens: tokens(source, whitespace)?,
        at: 0,
        depth: 0,
        macros: Vec::new(),
        blocks: Vec::new(),
        loops: 0,
        unknown: Vec::new(),
        marked: false,
        names: HashSet::new(),
        set: ["loop", "caller", "varargs", "kwargs", "self"]
            .map(Text::from)
            .into(),
    };
    let (body, _) = parser.body(&[])?;
    parser.refuse_unknown(0)?;
    Ok(ParsedTemplate {
        body,
        blocks: parser.blocks,
        marked: parser.marked,
        names: parser.names,
    })
}

/// Which special names the body of a macro uses.
#[derive(Default, Clone, Copy)]
struct Special {
    caller: bool,
    kwargs: bool,
    varargs: bool,
}

struct TemplateParser {
    /// Tokens with their lines.
    tokens: Vec<(TokenKind, usize)>,
    at: usize,
    depth: usize,
    /// Special names used by the macros around the current token.
    macros: Vec<Special>,
    blocks: Vec<(Text, Body)>,
    /// Number of loops around the current token, within the innermost macro.
    loops: usize,
    /// Filters and tests that do not exist. Within `if` this is an error only when one is reached,
    /// as in Jinja2.
    unknown: Vec<Error>,
    marked: bool,
    names: HashSet<Text>,
    /// Names that are set so far.
    set: HashSet<Text>,
}

impl TemplateParser {
    /// Returns the current token.
    fn token(&self) -> &TokenKind {
        &self.tokens[self.at].0
    }

    /// Returns the token after the current one.
    fn look(&self) -> &TokenKind {
        let next = (self.at + 1).min(self.tokens.len() - 1);
        &self.tokens[next].0
    }

    fn line(&self) -> usize {
        self.tokens[self.at].1
    }

    /// Returns the current token and advances.
    fn next(&mut self) -> TokenKind {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::syntax(message).at(self.line()))
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        self.error(format!("expected {wanted}, got {}", self.token().words()))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), TokenKind::Sign(s) if *s == sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.token(), TokenKind::Name(n) if &**n == name)
    }

    fn skip_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.next();
        }
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        match self.skip_sign(sign) {
            true => Ok(()),
            false => self.unexpected(&format!("`{sign}`")),
        }
    }

    fn expect_name(&mut self, name: &str) -> Result<()> {
        match self.skip_name(name) {
            true => Ok(()),
            false => self.unexpected(&format!("`{name}`")),
        }
    }

    fn name(&mut self) -> Result<Text> {
        match self.token().clone() {
            TokenKind::Name(name) => {
                self.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect(&mut self, token: TokenKind) -> Result<()> {
        if *self.token() == token {
            self.next();
            return Ok(());
        }
        self.unexpected(&token.words())
    }

    fn deeper<T>(&mut self, work: impl FnOnce(&mut TemplateParser) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.error(format!("it nests deeper than {DEEPEST} levels"));
        }
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Parses statements up to one of the tags `ends`, whose name is read and returned.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                TokenKind::Data(text) => body.push(Node {
                    line,
                    statement: Statement::Data(text),
                }),
                TokenKind::VariableBegin => {
                    let value = self.tuple(true, &[], false)?;
                    self.expect(TokenKind::VariableEnd)?;
                    body.push(Node {
                        line,
                        statement: Statement::Print(value),
                    });
                }
                TokenKind::BlockBegin => {
                    if let TokenKind::Name(name) = self.token()
                        && let Some(end) = ends.iter().find(|end| **end == &**name)
                    {
                        self.next();
                        return Ok((body, end));
                    }
                    let parsed = self.deeper(|parser| parser.statement())?;
                    body.extend(parsed.into_iter().map(|statement| Node { line, statement }));
                    self.expect(TokenKind::BlockEnd)?;
                }
                _ if ends.is_empty() => return Ok((body, "")),
                _ => return self.error(format!("`{}` is missing", ends.join("` or `"))),
            }
        }
    }

    /// Parses the body of a statement, after the end of its tag.
    fn inner(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        self.skip_sign(":");
        self.expect(TokenKind::BlockEnd)?;
        self.body(ends)
    }

    /// [`TemplateParser::inner`] for a statement with a scope of its own.
    fn scoped(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let known = self.unknown.len();
        let inner = self.inner(ends)?;
        self.refuse_unknown(known)?;
        Ok(inner)
    }

    /// Fails if a filter or test does not exist, except the first `known` of these.
    fn refuse_unknown(&mut self, known: usize) -> Result<()> {
        match self.unknown.get(known) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}
