//! Tokens become statements and expressions, as Jinja2 3.1 reads them.

mod expressions;

use std::collections::HashSet;
use std::sync::Arc;

use super::Blanks;
use super::ast::*;
use super::error::{Error, Kind};
use super::lexer::{Token, tokens};

/// How deep brackets and statements may nest; Python's own parser of them gives up before.
const DEEPEST: usize = 100;

/// A template's statements, and its blocks by name.
#[derive(Debug)]
pub struct Parsed {
    pub body: Body,
    pub blocks: Vec<(Text, Body)>,
    /// Whether it has a `generation`.
    pub marked: bool,
    /// What it reads by name and has not set before.
    pub names: HashSet<Text>,
}

/// Reads a template. Fails on what is malformed, with its line.
pub fn parse(source: &str, blanks: Blanks) -> Result<Parsed, Error> {
    let mut parser = Parser {
        tokens: tokens(source, blanks)?,
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
    Ok(Parsed {
        body,
        blocks: parser.blocks,
        marked: parser.marked,
        names: parser.names,
    })
}

/// Which of the special names a macro's body speaks of.
#[derive(Default, Clone, Copy)]
struct Special {
    caller: bool,
    kwargs: bool,
    varargs: bool,
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    /// Of the macros around here.
    macros: Vec<Special>,
    blocks: Vec<(Text, Body)>,
    /// Loops around here, up to the next macro.
    loops: usize,
    /// Filters and tests that do not exist. Within `if` this matters only where one is reached, as in the reference.
    unknown: Vec<Error>,
    marked: bool,
    names: HashSet<Text>,
    /// What was set so far.
    set: HashSet<Text>,
}

type Result<T, E = Error> = std::result::Result<T, E>;

impl Parser {
    fn token(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn look(&self) -> &Token {
        let next = (self.at + 1).min(self.tokens.len() - 1);
        &self.tokens[next].0
    }

    fn line(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::new(Kind::Syntax, message).at(self.line()))
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        self.error(format!("expected {wanted}, got {}", self.token().words()))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token(), Token::Sign(s) if *s == sign)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.token(), Token::Name(n) if &**n == name)
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
            Token::Name(name) => {
                self.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect(&mut self, token: Token) -> Result<()> {
        if *self.token() == token {
            self.next();
            return Ok(());
        }
        self.unexpected(&token.words())
    }

    fn deeper<T>(&mut self, work: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.error(format!("it nests deeper than {DEEPEST} levels"));
        }
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Statements up to one of the tags `ends`, which is read and given by its name.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                Token::Data(text) => body.push(Node {
                    line,
                    statement: Statement::Data(text),
                }),
                Token::VariableBegin => {
                    let value = self.tuple(true, &[], false)?;
                    self.expect(Token::VariableEnd)?;
                    body.push(Node {
                        line,
                        statement: Statement::Print(value),
                    });
                }
                Token::BlockBegin => {
                    if let Token::Name(name) = self.token()
                        && let Some(end) = ends.iter().find(|end| **end == &**name)
                    {
                        self.next();
                        return Ok((body, end));
                    }
                    let parsed = self.deeper(|parser| parser.statement())?;
                    body.extend(parsed.into_iter().map(|statement| Node { line, statement }));
                    self.expect(Token::BlockEnd)?;
                }
                _ if ends.is_empty() => return Ok((body, "")),
                _ => return self.error(format!("`{}` is missing", ends.join("` or `"))),
            }
        }
    }

    /// The body of a statement whose tag is still open.
    fn inner(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        self.skip_sign(":");
        self.expect(Token::BlockEnd)?;
        self.body(ends)
    }

    /// As [`Parser::inner`], of a statement with a scope of its own.
    fn scoped(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let known = self.unknown.len();
        let inner = self.inner(ends)?;
        self.refuse_unknown(known)?;
        Ok(inner)
    }

    fn refuse_unknown(&mut self, known: usize) -> Result<()> {
        match self.unknown.get(known) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn statement(&mut self) -> Result<Vec<Statement>> {
        let name = match self.token() {
            Token::Name(name) => name.clone(),
            _ => return self.unexpected("the name of a tag"),
        };
        let line = self.line();
        self.next();
        let one = |statement| Ok(vec![statement]);
        match &*name {
            "if" => self.parse_if().and_then(one),
            "for" => self.parse_for().and_then(one),
            "set" => self.parse_set().and_then(one),
            "with" => self.parse_with().and_then(one),
            "macro" => {
                let name = self.name()?;
                self.set.insert(name.clone());
                let (parameters, defaults) = self.signature()?;
                let made = self.parse_macro(name, parameters, defaults, "endmacro")?;
                one(Statement::Macro(made))
            }
            "call" => {
                let (parameters, defaults) = match self.is_sign("(") {
                    true => self.signature()?,
                    false => Default::default(),
                };
                let call = self.expression(true)?;
                if !matches!(&call, Expr::Postfix(_, posts) if matches!(posts.last(), Some(Postfix::Call(_))))
                {
                    return self.error("`call` needs a call");
                }
                one(Statement::Call(
                    call,
                    self.parse_macro("caller".into(), parameters, defaults, "endcall")?,
                ))
            }
            "filter" => {
                let filters = self.filters(true)?;
                one(Statement::Filter(filters, self.scoped(&["endfilter"])?.0))
            }
            "generation" => {
                self.marked = true;
                let loops = std::mem::take(&mut self.loops);
                let body = self.scoped(&["endgeneration"]);
                self.loops = loops;
                one(Statement::Generation(body?.0))
            }
            "autoescape" => {
                let on = self.expression(true)?;
                one(Statement::Autoescape(on, self.scoped(&["endautoescape"])?.0))
            }
            "block" => self.parse_block().and_then(one),
            "print" => {
                let mut printed = Vec::new();
                while *self.token() != Token::BlockEnd {
                    if !printed.is_empty() {
                        self.expect_sign(",")?;
                    }
                    printed.push(Statement::Print(self.expression(true)?));
                }
                Ok(printed)
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return self.error(format!("`{name}` outside of a loop"));
                }
                one(if &*name == "break" {
                    Statement::Break
                } else {
                    Statement::Continue
                })
            }
            "extends" | "include" | "import" | "from" => {
                // What it names would have to be loaded, and the reference loads nothing either.
                while !matches!(self.token(), Token::BlockEnd | Token::End) {
                    self.next();
                }
                one(Statement::Other(match &*name {
                    "extends" => "extends",
                    "include" => "include",
                    "import" => "import",
                    _ => "from",
                }))
            }
            _ => Err(Error::new(Kind::Syntax, format!("there is no tag `{name}`")).at(line)),
        }
    }

    fn parse_if(&mut self) -> Result<Statement> {
        let known = self.unknown.len();
        let parsed = self.branches();
        self.unknown.truncate(known);
        parsed
    }

    fn branches(&mut self) -> Result<Statement> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[], false)?;
            let (body, end) = self.inner(&["elif", "else", "endif"])?;
            branches.push((test, body));
            match end {
                "elif" => {}
                "else" => {
                    let (otherwise, _) = self.inner(&["endif"])?;
                    return Ok(Statement::If(branches, otherwise));
                }
                _ => return Ok(Statement::If(branches, Vec::new())),
            }
        }
    }

    fn parse_for(&mut self) -> Result<Statement> {
        let target = self.target(&["in"], false)?;
        self.expect_name("in")?;
        let items = self.tuple(false, &["recursive"], false)?;
        self.bind(&target);
        let test = match self.skip_name("if") {
            true => Some(self.expression(true)?),
            false => None,
        };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let inner = self.scoped(&["endfor", "else"]);
        self.loops -= 1;
        let (body, end) = inner?;
        let otherwise = match end {
            "else" => self.scoped(&["endfor"])?.0,
            _ => Vec::new(),
        };
        Ok(Statement::For(Arc::new(For {
            target,
            items,
            test,
            recursive,
            body,
            otherwise,
        })))
    }

    fn parse_set(&mut self) -> Result<Statement> {
        let target = self.target(&[], true)?;
        if self.skip_sign("=") {
            let value = self.tuple(true, &[], false)?;
            self.bind(&target);
            return Ok(Statement::Set(target, value));
        }
        let filters = self.filters(false)?;
        let body = self.scoped(&["endset"])?.0;
        self.bind(&target);
        Ok(Statement::SetBlock(target, filters, body))
    }

    fn parse_with(&mut self) -> Result<Statement> {
        let mut values = Vec::new();
        while *self.token() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_sign(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_sign("=")?;
            let value = self.expression(true)?;
            self.bind(&target);
            values.push((target, value));
        }
        Ok(Statement::With(values, self.scoped(&["endwith"])?.0))
    }

    fn signature(&mut self) -> Result<(Vec<Text>, Vec<Expr>)> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_sign("(")?;
        while !self.is_sign(")") {
            if !parameters.is_empty() {
                self.expect_sign(",")?;
            }
            let name = self.name()?;
            self.set.insert(name.clone());
            parameters.push(name);
            if self.skip_sign("=") {
                defaults.push(self.expression(true)?);
            } else if !defaults.is_empty() {
                return self.error("a parameter without a default follows one with a default");
            }
        }
        self.next();
        Ok((parameters, defaults))
    }

    fn parse_macro(
        &mut self,
        name: Text,
        parameters: Vec<Text>,
        defaults: Vec<Expr>,
        end: &'static str,
    ) -> Result<Arc<Macro>> {
        self.macros.push(Special::default());
        let loops = std::mem::take(&mut self.loops);
        let inner = self.scoped(&[end]);
        self.loops = loops;
        let special = self.macros.pop().unwrap_or_default();
        Ok(Arc::new(Macro {
            name,
            parameters,
            defaults,
            body: inner?.0,
            caller: special.caller,
            kwargs: special.kwargs,
            varargs: special.varargs,
        }))
    }

    fn parse_block(&mut self) -> Result<Statement> {
        let name = self.name()?;
        self.skip_name("scoped");
        self.skip_name("required");
        let (macros, loops) = (std::mem::take(&mut self.macros), std::mem::take(&mut self.loops));
        let inner = self.scoped(&["endblock"]);
        (self.macros, self.loops) = (macros, loops);
        let body = inner?.0;
        self.skip_name(&name);
        if self.blocks.iter().any(|(known, _)| *known == name) {
            return self.error(format!("block `{name}` is defined twice"));
        }
        self.blocks.push((name.clone(), body));
        Ok(Statement::Block(name))
    }

    /// Notes what is set from here on.
    fn bind(&mut self, target: &Target) {
        match target {
            Target::Name(name) => drop(self.set.insert(name.clone())),
            Target::Attribute(..) => {}
            Target::Tuple(targets) => targets.iter().for_each(|target| self.bind(target)),
        }
    }

    /// What can stand left of `=`, or between `for` and `in`.
    fn target(&mut self, ends: &[&str], attributes: bool) -> Result<Target> {
        let one = |parser: &mut Parser| -> Result<Target> {
            if parser.skip_sign("(") {
                let inner = parser.deeper(|parser| parser.target(&[], false))?;
                parser.expect_sign(")")?;
                return Ok(inner);
            }
            let name = parser.name()?;
            if ["true", "false", "none", "True", "False", "None"].contains(&&*name) {
                return parser.error(format!("cannot assign to `{name}`"));
            }
            if attributes && parser.skip_sign(".") {
                return Ok(Target::Attribute(name, parser.name()?));
            }
            Ok(Target::Name(name))
        };
        let first = one(self)?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_sign(",") {
            let ended = matches!(self.token(), Token::BlockEnd | Token::VariableEnd)
                || self.is_sign(")")
                || self.is_sign("=");
            if ended || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            all.push(one(self)?);
        }
        Ok(Target::Tuple(all))
    }
}
