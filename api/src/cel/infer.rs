//! Of which type an expression is, as far as that can be told without values. What an object holds can be of any.

use super::parse::{Expr, Macro};

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// That is only known when it is evaluated.
    Any,
    Bool,
    Bytes,
    Double,
    Duration,
    Int,
    List,
    Map,
    Null,
    Text,
    Time,
    Type,
    Uint,
}

impl Kind {
    /// As refusals name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Any => "dyn",
            Kind::Bool => "bool",
            Kind::Bytes => "bytes",
            Kind::Double => "double",
            Kind::Duration => "google.protobuf.Duration",
            Kind::Int => "int",
            Kind::List => "list(dyn)",
            Kind::Map => "map(dyn, dyn)",
            Kind::Null => "null_type",
            Kind::Text => "string",
            Kind::Time => "google.protobuf.Timestamp",
            Kind::Type => "type",
            Kind::Uint => "uint",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Uint | Kind::Double)
    }

    fn may_be(self, other: Kind) -> bool {
        self == other || self == Kind::Any
    }
}

/// The type of an expression. Variables are of these types.
///
/// # Errors
/// It is of none, whatever its values are, in Kubernetes' words.
pub(super) fn kind(expr: &Expr, variables: &[Kind]) -> Result<Kind, String> {
    let of = |expr: &Expr| kind(expr, variables);
    let none = |sign: &str, kinds: &[Kind]| {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        Err(format!("found no matching overload for '{sign}' applied to '({})'", kinds.join(", ")))
    };
    Ok(match expr {
        Expr::Null => Kind::Null,
        Expr::Bool(_) => Kind::Bool,
        Expr::Int(_) => Kind::Int,
        Expr::Uint(_) => Kind::Uint,
        Expr::Double(_) => Kind::Double,
        Expr::Text(_) => Kind::Text,
        Expr::Bytes(_) => Kind::Bytes,
        Expr::Name(_) => Kind::Any,
        Expr::Variable(at) => variables.get(*at).copied().unwrap_or(Kind::Any),
        Expr::Select(from, ..) => {
            of(from)?;
            Kind::Any
        }
        Expr::Has(from, _) => {
            of(from)?;
            Kind::Bool
        }
        Expr::Index(from, index, _) => {
            of(from)?;
            of(index)?;
            Kind::Any
        }
        Expr::List(items) => {
            items.iter().try_for_each(|item| of(item).map(drop))?;
            Kind::List
        }
        Expr::Map(entries) => {
            entries.iter().flat_map(|(key, value)| [key, value]).try_for_each(|part| of(part).map(drop))?;
            Kind::Map
        }
        Expr::Not(what) => match of(what)? {
            kind if kind.may_be(Kind::Bool) => Kind::Bool,
            kind => return none("!_", &[kind]),
        },
        Expr::Minus(what) => match of(what)? {
            kind @ (Kind::Any | Kind::Int | Kind::Double | Kind::Duration) => kind,
            kind => return none("-_", &[kind]),
        },
        Expr::And(a, b) | Expr::Or(a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            if !a.may_be(Kind::Bool) || !b.may_be(Kind::Bool) {
                return none(if matches!(expr, Expr::And(..)) { "_&&_" } else { "_||_" }, &[a, b]);
            }
            Kind::Bool
        }
        Expr::Binary(sign, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match binary(sign, a, b) {
                Some(kind) => kind,
                None => return none(&format!("_{sign}_"), &[a, b]),
            }
        }
        Expr::If(condition, then, otherwise) => {
            let (condition, then, otherwise) = (of(condition)?, of(then)?, of(otherwise)?);
            if !condition.may_be(Kind::Bool) {
                return none("_?_:_", &[condition, then, otherwise]);
            }
            if then == otherwise { then } else { Kind::Any }
        }
        Expr::Each(what, range, _, each, which) => {
            of(range)?;
            of(each)?;
            if let Some(which) = which {
                of(which)?;
            }
            match what {
                Macro::All | Macro::Exists | Macro::ExistsOne => Kind::Bool,
                Macro::Filter | Macro::Map => Kind::List,
            }
        }
        Expr::Bind(_, init, body) => {
            of(init)?;
            of(body)?
        }
        Expr::Call(name, arguments) => {
            arguments.iter().try_for_each(|argument| of(argument).map(drop))?;
            made_by(name)
        }
    })
}

/// The type of `a SIGN b`; none if there is none.
fn binary(sign: &str, a: Kind, b: Kind) -> Option<Kind> {
    use Kind::{Any, Bool, Bytes, Double, Duration, Int, List, Text, Time, Uint};
    match (sign, a, b) {
        ("==" | "!=", a, b) => {
            let plain = |kind: Kind| matches!(kind, Bool | Text | Bytes) || kind.is_number();
            let differ = a != b && plain(a) && plain(b) && !(a.is_number() && b.is_number());
            (!differ).then_some(Bool)
        }
        ("<" | "<=" | ">" | ">=", a, b) => {
            let ordered =
                |kind: Kind| kind.is_number() || matches!(kind, Any | Bool | Text | Bytes | Time | Duration);
            let both = a == b || a == Any || b == Any || (a.is_number() && b.is_number());
            (ordered(a) && ordered(b) && both).then_some(Bool)
        }
        ("in", _, b) => matches!(b, Any | List | Kind::Map).then_some(Bool),
        (_, Any, Any) => Some(Any),
        // With times, there is more than one way.
        (_, Any, Time | Duration) | (_, Time | Duration, Any) => Some(Any),
        ("+", Time, Duration) | ("+", Duration, Time) | ("-", Time, Duration) => Some(Time),
        ("-", Time, Time) => Some(Duration),
        ("+", Any | Text, Text) | ("+", Text, Any) => Some(Text),
        ("+", Any | Bytes, Bytes) | ("+", Bytes, Any) => Some(Bytes),
        ("+", Any | List, List) | ("+", List, Any) => Some(List),
        ("+" | "-", Duration, Duration) => Some(Duration),
        ("+" | "-" | "*" | "/" | "%", Any | Int, Int) | ("+" | "-" | "*" | "/" | "%", Int, Any) => Some(Int),
        ("+" | "-" | "*" | "/" | "%", Any | Uint, Uint) | ("+" | "-" | "*" | "/" | "%", Uint, Any) => {
            Some(Uint)
        }
        ("+" | "-" | "*" | "/", Any | Double, Double) | ("+" | "-" | "*" | "/", Double, Any) => Some(Double),
        _ => None,
    }
}

/// The type of what a function makes, if it is always the same.
fn made_by(name: &str) -> Kind {
    match name {
        "allowed" | "bool" | "contains" | "endsWith" | "errored" | "hasValue" | "isCIDR"
        | "isGreaterThan" | "isIP" | "isInteger" | "isLessThan" | "isQuantity" | "isSorted" | "isURL"
        | "matches" | "startsWith" => Kind::Bool,
        "asInteger" | "compareTo" | "indexOf" | "int" | "lastIndexOf" | "size" => Kind::Int,
        "charAt" | "error" | "find" | "format" | "join" | "lowerAscii" | "reason" | "replace" | "string"
        | "substring" | "trim" | "upperAscii" => Kind::Text,
        "asApproximateFloat" | "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "duration" => Kind::Duration,
        "findAll" | "split" => Kind::List,
        "timestamp" => Kind::Time,
        "type" => Kind::Type,
        "uint" => Kind::Uint,
        _ => Kind::Any,
    }
}
