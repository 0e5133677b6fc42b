//! What a template consists of. Chains (`a + b - c`, `x.y[0]|f is t`, `elif`) are lists, so that nesting is as deep as the
//! parser's recursion, which is bounded.

use std::sync::Arc;

/// A string that syntax and values share.
pub type Text = Arc<str>;

/// A sequence of statements.
pub type Body = Vec<Node>;

/// A statement and the line it begins in.
#[derive(Debug)]
pub struct Node {
    pub line: usize,
    pub statement: Statement,
}

#[derive(Debug)]
pub enum Statement {
    Data(Text),
    Print(Expr),
    If(Vec<(Expr, Body)>, Body),
    For(Arc<For>),
    Set(Target, Expr),
    /// `{% set x | filter %}…{% endset %}`.
    SetBlock(Target, Vec<Postfix>, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<Macro>),
    /// `{% call(x) m() %}…{% endcall %}`.
    Call(Expr, Arc<Macro>),
    Filter(Vec<Postfix>, Body),
    /// `{% generation %}…{% endgeneration %}`: what the model says. A scope of its own, as in the reference.
    Generation(Body),
    Autoescape(Expr, Body),
    Block(Text),
    /// Other templates, of which there are none.
    Other(&'static str),
    Break,
    Continue,
}

#[derive(Debug)]
pub struct For {
    pub target: Target,
    pub items: Expr,
    pub test: Option<Expr>,
    pub recursive: bool,
    pub body: Body,
    pub otherwise: Body,
}

#[derive(Debug)]
pub struct Macro {
    pub name: Text,
    pub parameters: Vec<Text>,
    /// Of the last parameters.
    pub defaults: Vec<Expr>,
    pub body: Body,
    /// Whether the body speaks of `caller`, `kwargs`, `varargs`.
    pub caller: bool,
    pub kwargs: bool,
    pub varargs: bool,
}

/// What can be assigned to.
#[derive(Debug)]
pub enum Target {
    Name(Text),
    /// `ns.attribute`.
    Attribute(Text, Text),
    Tuple(Vec<Target>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Debug, Clone)]
pub enum Constant {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Text),
}

#[derive(Debug)]
pub enum Expr {
    Constant(Constant),
    Name(Text),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// From left to right.
    Binary(Box<Expr>, Vec<(Binary, Expr)>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    Plus(Box<Expr>),
    /// `a ~ b ~ c`.
    Concat(Vec<Expr>),
    /// `value if test else otherwise`.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Postfix(Box<Expr>, Vec<Postfix>),
}

/// What stands behind a value.
#[derive(Debug)]
pub enum Postfix {
    Attribute(Text),
    Item(Expr),
    Slice(Option<Expr>, Option<Expr>, Option<Expr>),
    Call(Arguments),
    Filter(Text, Arguments),
    /// Name, arguments, and whether it is `is not`.
    Test(Text, Arguments, bool),
}

#[derive(Debug, Default)]
pub struct Arguments {
    pub positional: Vec<Expr>,
    pub keywords: Vec<(Text, Expr)>,
    /// `*args` and `**kwargs`.
    pub rest: Option<Box<Expr>>,
    pub rest_keywords: Option<Box<Expr>>,
}
