//! CEL, the language of rules in schemas, as far as rules use it: read once, evaluated within a budget.
//!
//! ```text
//!   token.rs   text -> signs     parse.rs    signs -> expression, macros expanded by name
//!   value.rs   values, over JSON as it is    eval.rs, functions.rs   expression -> value
//! ```
//! An interpreter of our own, since the libraries there are do not count what an expression costs: a rule of a definition is run on the
//! threads that serve, with objects that anybody may send. Here every step costs, a text costs by its length, and who has spent the budget
//! is told so. Types are not checked before: an expression that is of no type fails where it is run.
//!
//! Not for deciding in a turn: rules are checked by the API, before.

mod eval;
mod functions;
mod parse;
mod token;
mod value;

pub(crate) use eval::Env;
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
}

impl Program {
    /// Reads an expression.
    pub(crate) fn compile(text: &str) -> Result<Program, CompileError> {
        Program::compile_with(text, &["self", "oldSelf"])
    }

    /// Reads an expression of these variables.
    pub(crate) fn compile_with(text: &str, variables: &[&str]) -> Result<Program, CompileError> {
        if text.len() > LENGTH {
            return Err(CompileError::Wrong(format!("is longer than {LENGTH} bytes")));
        }
        let expr = parse::parse(token::tokens(text)?)?;
        let mut scope: Vec<String> = variables.iter().map(|name| (*name).to_owned()).collect();
        let mut old = false;
        parse::resolve(&expr, &mut scope, &mut old)?;
        Ok(Program { expr, old })
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
        Env::new(variables, budget).eval(&self.expr)
    }
}

#[cfg(test)]
mod tests;
