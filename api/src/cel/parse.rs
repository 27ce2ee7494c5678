//! Expressions, from their signs.

use super::{CompileError, functions, token::Token};

/// How deep expressions may be in each other: neither reading nor evaluating one comes near the end of the stack.
const DEPTH: usize = 100;
/// How deep an expression may be that was read, in which each link of a chain is below the next.
pub(super) const NESTED: usize = 200;
/// What an expression may make of other values: lists, maps and optionals. Each holds what was made before at most once more, so that
/// values are no deeper than this (and an object) in each other: neither comparing nor dropping one comes near the end of the stack.
pub(super) const MADE: usize = 500;
/// Links of all chains of an expression.
const LINKS: usize = 2000;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String),
    /// `variables.a`, by its place among the variables.
    Variable(usize),
    /// `a.b`; `a.?b`, which may be absent.
    Select(Box<Expr>, String, bool),
    /// `has(a.b)`.
    Has(Box<Expr>, String),
    /// `a[b]`; `a[?b]`.
    Index(Box<Expr>, Box<Expr>, bool),
    /// `f(a)`, `a.f(b)`: in both cases the first argument is what it is called on.
    Call(String, Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Minus(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `a.all(x, b)` and its like.
    Each(Macro, Box<Expr>, String, Box<Expr>, Option<Box<Expr>>),
    /// `cel.bind(x, a, b)`.
    Bind(String, Box<Expr>, Box<Expr>),
}

/// What is asked of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
    links: usize,
}

/// Reads one expression.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Expr, String> {
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), depth: 0, links: 0 };
    let expr = parser.expr()?;
    match parser.tokens.next() {
        None if depth(&expr) > NESTED => {
            Err(format!("expressions are more than {NESTED} deep in each other"))
        }
        None if made(&expr) > MADE => Err(format!("more than {MADE} lists and maps are made")),
        None => Ok(expr),
        Some(token) => Err(format!("Syntax error: unexpected {}", shown(&token))),
    }
}

/// How deep an expression is.
pub(super) fn depth(expr: &Expr) -> usize {
    let (mut open, mut most) = (vec![(expr, 1)], 0);
    while let Some((expr, at)) = open.pop() {
        most = most.max(at);
        open.extend(below(expr).into_iter().map(|expr| (expr, at + 1)));
    }
    most
}

/// How many values an expression makes of others.
pub(super) fn made(expr: &Expr) -> usize {
    let (mut open, mut count) = (vec![expr], 0);
    while let Some(expr) = open.pop() {
        count += usize::from(match expr {
            Expr::List(_) | Expr::Map(_) | Expr::Each(Macro::Map, ..) => true,
            Expr::Call(name, _) => name == "optional.of",
            _ => false,
        });
        open.extend(below(expr));
    }
    count
}

/// Whether an expression, or one in it, looks at the field of a name: `of.field`, `of.?field` or `has(of.field)`.
pub(super) fn selects(expr: &Expr, of: &str, field: &str) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if let Expr::Select(on, name, _) | Expr::Has(on, name) = expr
            && name == field
            && matches!(&**on, Expr::Name(on) if on == of)
        {
            return true;
        }
        open.extend(below(expr));
    }
    false
}

fn below(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Select(of, ..) | Expr::Has(of, _) | Expr::Not(of) | Expr::Minus(of) => vec![of],
        Expr::Index(a, b, _)
        | Expr::And(a, b)
        | Expr::Or(a, b)
        | Expr::Binary(_, a, b)
        | Expr::Bind(_, a, b) => {
            vec![a, b]
        }
        Expr::If(a, b, c) => vec![a, b, c],
        Expr::List(items) | Expr::Call(_, items) => items.iter().collect(),
        Expr::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        Expr::Each(_, range, _, what, which) => {
            [&**range, &**what].into_iter().chain(which.as_deref()).collect()
        }
        _ => Vec::new(),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Sign(sign) => format!("{sign:?}"),
        Token::Name(name) => format!("{name:?}"),
        _ => "a literal".into(),
    }
}

fn boxed(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

impl Parser {
    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.peek(), Some(Token::Sign(next)) if *next == sign);
        if found {
            self.tokens.next();
        }
        found
    }

    fn one_of(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().copied().find(|sign| self.eat(sign))
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.eat(sign) {
            return Ok(());
        }
        let found = self.tokens.peek().map_or("the end".into(), shown);
        Err(format!("Syntax error: expected {sign:?}, found {found}"))
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            Some(token) => Err(format!("Syntax error: expected a name, found {}", shown(&token))),
            None => Err("Syntax error: expected a name, found the end".into()),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Result<T, String>) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("expressions are more than {DEPTH} deep in each other"));
        }
        let out = read(self)?;
        self.depth -= 1;
        Ok(out)
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.deeper(|parser| {
            let condition = parser.or()?;
            if !parser.eat("?") {
                return Ok(condition);
            }
            let then = parser.or()?;
            parser.expect(":")?;
            Ok(Expr::If(boxed(condition), boxed(then), boxed(parser.expr()?)))
        })
    }

    fn link(&mut self) -> Result<(), String> {
        self.links += 1;
        if self.links > LINKS { Err(format!("more than {LINKS} operators")) } else { Ok(()) }
    }

    /// A chain of what binds alike, from the left.
    fn chain(
        &mut self,
        signs: &[&'static str],
        next: fn(&mut Parser) -> Result<Expr, String>,
        join: fn(&'static str, Box<Expr>, Box<Expr>) -> Expr,
    ) -> Result<Expr, String> {
        let mut left = next(self)?;
        while let Some(sign) = self.one_of(signs) {
            self.link()?;
            left = join(sign, boxed(left), boxed(next(self)?));
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expr, String> {
        self.chain(&["||"], Parser::and, |_, a, b| Expr::Or(a, b))
    }

    fn and(&mut self) -> Result<Expr, String> {
        self.chain(&["&&"], Parser::relation, |_, a, b| Expr::And(a, b))
    }

    fn relation(&mut self) -> Result<Expr, String> {
        let mut left = self.sum()?;
        loop {
            let sign = match self.one_of(&["==", "!=", "<=", ">=", "<", ">"]) {
                Some(sign) => sign,
                None if self.tokens.peek() == Some(&Token::Name("in".into())) => {
                    self.tokens.next();
                    "in"
                }
                None => return Ok(left),
            };
            self.link()?;
            left = Expr::Binary(sign, boxed(left), boxed(self.sum()?));
        }
    }

    fn sum(&mut self) -> Result<Expr, String> {
        self.chain(&["+", "-"], Parser::product, Expr::Binary)
    }

    fn product(&mut self) -> Result<Expr, String> {
        self.chain(&["*", "/", "%"], Parser::unary, Expr::Binary)
    }

    fn unary(&mut self) -> Result<Expr, String> {
        if self.eat("!") {
            return self.deeper(|parser| Ok(Expr::Not(boxed(parser.unary()?))));
        }
        if self.eat("-") {
            return self.deeper(|parser| {
                Ok(match parser.unary()? {
                    Expr::Int(n) => Expr::Int(-n),
                    Expr::Double(n) => Expr::Double(-n),
                    other => Expr::Minus(boxed(other)),
                })
            });
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr, String> {
        let mut left = self.primary()?;
        loop {
            self.link()?;
            if self.eat(".?") {
                left = Expr::Select(boxed(left), self.name()?, true);
            } else if self.eat(".") {
                let name = self.name()?;
                left = if self.eat("(") {
                    let arguments = self.until(")")?;
                    method(left, name, arguments)?
                } else {
                    Expr::Select(boxed(left), name, false)
                };
            } else if let Some(sign) = self.one_of(&["[?", "["]) {
                let index = self.expr()?;
                self.expect("]")?;
                left = Expr::Index(boxed(left), boxed(index), sign == "[?");
            } else {
                return Ok(left);
            }
        }
    }

    /// Expressions up to a closing sign.
    fn until(&mut self, close: &str) -> Result<Vec<Expr>, String> {
        let mut all = Vec::new();
        while !self.eat(close) {
            all.push(self.expr()?);
            if !self.eat(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(all)
    }

    fn primary(&mut self) -> Result<Expr, String> {
        if self.eat("(") {
            let inside = self.expr()?;
            self.expect(")")?;
            return Ok(inside);
        }
        if self.eat("[") {
            return Ok(Expr::List(self.until("]")?));
        }
        if self.eat("{") {
            let mut entries = Vec::new();
            while !self.eat("}") {
                let key = self.expr()?;
                self.expect(":")?;
                entries.push((key, self.expr()?));
                if !self.eat(",") {
                    self.expect("}")?;
                    break;
                }
            }
            return Ok(Expr::Map(entries));
        }
        // A name of the outermost scope, which is the only one.
        self.eat(".");
        match self.tokens.next() {
            Some(Token::Int(n)) => Ok(Expr::Int(n)),
            Some(Token::Uint(n)) => Ok(Expr::Uint(n)),
            Some(Token::Double(n)) => Ok(Expr::Double(n)),
            Some(Token::Text(text)) => Ok(Expr::Text(text)),
            Some(Token::Bytes(bytes)) => Ok(Expr::Bytes(bytes)),
            Some(Token::Name(name)) if self.eat("(") => {
                let arguments = self.until(")")?;
                function(name, arguments)
            }
            Some(Token::Name(name)) => Ok(match name.as_str() {
                "true" => Expr::Bool(true),
                "false" => Expr::Bool(false),
                "null" => Expr::Null,
                _ => Expr::Name(name),
            }),
            Some(token) => Err(format!("Syntax error: unexpected {}", shown(&token))),
            None => Err("Syntax error: the expression ends too early".into()),
        }
    }
}

/// `f(a, b)`.
fn function(name: String, arguments: Vec<Expr>) -> Result<Expr, String> {
    if name != "has" {
        return Ok(Expr::Call(name, arguments));
    }
    match <[Expr; 1]>::try_from(arguments) {
        Ok([Expr::Select(of, name, false)]) => Ok(Expr::Has(of, name)),
        _ => Err("invalid argument to has() macro".into()),
    }
}

/// `a.f(b)`; macros are known by their names.
fn method(on: Expr, name: String, mut arguments: Vec<Expr>) -> Result<Expr, String> {
    if let (Expr::Name(space), "bind", 3) = (&on, name.as_str(), arguments.len())
        && space == "cel"
    {
        let (body, init, variable) = (arguments.pop(), arguments.pop(), arguments.pop());
        return match (variable, init, body) {
            (Some(Expr::Name(variable)), Some(init), Some(body)) => {
                Ok(Expr::Bind(variable, boxed(init), boxed(body)))
            }
            _ => Err("cel.bind() variable names must be simple identifiers".into()),
        };
    }
    if let (Expr::Name(space), "of" | "none" | "ofNonZeroValue") = (&on, name.as_str())
        && space == "optional"
    {
        return Ok(Expr::Call(format!("optional.{name}"), arguments));
    }
    let kind = match (name.as_str(), arguments.len()) {
        ("all", 2) => Macro::All,
        ("exists", 2) => Macro::Exists,
        ("exists_one" | "existsOne", 2) => Macro::ExistsOne,
        ("filter", 2) => Macro::Filter,
        ("map", 2 | 3) => Macro::Map,
        _ => {
            let mut all = vec![on];
            all.append(&mut arguments);
            return Ok(Expr::Call(name, all));
        }
    };
    let mut arguments = arguments.into_iter();
    let Some(Expr::Name(variable)) = arguments.next() else {
        return Err("argument must be a simple name".into());
    };
    let first = arguments.next().ok_or("argument is missing")?;
    // Of three, the second says which elements count.
    let (which, what) = match arguments.next() {
        Some(what) => (Some(boxed(first)), what),
        None => (None, first),
    };
    Ok(Expr::Each(kind, boxed(on), variable, boxed(what), which))
}

/// What an expression may name, and what was found in it.
pub(super) struct Scope<'a> {
    names: Vec<String>,
    /// What may be named as `variables.NAME`.
    variables: Vec<&'a str>,
    /// Whether it looks at what was before.
    pub(super) old: bool,
    /// Whether it asks who may do what.
    pub(super) asks: bool,
    /// The variables that it looks at.
    pub(super) used: Vec<usize>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(names: &[&str], variables: Vec<&'a str>) -> Scope<'a> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Scope { names, variables, old: false, asks: false, used: Vec::new() }
    }

    /// The place of a variable that an expression names by `of.name`; none if it names something else.
    fn variable(&mut self, of: &Expr, name: &str) -> Result<Option<usize>, CompileError> {
        if self.variables.is_empty() || !is_variables(of, &self.names) {
            return Ok(None);
        }
        // Of two with the same name, the later one counts.
        let at = self.variables.iter().rposition(|known| *known == name);
        let at = at.ok_or_else(|| CompileError::Wrong(format!("undefined field '{name}'")))?;
        self.used.push(at);
        Ok(Some(at))
    }
}

/// The name by which all variables are known, where no element has this name.
const VARIABLES: &str = "variables";

fn is_variables(of: &Expr, names: &[String]) -> bool {
    matches!(of, Expr::Name(name) if name == VARIABLES) && !names.iter().any(|name| name == VARIABLES)
}

/// Checks that all names and functions are known, and finds variables.
pub(super) fn resolve(expr: &mut Expr, scope: &mut Scope<'_>) -> Result<(), CompileError> {
    match expr {
        Expr::Null
        | Expr::Bool(_)
        | Expr::Int(_)
        | Expr::Uint(_)
        | Expr::Double(_)
        | Expr::Text(_)
        | Expr::Bytes(_)
        | Expr::Variable(_) => Ok(()),
        Expr::Name(name) => {
            if scope.names.contains(name) || functions::TYPES.contains(&name.as_str()) {
                scope.old |= name == "oldSelf";
                scope.asks |= name == "authorizer";
                return Ok(());
            }
            if name == VARIABLES && !scope.variables.is_empty() {
                let why = "'variables' stands for nothing by itself: name one of them, variables.NAME";
                return Err(CompileError::Wrong(why.into()));
            }
            if functions::SPACES.contains(&name.as_str()) {
                return Err(CompileError::Unsupported(format!("{name:?} is not supported here yet")));
            }
            Err(CompileError::Wrong(format!("undeclared reference to '{name}' (in container '')")))
        }
        Expr::Select(of, name, optional) => match scope.variable(of, name)? {
            Some(at) if *optional => {
                *expr = Expr::Call("optional.of".into(), vec![Expr::Variable(at)]);
                Ok(())
            }
            Some(at) => {
                *expr = Expr::Variable(at);
                Ok(())
            }
            None => resolve(of, scope),
        },
        Expr::Has(of, name) => match scope.variable(of, name)? {
            Some(_) => {
                *expr = Expr::Bool(true);
                Ok(())
            }
            None => resolve(of, scope),
        },
        Expr::Not(of) | Expr::Minus(of) => resolve(of, scope),
        Expr::Index(a, b, _) | Expr::And(a, b) | Expr::Or(a, b) | Expr::Binary(_, a, b) => {
            resolve(a, scope)?;
            resolve(b, scope)
        }
        Expr::If(a, b, c) => {
            resolve(a, scope)?;
            resolve(b, scope)?;
            resolve(c, scope)
        }
        Expr::List(items) => items.iter_mut().try_for_each(|item| resolve(item, scope)),
        Expr::Map(entries) => entries.iter_mut().try_for_each(|(key, value)| {
            resolve(key, scope)?;
            resolve(value, scope)
        }),
        Expr::Call(name, arguments) => {
            functions::known(name)?;
            arguments.iter_mut().try_for_each(|argument| resolve(argument, scope))
        }
        Expr::Each(_, range, variable, what, which) => {
            resolve(range, scope)?;
            scope.names.push(variable.clone());
            resolve(what, scope)?;
            if let Some(which) = which {
                resolve(which, scope)?;
            }
            scope.names.pop();
            Ok(())
        }
        Expr::Bind(variable, init, body) => {
            resolve(init, scope)?;
            scope.names.push(variable.clone());
            resolve(body, scope)?;
            scope.names.pop();
            Ok(())
        }
    }
}
