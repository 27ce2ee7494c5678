//! CEL, the language of rules in schemas, as far as rules use it: read once, evaluated within a budget.
//!
//! ```text
//!   token.rs   text -> signs     parse.rs    signs -> expression, macros expanded by name
//!   value.rs   values, over JSON as it is    eval.rs, functions.rs, format.rs   expression -> value
//!   infer.rs   of which type an expression is, as far as that can be told
//!   rights.rs  what expressions may ask about who may do what
//! ```
//! An interpreter of our own, since the libraries there are do not count what an expression costs: a rule of a definition is run on the
//! threads that serve, with objects that anybody may send. Here every step costs, a text costs by its length, and who has spent the budget
//! is told so. Types are not checked before: an expression that is of no type fails where it is run.
//!
//! Not for deciding in a turn: rules are checked by the API, before.

mod eval;
mod format;
mod functions;
mod infer;
mod parse;
mod rights;
mod token;
mod value;

pub(crate) use eval::{Env, Lazy};
pub(crate) use infer::Kind;
pub(crate) use rights::{Judge, Place, Rights};
pub(crate) use value::Val;

use parse::Expr;

/// Bytes of an expression.
const LENGTH: usize = 32 << 10;

/// Why an expression is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// It is none, or names what is not there.
    Wrong(String),
    /// It uses what Kubernetes has and this build has not.
    Unsupported(String),
}

impl From<String> for CompileError {
    fn from(why: String) -> CompileError {
        CompileError::Wrong(why)
    }
}

/// An expression that was read.
#[derive(Debug)]
pub(crate) struct Program {
    expr: Expr,
    /// Whether it looks at what a value was before.
    pub(crate) old: bool,
    /// Whether it asks who may do what.
    pub(crate) asks: bool,
    /// How deep it is, and how many values it makes of others, with the variables that it looks at: see [`parse::NESTED`], [`parse::MADE`].
    depth: usize,
    made: usize,
    /// Of which type it is.
    pub(crate) kind: Kind,
}

/// A value that expressions share, as `variables.NAME`. It is worked out when one of them looks at it, once.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Or why there is none.
    pub(crate) program: Result<Program, String>,
}

impl Program {
    /// Reads an expression.
    pub(crate) fn compile(text: &str) -> Result<Program, CompileError> {
        Program::compile_with(text, &["self", "oldSelf"])
    }

    /// Reads an expression of these names.
    pub(crate) fn compile_with(text: &str, names: &[&str]) -> Result<Program, CompileError> {
        Program::read(text, names, &[])
    }

    /// Reads an expression of these names and variables; where there are no variables, none may be named. One that is of no type is refused.
    pub(crate) fn compile_among(
        text: &str,
        names: &[&str],
        variables: &[Variable],
    ) -> Result<Program, CompileError> {
        let program = Program::read(text, names, variables)?;
        let kinds = |variable: &Variable| variable.program.as_ref().map_or(Kind::Any, |program| program.kind);
        let kinds: Vec<Kind> = variables.iter().map(kinds).collect();
        Ok(Program { kind: infer::kind(&program.expr, &kinds)?, ..program })
    }

    fn read(text: &str, names: &[&str], variables: &[Variable]) -> Result<Program, CompileError> {
        if text.len() > LENGTH {
            return Err(CompileError::Wrong(format!("is longer than {LENGTH} bytes")));
        }
        let mut expr = parse::parse(token::tokens(text)?)?;
        let mut scope = parse::Scope::new(names, variables.iter().map(|v| v.name.as_str()).collect());
        parse::resolve(&mut expr, &mut scope)?;
        let used = scope.used.iter().filter_map(|at| variables.get(*at)?.program.as_ref().ok());
        let (mut depth, mut made, mut asks) = (0, 0, scope.asks);
        for program in used {
            depth = depth.max(program.depth);
            made = made.max(program.made);
            asks |= program.asks;
        }
        let (depth, made) = (depth + parse::depth(&expr), made + parse::made(&expr));
        if depth > parse::NESTED {
            let most = parse::NESTED;
            let why = format!("the expression and its variables are more than {most} deep in each other");
            return Err(CompileError::Wrong(why));
        }
        if made > parse::MADE {
            let most = parse::MADE;
            let why = format!("the expression and its variables make more than {most} lists and maps");
            return Err(CompileError::Wrong(why));
        }
        Ok(Program { expr, old: scope.old, asks, depth, made, kind: Kind::Any })
    }

    /// Whether it looks at a field of a variable by its name.
    pub(crate) fn selects(&self, variable: &str, field: &str) -> bool {
        parse::selects(&self.expr, variable, field)
    }

    /// Evaluates it. The cost is taken from the budget.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(crate) fn run<'a>(
        &'a self,
        this: Val<'a>,
        old: Option<Val<'a>>,
        budget: &mut u64,
    ) -> Result<Val<'a>, String> {
        let mut variables = vec![("self", this)];
        variables.extend(old.map(|old| ("oldSelf", old)));
        self.run_with(variables, budget)
    }

    /// Evaluates it with these variables. The cost is taken from the budget.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(crate) fn run_with<'a>(
        &'a self,
        variables: Vec<(&'a str, Val<'a>)>,
        budget: &mut u64,
    ) -> Result<Val<'a>, String> {
        Env::new(variables, None, budget).eval(&self.expr)
    }

    /// Evaluates it with these names and variables. The cost is taken from the budget, that of a variable which nobody looked at before too.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(crate) fn run_among<'a>(
        &'a self,
        names: Vec<(&'a str, Val<'a>)>,
        variables: &mut Lazy<'a>,
        budget: &mut u64,
    ) -> Result<Val<'a>, String> {
        Env::new(names, Some(variables), budget).eval(&self.expr)
    }
}

#[cfg(test)]
mod tests;
