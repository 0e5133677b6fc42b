//! Syntax tree of a template.
//!
//! Chains (`a + b - c`, `x.y[0]|f is t`, `elif`) are lists, so the tree is as deep as the parser's
//! recursion, which is bounded.

use std::sync::Arc;

/// A string that syntax tree and values share.
pub type Text = Arc<str>;

/// A sequence of statements.
pub type Body = Vec<Node>;

/// A statement and the line that it begins in.
#[derive(Debug)]
pub struct Node {
    pub line: usize,
    pub statement: Statement,
}

#[derive(Debug)]
pub enum Statement {
    Data(Text),
    Print(Expr),
    /// Branches with their tests, and the body of `else`.
    If(Vec<(Expr, Body)>, Body),
    For(Arc<For>),
    Set(AssignTarget, Expr),
    /// `{% set x | filter %}…{% endset %}`.
    SetBlock(AssignTarget, Vec<Postfix>, Body),
    With(Vec<(AssignTarget, Expr)>, Body),
    Macro(Arc<Macro>),
    /// `{% call(x) m() %}…{% endcall %}`.
    Call(Expr, Arc<Macro>),
    Filter(Vec<Postfix>, Body),
    /// `{% generation %}…{% endgeneration %}`: text of the assistant. It has a scope of its own, as
    /// in `transformers`.
    Generation(Body),
    Autoescape(Expr, Body),
    Block(Text),
    /// A tag that loads another template, such as `include`. There are none to load.
    Other(&'static str),
    Break,
    Continue,
}

#[derive(Debug)]
pub struct For {
    pub target: AssignTarget,
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
    /// Default values of the last parameters.
    pub defaults: Vec<Expr>,
    pub body: Body,
    /// Whether the body uses the name `caller`; likewise the next two.
    pub caller: bool,
    pub kwargs: bool,
    pub varargs: bool,
}

/// Left side of an assignment.
#[derive(Debug)]
pub enum AssignTarget {
    Name(Text),
    /// `ns.attribute`.
    Attribute(Text, Text),
    Tuple(Vec<AssignTarget>),
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
    /// Operators of one precedence, applied from left to right.
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

/// An operation written after a value.
#[derive(Debug)]
pub enum Postfix {
    Attribute(Text),
    Item(Expr),
    Slice(Option<Expr>, Option<Expr>, Option<Expr>),
    Call(ArgumentExprs),
    Filter(Text, ArgumentExprs),
    /// Name, arguments, and whether it is `is not`.
    Test(Text, ArgumentExprs, bool),
}

/// Arguments of a call, not yet evaluated.
#[derive(Debug, Default)]
pub struct ArgumentExprs {
    pub positional: Vec<Expr>,
    pub keywords: Vec<(Text, Expr)>,
    /// `*args`.
    pub rest: Option<Box<Expr>>,
    /// `**kwargs`.
    pub rest_keywords: Option<Box<Expr>>,
}
