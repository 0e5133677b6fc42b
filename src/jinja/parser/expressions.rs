//! Expressions, from the operators of lowest precedence to literals and names.

use super::super::{filters, is_tests};
use super::*;

impl TemplateParser {
    /// Parses expressions separated by commas, up to one of the names `ends`. Without `ternary`,
    /// `if` ends an expression. `parentheses` allows the empty tuple.
    pub(super) fn tuple(&mut self, ternary: bool, ends: &[&str], parentheses: bool) -> Result<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let ended =
                matches!(self.token(), TokenKind::BlockEnd | TokenKind::VariableEnd) || self.is_sign(")");
            if ended || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            items.push(self.expression(ternary)?);
            if !self.skip_sign(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple || (items.is_empty() && parentheses) {
            return Ok(Expr::Tuple(items));
        }
        match items.pop() {
            Some(item) => Ok(item),
            None => self.unexpected("an expression"),
        }
    }

    pub(super) fn expression(&mut self, ternary: bool) -> Result<Expr> {
        self.deeper(|parser| match ternary {
            true => parser.ternary(),
            false => parser.or(),
        })
    }

    fn ternary(&mut self) -> Result<Expr> {
        let known = self.unknown.len();
        let mut value = self.or()?;
        let mut nested = 0;
        while self.skip_name("if") {
            let test = self.or()?;
            let otherwise = match self.skip_name("else") {
                true => Some(Box::new(self.deeper(|parser| parser.ternary())?)),
                false => None,
            };
            value = Expr::If(Box::new(value), Box::new(test), otherwise);
            self.unknown.truncate(known);
            nested += 1;
            if nested > DEEPEST {
                return self.error(format!("it nests deeper than {DEEPEST} levels"));
            }
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("or") {
            all.push(self.and()?);
        }
        Ok(Expr::Or(all))
    }

    fn and(&mut self) -> Result<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_name("and") {
            all.push(self.not()?);
        }
        Ok(Expr::And(all))
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.deeper(|parser| parser.not())?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.token() {
                TokenKind::Sign("==") => Comparison::Eq,
                TokenKind::Sign("!=") => Comparison::Ne,
                TokenKind::Sign("<") => Comparison::Lt,
                TokenKind::Sign("<=") => Comparison::Le,
                TokenKind::Sign(">") => Comparison::Gt,
                TokenKind::Sign(">=") => Comparison::Ge,
                TokenKind::Name(name) if &**name == "in" => Comparison::In,
                TokenKind::Name(name)
                    if &**name == "not" && matches!(self.look(), TokenKind::Name(n) if &**n == "in") =>
                {
                    self.next();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.next();
            rest.push((operator, self.sum()?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Expr::Compare(Box::new(first), rest),
        })
    }

    /// Parses operands with operators of one precedence between them.
    fn binary(
        &mut self,
        operand: fn(&mut TemplateParser) -> Result<Expr>,
        operators: &[(&str, Binary)],
    ) -> Result<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.is_sign(sign)) {
            self.next();
            rest.push((*operator, operand(self)?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Expr::Binary(Box::new(first), rest),
        })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(TemplateParser::concat, &[("+", Binary::Add), ("-", Binary::Sub)])
    }

    fn concat(&mut self) -> Result<Expr> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_sign("~") {
            all.push(self.product()?);
        }
        Ok(Expr::Concat(all))
    }

    fn product(&mut self) -> Result<Expr> {
        let operators = [
            ("*", Binary::Mul),
            ("/", Binary::Div),
            ("//", Binary::FloorDiv),
            ("%", Binary::Mod),
        ];
        self.binary(TemplateParser::power, &operators)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(|parser| parser.unary(true), &[("**", Binary::Pow)])
    }

    /// Parses signs, a value and the operations after it, filters and tests only if `filters`.
    fn unary(&mut self, filters: bool) -> Result<Expr> {
        let value = if self.skip_sign("-") {
            Expr::Minus(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.skip_sign("+") {
            Expr::Plus(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let posts = self.postfixes(filters)?;
        Ok(match posts.is_empty() {
            true => value,
            false => Expr::Postfix(Box::new(value), posts),
        })
    }

    /// Parses a literal, a name, or an expression in brackets.
    fn primary(&mut self) -> Result<Expr> {
        let constant = match self.token().clone() {
            TokenKind::Name(name) => return Ok(self.name_or_constant(name)),
            TokenKind::Sign("(") => return self.parentheses(),
            TokenKind::Sign("[") => return self.list(),
            TokenKind::Sign("{") => return self.dict(),
            TokenKind::Str(first) => return Ok(self.strings(&first)),
            TokenKind::Int(number) => Constant::Int(number),
            TokenKind::Float(number) => Constant::Float(number),
            _ => return self.error(format!("unexpected {}", self.token().words())),
        };
        self.next();
        Ok(Expr::Constant(constant))
    }

    fn name_or_constant(&mut self, name: Text) -> Expr {
        self.next();
        match &*name {
            "true" | "True" => return Expr::Constant(Constant::Bool(true)),
            "false" | "False" => return Expr::Constant(Constant::Bool(false)),
            "none" | "None" => return Expr::Constant(Constant::None),
            _ => {}
        }
        for special in &mut self.macros {
            match &*name {
                "caller" => special.caller = true,
                "kwargs" => special.kwargs = true,
                "varargs" => special.varargs = true,
                _ => {}
            }
        }
        if !self.set.contains(&name) {
            self.names.insert(name.clone());
        }
        Expr::Name(name)
    }

    /// Parses a string literal and joins those that follow it.
    fn strings(&mut self, first: &str) -> Expr {
        self.next();
        let mut text = first.to_owned();
        while let TokenKind::Str(more) = self.token() {
            text.push_str(more);
            self.next();
        }
        Expr::Constant(Constant::Str(text.into()))
    }

    fn parentheses(&mut self) -> Result<Expr> {
        self.next();
        let inner = self.deeper(|parser| parser.tuple(true, &[], true))?;
        self.expect_sign(")")?;
        Ok(inner)
    }

    fn list(&mut self) -> Result<Expr> {
        self.next();
        let mut items = Vec::new();
        while !self.is_sign("]") {
            if !items.is_empty() {
                self.expect_sign(",")?;
                if self.is_sign("]") {
                    break;
                }
            }
            items.push(self.expression(true)?);
        }
        self.expect_sign("]")?;
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Result<Expr> {
        self.next();
        let mut items = Vec::new();
        while !self.is_sign("}") {
            if !items.is_empty() {
                self.expect_sign(",")?;
                if self.is_sign("}") {
                    break;
                }
            }
            let key = self.expression(true)?;
            self.expect_sign(":")?;
            items.push((key, self.expression(true)?));
        }
        self.expect_sign("}")?;
        Ok(Expr::Dict(items))
    }

    /// Parses the operations after a value. After filters and tests there may be calls but no
    /// subscripts.
    fn postfixes(&mut self, filters: bool) -> Result<Vec<Postfix>> {
        let mut posts = Vec::new();
        loop {
            let filtered = posts
                .iter()
                .any(|post| matches!(post, Postfix::Filter(..) | Postfix::Test(..)));
            match self.token() {
                TokenKind::Sign(".") if !filtered => {
                    self.next();
                    posts.push(match self.next() {
                        TokenKind::Name(name) => Postfix::Attribute(name),
                        TokenKind::Int(number) => Postfix::Item(Expr::Constant(Constant::Int(number))),
                        _ => {
                            self.at -= 1;
                            return self.unexpected("a name or a number");
                        }
                    });
                }
                TokenKind::Sign("[") if !filtered => posts.push(self.subscript()?),
                TokenKind::Sign("(") => posts.push(Postfix::Call(self.arguments()?)),
                TokenKind::Sign("|") if filters => posts.extend(self.filters(false)?),
                TokenKind::Name(name) if filters && &**name == "is" => posts.push(self.test()?),
                _ => return Ok(posts),
            }
        }
    }

    fn subscript(&mut self) -> Result<Postfix> {
        self.expect_sign("[")?;
        let mut all = Vec::new();
        while !self.is_sign("]") {
            if !all.is_empty() {
                self.expect_sign(",")?;
            }
            all.push(self.subscribed()?);
        }
        self.next();
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        let mut items = Vec::new();
        for one in all {
            match one {
                Postfix::Item(item) => items.push(item),
                _ => return self.error("a slice among several subscripts"),
            }
        }
        Ok(Postfix::Item(Expr::Tuple(items)))
    }

    /// Parses one index or slice.
    fn subscribed(&mut self) -> Result<Postfix> {
        let start = match self.is_sign(":") {
            true => None,
            false => {
                let item = self.expression(true)?;
                if !self.is_sign(":") {
                    return Ok(Postfix::Item(item));
                }
                Some(item)
            }
        };
        self.expect_sign(":")?;
        let part = |parser: &mut TemplateParser| -> Result<Option<Expr>> {
            match parser.is_sign(":") || parser.is_sign("]") || parser.is_sign(",") {
                true => Ok(None),
                false => parser.expression(true).map(Some),
            }
        };
        let stop = part(self)?;
        let step = match self.skip_sign(":") {
            true => part(self)?,
            false => None,
        };
        Ok(Postfix::Slice(start, stop, step))
    }

    fn arguments(&mut self) -> Result<ArgumentExprs> {
        let mut arguments = ArgumentExprs::default();
        let mut first = true;
        self.expect_sign("(")?;
        while !self.is_sign(")") {
            if !first {
                self.expect_sign(",")?;
                if self.is_sign(")") {
                    break;
                }
            }
            first = false;
            let late = arguments.rest_keywords.is_some();
            if !late && arguments.rest.is_none() && self.skip_sign("*") {
                arguments.rest = Some(Box::new(self.expression(true)?));
            } else if !late && self.skip_sign("**") {
                arguments.rest_keywords = Some(Box::new(self.expression(true)?));
            } else if !late
                && matches!(
                    (self.token(), self.look()),
                    (TokenKind::Name(_), TokenKind::Sign("="))
                )
            {
                let name = self.name()?;
                self.next();
                arguments.keywords.push((name, self.expression(true)?));
            } else if !late && arguments.rest.is_none() && arguments.keywords.is_empty() {
                arguments.positional.push(self.expression(true)?);
            } else {
                return self.error("an argument without a name follows those with names");
            }
        }
        self.expect_sign(")")?;
        Ok(arguments)
    }

    /// Parses `|name(…)|name(…)`, with `inline` without the first bar.
    pub(super) fn filters(&mut self, mut inline: bool) -> Result<Vec<Postfix>> {
        let mut filters = Vec::new();
        while inline || self.is_sign("|") {
            if !inline {
                self.next();
            }
            inline = false;
            let line = self.line();
            let name = self.dotted_name()?;
            if !filters::is_known(&name) {
                let error = Error::syntax(format!("there is no filter `{name}`"));
                self.unknown.push(error.at(line));
            }
            let arguments = match self.is_sign("(") {
                true => self.arguments()?,
                false => ArgumentExprs::default(),
            };
            filters.push(Postfix::Filter(name, arguments));
        }
        Ok(filters)
    }

    fn dotted_name(&mut self) -> Result<Text> {
        let mut name = self.name()?;
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        Ok(name)
    }

    fn test(&mut self) -> Result<Postfix> {
        self.expect_name("is")?;
        let negated = self.skip_name("not");
        let line = self.line();
        let name = self.dotted_name()?;
        if !is_tests::is_known(&name) {
            let error = Error::syntax(format!("there is no test `{name}`"));
            self.unknown.push(error.at(line));
        }
        let arguments = match self.token() {
            TokenKind::Sign("(") => self.arguments()?,
            TokenKind::Name(name) if ["else", "or", "and"].contains(&&**name) => ArgumentExprs::default(),
            TokenKind::Name(name) if &**name == "is" => {
                return self.error("tests cannot be chained with `is`");
            }
            TokenKind::Name(_)
            | TokenKind::Str(_)
            | TokenKind::Int(_)
            | TokenKind::Float(_)
            | TokenKind::Sign("[" | "{") => {
                let value = self.primary()?;
                let posts = self.postfixes(false)?;
                let argument = match posts.is_empty() {
                    true => value,
                    false => Expr::Postfix(Box::new(value), posts),
                };
                ArgumentExprs {
                    positional: vec![argument],
                    ..ArgumentExprs::default()
                }
            }
            _ => ArgumentExprs::default(),
        };
        Ok(Postfix::Test(name, arguments, negated))
    }
}
