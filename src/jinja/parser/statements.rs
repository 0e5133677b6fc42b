//! Statements: the tags `{% … %}`.

use std::sync::Arc;

use super::*;

impl TemplateParser {
    /// Parses a tag from its name on. `print` is several statements.
    pub(super) fn statement(&mut self) -> Result<Vec<Statement>> {
        let name = match self.token() {
            TokenKind::Name(name) => name.clone(),
            _ => return self.unexpected("the name of a tag"),
        };
        let line = self.line();
        self.next();
        let statement = match &*name {
            "if" => self.parse_if(),
            "for" => self.parse_for(),
            "set" => self.parse_set(),
            "with" => self.parse_with(),
            "macro" => self.parse_macro(),
            "call" => self.parse_call(),
            "filter" => self.parse_filter(),
            "generation" => self.parse_generation(),
            "autoescape" => self.parse_autoescape(),
            "block" => self.parse_block(),
            "print" => return self.parse_print(),
            "break" => self.parse_jump(&name, Statement::Break),
            "continue" => self.parse_jump(&name, Statement::Continue),
            "extends" => Ok(self.parse_other("extends")),
            "include" => Ok(self.parse_other("include")),
            "import" => Ok(self.parse_other("import")),
            "from" => Ok(self.parse_other("from")),
            _ => Err(Error::syntax(format!("there is no tag `{name}`")).at(line)),
        };
        Ok(vec![statement?])
    }

    fn parse_macro(&mut self) -> Result<Statement> {
        let name = self.name()?;
        self.set.insert(name.clone());
        let (parameters, defaults) = self.signature()?;
        let made = self.macro_body(name, parameters, defaults, "endmacro")?;
        Ok(Statement::Macro(made))
    }

    fn parse_call(&mut self) -> Result<Statement> {
        let (parameters, defaults) = match self.is_sign("(") {
            true => self.signature()?,
            false => Default::default(),
        };
        let call = self.expression(true)?;
        if !matches!(&call, Expr::Postfix(_, posts) if matches!(posts.last(), Some(Postfix::Call(_)))) {
            return self.error("`call` needs a call");
        }
        let caller = self.macro_body("caller".into(), parameters, defaults, "endcall")?;
        Ok(Statement::Call(call, caller))
    }

    fn parse_filter(&mut self) -> Result<Statement> {
        let filters = self.filters(true)?;
        Ok(Statement::Filter(filters, self.scoped(&["endfilter"])?.0))
    }

    fn parse_generation(&mut self) -> Result<Statement> {
        self.marked = true;
        let loops = std::mem::take(&mut self.loops);
        let body = self.scoped(&["endgeneration"]);
        self.loops = loops;
        Ok(Statement::Generation(body?.0))
    }

    fn parse_autoescape(&mut self) -> Result<Statement> {
        let on = self.expression(true)?;
        Ok(Statement::Autoescape(on, self.scoped(&["endautoescape"])?.0))
    }

    fn parse_print(&mut self) -> Result<Vec<Statement>> {
        let mut printed = Vec::new();
        while *self.token() != TokenKind::BlockEnd {
            if !printed.is_empty() {
                self.expect_sign(",")?;
            }
            printed.push(Statement::Print(self.expression(true)?));
        }
        Ok(printed)
    }

    /// Parses `break` or `continue`.
    fn parse_jump(&self, name: &str, jump: Statement) -> Result<Statement> {
        match self.loops {
            0 => self.error(format!("`{name}` outside of a loop")),
            _ => Ok(jump),
        }
    }

    /// Skips a tag that loads another template. Like `transformers`, ewe loads none.
    fn parse_other(&mut self, tag: &'static str) -> Statement {
        while !matches!(self.token(), TokenKind::BlockEnd | TokenKind::End) {
            self.next();
        }
        Statement::Other(tag)
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
        while *self.token() != TokenKind::BlockEnd {
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

    /// Parses parameters and the default values of the last of them.
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

    /// Parses the body of a macro or `call`.
    fn macro_body(
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

    /// Notes names that are set from here on.
    fn bind(&mut self, target: &AssignTarget) {
        match target {
            AssignTarget::Name(name) => drop(self.set.insert(name.clone())),
            AssignTarget::Attribute(..) => {}
            AssignTarget::Tuple(targets) => targets.iter().for_each(|target| self.bind(target)),
        }
    }

    /// Parses the left side of `=`, or what stands between `for` and `in`. `attributes` allows
    /// `ns.attribute`.
    fn target(&mut self, ends: &[&str], attributes: bool) -> Result<AssignTarget> {
        let one = |parser: &mut TemplateParser| -> Result<AssignTarget> {
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
                return Ok(AssignTarget::Attribute(name, parser.name()?));
            }
            Ok(AssignTarget::Name(name))
        };
        let first = one(self)?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_sign(",") {
            let ended = matches!(self.token(), TokenKind::BlockEnd | TokenKind::VariableEnd)
                || self.is_sign(")")
                || self.is_sign("=");
            if ended || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            all.push(one(self)?);
        }
        Ok(AssignTarget::Tuple(all))
    }
}
