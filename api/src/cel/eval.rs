//! Expressions to values.

use std::rc::Rc;

use crate::custom::Pattern;

use super::{
    Variable, functions,
    parse::{Expr, Macro},
    value::{Str, Val},
};

/// What it costs to make a regular expression, and how many are kept.
const PATTERN: u64 = 2000;
/// Bytes of a compiled expression that cost 1, and those that take a step at each sign of a text that others take.
const PATTERN_BYTES: usize = 64;
const PATTERN_STEP: usize = 16 << 10;
const PATTERNS: usize = 16;
/// What it costs to ask whether somebody may do something, as in Kubernetes.
const ASKING: u64 = 350_000;
const SPENT: &str = "operation cancelled: actual cost limit exceeded";

/// Variables, and what was found of them.
pub(crate) struct Lazy<'a> {
    variables: &'a [Variable],
    values: Vec<Option<Result<Val<'a>, String>>>,
}

impl<'a> Lazy<'a> {
    /// Variables that nobody looked at.
    pub(crate) fn new(variables: &'a [Variable]) -> Lazy<'a> {
        Lazy { variables, values: variables.iter().map(|_| None).collect() }
    }
}

/// Where an expression is evaluated: its names and variables, and what is left of its budget.
pub(crate) struct Env<'a, 'b> {
    names: Vec<(&'a str, Val<'a>)>,
    /// How many of the names everything knows: the others are elements.
    known: usize,
    lazy: Option<&'b mut Lazy<'a>>,
    budget: &'b mut u64,
    patterns: Vec<(String, Rc<Pattern>)>,
}

impl<'a, 'b> Env<'a, 'b> {
    pub(super) fn new(
        names: Vec<(&'a str, Val<'a>)>,
        lazy: Option<&'b mut Lazy<'a>>,
        budget: &'b mut u64,
    ) -> Env<'a, 'b> {
        Env { known: names.len(), names, lazy, budget, patterns: Vec::new() }
    }

    /// Takes from the budget.
    pub(super) fn pay(&mut self, cost: u64) -> Result<(), String> {
        match self.budget.checked_sub(cost) {
            Some(left) => {
                *self.budget = left;
                Ok(())
            }
            None => {
                *self.budget = 0;
                Err(SPENT.into())
            }
        }
    }

    /// Pays for the comparison of two values, which is made after.
    fn pay_comparing(&mut self, a: &Val<'a>, b: &Val<'a>) -> Result<(), String> {
        let cost = a.comparing(b, *self.budget);
        self.pay(cost)
    }

    /// Pays for a look at all of a value.
    fn pay_all(&mut self, value: &Val<'a>) -> Result<(), String> {
        let cost = value.weight(*self.budget);
        self.pay(cost)
    }

    pub(super) fn eval(&mut self, expr: &'a Expr) -> Result<Val<'a>, String> {
        self.pay(1)?;
        match expr {
            Expr::Null => Ok(Val::Null),
            Expr::Bool(on) => Ok(Val::Bool(*on)),
            Expr::Int(n) => Ok(Val::Int(*n)),
            Expr::Uint(n) => Ok(Val::Uint(*n)),
            Expr::Double(n) => Ok(Val::Double(*n)),
            Expr::Text(text) => Ok(Val::Text(Str::Borrowed(text))),
            Expr::Bytes(bytes) => {
                self.pay(bytes.len() as u64 / 8)?;
                Ok(Val::Bytes(bytes.as_slice().into()))
            }
            Expr::Name(name) => self.name(name),
            Expr::Variable(at) => self.variable(*at),
            Expr::Select(of, name, optional) => self.select(of, name, *optional),
            Expr::Has(of, name) => self.has(of, name),
            Expr::Index(of, index, optional) => self.index(of, index, *optional),
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::List(items) => {
                let items: Result<Vec<Val<'a>>, String> = items.iter().map(|item| self.eval(item)).collect();
                Ok(Val::List(items?.into()))
            }
            Expr::Map(entries) => self.map(entries),
            Expr::Not(of) => match self.eval(of)? {
                Val::Bool(on) => Ok(Val::Bool(!on)),
                _ => Err("no such overload".into()),
            },
            Expr::Minus(of) => match self.eval(of)? {
                Val::Int(n) => n.checked_neg().map(Val::Int).ok_or_else(|| "integer overflow".into()),
                Val::Double(n) => Ok(Val::Double(-n)),
                Val::Duration(n) => {
                    n.checked_neg().map(Val::Duration).ok_or_else(|| "duration overflow".into())
                }
                _ => Err("no such overload".into()),
            },
            Expr::And(a, b) => self.logic(a, b, false),
            Expr::Or(a, b) => self.logic(a, b, true),
            Expr::Binary(sign, a, b) => self.binary(sign, a, b),
            Expr::If(condition, then, otherwise) => match self.eval(condition)? {
                Val::Bool(true) => self.eval(then),
                Val::Bool(false) => self.eval(otherwise),
                _ => Err("no such overload".into()),
            },
            Expr::Each(kind, range, variable, what, which) => {
                self.each(*kind, range, variable, what, which.as_deref())
            }
            Expr::Bind(variable, init, body) => {
                let value = self.eval(init)?;
                self.names.push((variable, value));
                let out = self.eval(body);
                self.names.pop();
                out
            }
        }
    }

    fn name(&self, name: &'a str) -> Result<Val<'a>, String> {
        if let Some((_, value)) = self.names.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        let of = functions::TYPES.iter().find(|of| **of == name);
        of.map(|of| Val::Type(of)).ok_or_else(|| format!("no such attribute(s): {name}"))
    }

    fn variable(&mut self, at: usize) -> Result<Val<'a>, String> {
        let found =
            self.lazy.as_deref().and_then(|lazy| Some((lazy.variables.get(at)?, lazy.values.get(at)?)));
        let Some((variable, value)) = found else { return Err("no such attribute(s): variables".into()) };
        if let Some(value) = value {
            return value.clone();
        }
        let name = &variable.name;
        let value = match &variable.program {
            Ok(program) => {
                // It knows nothing of the elements that are looked at where it is named.
                let elements = self.names.split_off(self.known);
                let value = self.eval(&program.expr);
                self.names.truncate(self.known);
                self.names.extend(elements);
                value.map_err(|why| format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            Err(why) => Err(format!("composited variable {name:?} fails to compile: {why}")),
        };
        // What ran out of one expression's budget may be found in that of the next.
        if *self.budget > 0
            && let Some(place) = self.lazy.as_deref_mut().and_then(|lazy| lazy.values.get_mut(at))
        {
            *place = Some(value.clone());
        }
        value
    }

    /// A value that may be one of an optional, and whether it was.
    fn open(value: Val<'a>) -> Result<(Val<'a>, bool), ()> {
        match value {
            Val::Optional(Some(inner)) => Ok((Val::clone(&inner), true)),
            Val::Optional(None) => Err(()),
            value => Ok((value, false)),
        }
    }

    fn select(&mut self, of: &'a Expr, name: &'a str, optional: bool) -> Result<Val<'a>, String> {
        let Ok((value, inner)) = Env::open(self.eval(of)?) else { return Ok(Val::Optional(None)) };
        if let Val::Rights(rights) = &value {
            return rights.select(name);
        }
        if !value.is_map() {
            return Err("no such overload".into());
        }
        self.pay(value.finding(&Val::Text(Str::Borrowed(name))))?;
        let found = self.decoded(value.select(name))?;
        if optional || inner {
            return Ok(Val::Optional(found.map(Rc::new)));
        }
        found.ok_or_else(|| format!("no such key: {name}"))
    }

    fn has(&mut self, of: &'a Expr, name: &'a str) -> Result<Val<'a>, String> {
        let Ok((value, _)) = Env::open(self.eval(of)?) else { return Ok(Val::Bool(false)) };
        if !value.is_map() {
            return Err("no such overload".into());
        }
        self.pay(value.finding(&Val::Text(Str::Borrowed(name))))?;
        Ok(Val::Bool(value.has(name)))
    }

    /// Bytes are made of a text when they are looked at.
    fn decoded(&mut self, found: Option<Val<'a>>) -> Result<Option<Val<'a>>, String> {
        if let Some(Val::Bytes(bytes)) = &found {
            self.pay(bytes.len() as u64 / 8)?;
        }
        Ok(found)
    }

    fn index(&mut self, of: &'a Expr, index: &'a Expr, optional: bool) -> Result<Val<'a>, String> {
        let Ok((value, inner)) = Env::open(self.eval(of)?) else { return Ok(Val::Optional(None)) };
        let index = self.eval(index)?;
        let found = if value.is_map() {
            self.pay(value.finding(&index))?;
            value.get(&index)
        } else {
            let place = match index {
                Val::Int(n) => usize::try_from(n).ok(),
                Val::Uint(n) => usize::try_from(n).ok(),
                Val::Double(n) if n.fract() == 0.0 && n >= 0.0 => Some(n as usize),
                Val::Double(_) => None,
                _ => return Err("no such overload".into()),
            };
            if !value.is_list() {
                return Err("no such overload".into());
            }
            place.and_then(|place| value.at(place))
        };
        let found = self.decoded(found)?;
        if optional || inner {
            return Ok(Val::Optional(found.map(Rc::new)));
        }
        found.ok_or_else(|| {
            let why = if value.is_map() { "no such key" } else { "index out of bounds" };
            format!("{why}: {}", functions::shown(&index))
        })
    }

    fn call(&mut self, name: &'a str, arguments: &'a [Expr]) -> Result<Val<'a>, String> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let value = self.eval(argument)?;
            // Most functions look at all of what they are given.
            match (name, &value) {
                (_, Val::Text(text)) => self.pay(text.len() as u64 / 8)?,
                ("size" | "type" | "dyn" | "optional.of" | "orValue" | "or", _) => {}
                (_, Val::Bytes(bytes)) => self.pay(bytes.len() as u64 / 8)?,
                (_, value) if value.is_list() => self.pay_all(value)?,
                _ => {}
            }
            values.push(value);
        }
        self.pay_beyond(name, &values)?;
        let pattern = match (name, values.get(1)) {
            ("matches" | "find" | "findAll", Some(Val::Text(told))) => {
                let pattern = self.pattern(told)?;
                // A long expression may do something at each sign of a long text, and so may a short one that stands for a long one.
                let length = values.first().map_or(0, |of| if let Val::Text(of) = of { of.len() } else { 0 });
                let long = (told.len() / 8).max(pattern.weight / PATTERN_STEP);
                self.pay((length as u64 / 8).saturating_mul(long as u64))?;
                Some(pattern)
            }
            _ => None,
        };
        let out = functions::call(name, &values, pattern.as_deref())?;
        self.pay(match &out {
            Val::Text(text) => text.len() as u64 / 8,
            Val::List(items) => items.len() as u64,
            _ => 0,
        })?;
        Ok(out)
    }

    /// Pays for what functions do beyond a look at each argument.
    fn pay_beyond(&mut self, name: &str, values: &[Val<'a>]) -> Result<(), String> {
        match (name, values) {
            // Each element is compared, and what is looked for with each.
            ("indexOf" | "lastIndexOf", [list, wanted]) if list.is_list() => {
                let mut elements = (0..list.size().unwrap_or(0)).filter_map(|place| list.at(place));
                elements.try_for_each(|element| self.pay_comparing(&element, wanted))
            }
            // What is made is paid before it is made, where it may be larger than what it is made of.
            ("join", [list, Val::Text(by)]) => {
                self.pay((by.len() as u64 / 8).saturating_mul(list.size().unwrap_or(0) as u64))
            }
            ("split", [Val::Text(text), Val::Text(by), ..]) => self.pay(text.matches(&**by).count() as u64),
            ("check", [Val::Rights(_), ..]) => self.pay(ASKING),
            _ => Ok(()),
        }
    }

    /// A regular expression: made once, and dear.
    fn pattern(&mut self, told: &str) -> Result<Rc<Pattern>, String> {
        if let Some((_, pattern)) = self.patterns.iter().find(|(known, _)| known == told) {
            return Ok(pattern.clone());
        }
        self.pay(PATTERN + told.len() as u64 * 10)?;
        let pattern = Pattern::new(told);
        // Also of one that is too large.
        let weight = pattern.as_ref().map_or_else(|wrong| wrong.weight, |pattern| pattern.weight);
        self.pay((weight / PATTERN_BYTES) as u64)?;
        let pattern = Rc::new(pattern.map_err(|wrong| format!("error parsing regexp: {}", wrong.why))?);
        if self.patterns.len() < PATTERNS {
            self.patterns.push((told.to_owned(), pattern.clone()));
        }
        Ok(pattern)
    }

    fn map(&mut self, entries: &'a [(Expr, Expr)]) -> Result<Val<'a>, String> {
        let mut out: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.eval(key)?;
            // Others could not be compared at once.
            if !matches!(key, Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Text(_)) {
                return Err(format!("unsupported key type: {}", key.kind()));
            }
            let long = if let Val::Text(text) = &key { text.len() as u64 / 8 } else { 0 };
            self.pay((1 + long).saturating_mul(out.len() as u64))?;
            if out.iter().any(|(known, _)| known.same(&key)) {
                return Err(format!("Failed with repeated key: {}", functions::shown(&key)));
            }
            out.push((key, self.eval(value)?));
        }
        Ok(Val::Map(out.into()))
    }

    /// `&&` and `||`: what either side decides is decided, though the other fails.
    fn logic(&mut self, a: &'a Expr, b: &'a Expr, decides: bool) -> Result<Val<'a>, String> {
        let truth = |value: Result<Val<'a>, String>| match value {
            Ok(Val::Bool(on)) => Ok(on),
            Ok(_) => Err("no such overload".to_owned()),
            Err(why) => Err(why),
        };
        let left = truth(self.eval(a));
        if left == Ok(decides) {
            return Ok(Val::Bool(decides));
        }
        match (left, truth(self.eval(b))) {
            (_, Ok(right)) if right == decides => Ok(Val::Bool(decides)),
            (Err(why), _) | (_, Err(why)) => Err(why),
            (Ok(_), Ok(_)) => Ok(Val::Bool(!decides)),
        }
    }

    fn binary(&mut self, sign: &'static str, a: &'a Expr, b: &'a Expr) -> Result<Val<'a>, String> {
        let (a, b) = (self.eval(a)?, self.eval(b)?);
        match sign {
            "==" | "!=" | "<" | "<=" | ">" | ">=" => self.pay_comparing(&a, &b)?,
            "in" if b.is_list() => return self.within(&a, &b),
            "in" => self.pay(b.finding(&a))?,
            "+" => match (&a, &b) {
                (Val::Text(a), Val::Text(b)) => self.pay((a.len() + b.len()) as u64 / 8)?,
                (Val::Bytes(a), Val::Bytes(b)) => self.pay((a.len() + b.len()) as u64 / 8)?,
                (a, b) if a.is_list() && b.is_list() => {
                    self.pay_all(a)?;
                    self.pay_all(b)?;
                }
                _ => {}
            },
            _ => {}
        }
        functions::binary(sign, &a, &b)
    }

    /// Whether a value is an element of a list. What is looked at is paid, up to where it is found.
    fn within(&mut self, value: &Val<'a>, list: &Val<'a>) -> Result<Val<'a>, String> {
        for place in 0..list.size().unwrap_or(0) {
            let element = self.decoded(list.at(place))?.unwrap_or(Val::Null);
            self.pay_comparing(&element, value)?;
            if element.same(value) {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }

    fn each(
        &mut self,
        kind: Macro,
        range: &'a Expr,
        variable: &'a str,
        what: &'a Expr,
        which: Option<&'a Expr>,
    ) -> Result<Val<'a>, String> {
        let range = self.eval(range)?;
        if !(range.is_list() || range.is_map()) {
            return Err("no such overload".into());
        }
        let count = range.size().unwrap_or(0);
        self.pay(count as u64)?;
        let keys = range.keys();
        let (mut held, mut failed, mut out) = (0_usize, None, Vec::new());
        for place in 0..count {
            let element = keys.as_ref().map_or_else(|| range.at(place), |keys| keys.get(place).cloned());
            let element = self.decoded(element)?.unwrap_or(Val::Null);
            self.names.push((variable, element.clone()));
            let counts: Result<bool, String> = match which.map(|which| self.eval(which)) {
                None | Some(Ok(Val::Bool(true))) => Ok(true),
                Some(Ok(Val::Bool(false))) => Ok(false),
                Some(Ok(_)) => Err("no such overload".into()),
                Some(Err(why)) => Err(why),
            };
            let value = if counts == Ok(true) { self.eval(what) } else { Ok(Val::Bool(false)) };
            self.names.pop();
            let counts = counts?;
            if *self.budget == 0 {
                return Err(SPENT.into());
            }
            match (kind, value) {
                (Macro::Map, value) => out.extend(counts.then_some(value?)),
                (Macro::All, Ok(Val::Bool(false))) => return Ok(Val::Bool(false)),
                (Macro::Exists, Ok(Val::Bool(true))) => return Ok(Val::Bool(true)),
                (Macro::Filter, Ok(Val::Bool(true))) => out.push(element),
                (_, Ok(Val::Bool(true))) => held += 1,
                (_, Ok(Val::Bool(false))) => {}
                (_, Ok(_)) => return Err("no such overload".into()),
                // What another element decides is decided all the same.
                (Macro::All | Macro::Exists, Err(why)) => failed = Some(why),
                (_, Err(why)) => return Err(why),
            }
        }
        match (kind, failed) {
            (_, Some(why)) => Err(why),
            (Macro::All, None) => Ok(Val::Bool(true)),
            (Macro::Exists, None) => Ok(Val::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Val::Bool(held == 1)),
            (Macro::Filter | Macro::Map, None) => Ok(Val::List(out.into())),
        }
    }
}
