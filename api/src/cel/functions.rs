//! Functions and operators. Those that Kubernetes has and this build has not are known by their names.

use std::{cmp::Ordering, rc::Rc};

use super::{
    CompileError, format, rights,
    value::{Val, duration},
};
use crate::{custom::Pattern, quantity::Quantity};

/// The types that expressions name.
pub(super) const TYPES: [&str; 9] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

/// What functions that Kubernetes has are called on, and this build has not.
pub(super) const SPACES: [&str; 3] = ["format", "ip", "sets"];

/// Bytes of a text of which all parts are looked for.
const SEARCHED: usize = 10_000;

/// Functions of this build.
const KNOWN: &[&str] = &[
    "asApproximateFloat",
    "asInteger",
    "bool",
    "bytes",
    "charAt",
    "compareTo",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "find",
    "findAll",
    "format",
    "getDate",
    "getDayOfMonth",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "indexOf",
    "int",
    "isGreaterThan",
    "isIP",
    "isCIDR",
    "isInteger",
    "isLessThan",
    "isQuantity",
    "isSorted",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "max",
    "min",
    "optional.none",
    "optional.of",
    "or",
    "orValue",
    "quantity",
    "replace",
    "reverse",
    "sign",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "sum",
    "timestamp",
    "trim",
    "uint",
    "upperAscii",
];
/// More of them, and what follows has names of its own.
const ALSO: &[&str] = &["type", "value", "isURL"];

/// Functions that Kubernetes has besides.
const ELSEWHERE: &[&str] = &[
    "add",
    "allocate",
    "cidr",
    "containsCIDR",
    "containsIP",
    "family",
    "getDayOfWeek",
    "getDayOfYear",
    "getEscapedPath",
    "getHost",
    "getHostname",
    "getPort",
    "getQuery",
    "getScheme",
    "ip",
    "ip.isCanonical",
    "isCanonical",
    "isGlobalUnicast",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isSemver",
    "isUnspecified",
    "major",
    "masked",
    "minor",
    "optFlatMap",
    "optMap",
    "optional.ofNonZeroValue",
    "patch",
    "prefixLength",
    "semver",
    "sub",
    "transformList",
    "transformMap",
    "url",
];
/// The sets library, whose functions are called on its name, and what is rare.
const SETS: &[&str] = &["equivalent", "intersects", "quote", "slice", "validate", "warn"];

/// Whether a function is there.
pub(super) fn known(name: &str) -> Result<(), CompileError> {
    if [KNOWN, ALSO, rights::FUNCTIONS].iter().any(|known| known.contains(&name)) {
        return Ok(());
    }
    if ELSEWHERE.contains(&name) || SETS.contains(&name) || matches!(name, "all" | "exists" | "existsOne") {
        return Err(CompileError::Unsupported(format!("the function {name:?} is not supported here yet")));
    }
    Err(CompileError::Wrong(format!("undeclared reference to '{name}' (in container '')")))
}

/// A value as messages show it.
pub(super) fn shown(value: &Val<'_>) -> String {
    text_of(value).unwrap_or_else(|| value.kind().to_owned())
}

/// A plain value as text.
pub(super) fn text_of(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Text(text) => text.to_string(),
        Val::Bool(on) => on.to_string(),
        Val::Int(n) => n.to_string(),
        Val::Uint(n) => n.to_string(),
        Val::Double(n) => n.to_string(),
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Val::Duration(nanos) => format!("{}s", *nanos as f64 / 1e9),
        Val::Time(at) => at.to_string(),
        Val::Quantity(quantity) => quantity.to_string(),
        _ => return None,
    })
}

fn no_overload<'a>() -> Result<Val<'a>, String> {
    Err("no such overload".into())
}

/// `a + b` and its like. Whether a list holds a value is told by [`super::eval`], which pays for each look.
pub(super) fn binary<'a>(sign: &str, a: &Val<'a>, b: &Val<'a>) -> Result<Val<'a>, String> {
    let ordered = |fits: fn(Ordering) -> bool| match a.compare(b) {
        Some(order) => Ok(Val::Bool(fits(order))),
        None if a.kind() == "double" || b.kind() == "double" => Ok(Val::Bool(false)),
        None => no_overload(),
    };
    match sign {
        "==" => Ok(Val::Bool(a.same(b))),
        "!=" => Ok(Val::Bool(!a.same(b))),
        "<" => ordered(Ordering::is_lt),
        "<=" => ordered(Ordering::is_le),
        ">" => ordered(Ordering::is_gt),
        ">=" => ordered(Ordering::is_ge),
        "in" if b.is_map() => Ok(Val::Bool(match a {
            Val::Text(key) if matches!(b, Val::Fields(..)) => b.has_key(key),
            key => b.get(key).is_some(),
        })),
        "in" => no_overload(),
        sign => arithmetic(sign, a, b),
    }
}

fn arithmetic<'a>(sign: &str, a: &Val<'a>, b: &Val<'a>) -> Result<Val<'a>, String> {
    let whole = |n: Option<i64>| n.map(Val::Int).ok_or_else(|| "integer overflow".to_owned());
    let natural = |n: Option<u64>| n.map(Val::Uint).ok_or_else(|| "unsigned integer overflow".to_owned());
    let span = |n: Option<i64>| n.map(Val::Duration).ok_or_else(|| "duration overflow".to_owned());
    match (sign, a, b) {
        ("/" | "%", _, Val::Int(0) | Val::Uint(0)) => {
            Err(if sign == "/" { "division by zero".into() } else { "modulus by zero".into() })
        }
        ("+", Val::Int(a), Val::Int(b)) => whole(a.checked_add(*b)),
        ("-", Val::Int(a), Val::Int(b)) => whole(a.checked_sub(*b)),
        ("*", Val::Int(a), Val::Int(b)) => whole(a.checked_mul(*b)),
        ("/", Val::Int(a), Val::Int(b)) => whole(a.checked_div(*b)),
        ("%", Val::Int(a), Val::Int(b)) => whole(a.checked_rem(*b)),
        ("+", Val::Uint(a), Val::Uint(b)) => natural(a.checked_add(*b)),
        ("-", Val::Uint(a), Val::Uint(b)) => natural(a.checked_sub(*b)),
        ("*", Val::Uint(a), Val::Uint(b)) => natural(a.checked_mul(*b)),
        ("/", Val::Uint(a), Val::Uint(b)) => natural(a.checked_div(*b)),
        ("%", Val::Uint(a), Val::Uint(b)) => natural(a.checked_rem(*b)),
        ("+", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        ("-", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        ("*", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        ("/", Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        ("+", Val::Text(a), Val::Text(b)) => Ok(Val::owned([&**a, &**b].concat())),
        ("+", Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([&**a, &**b].concat().into())),
        ("+", Val::Duration(a), Val::Duration(b)) => span(a.checked_add(*b)),
        ("-", Val::Duration(a), Val::Duration(b)) => span(a.checked_sub(*b)),
        ("+", Val::Time(at), Val::Duration(by)) | ("+", Val::Duration(by), Val::Time(at)) => {
            let moved = at.checked_add(jiff::SignedDuration::from_nanos(*by));
            moved.map(Val::Time).map_err(|_| "timestamp overflow".into())
        }
        ("-", Val::Time(at), Val::Duration(by)) => {
            let moved = at.checked_sub(jiff::SignedDuration::from_nanos(*by));
            moved.map(Val::Time).map_err(|_| "timestamp overflow".into())
        }
        ("-", Val::Time(a), Val::Time(b)) => {
            span(i64::try_from(a.as_nanosecond().saturating_sub(b.as_nanosecond())).ok())
        }
        ("+", a, b) => match (a.items(), b.items()) {
            (Some(mut all), Some(more)) => {
                all.extend(more);
                Ok(Val::List(all.into()))
            }
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

/// Calls a function.
pub(super) fn call<'a>(
    name: &str,
    arguments: &[Val<'a>],
    pattern: Option<&Pattern>,
) -> Result<Val<'a>, String> {
    match (name, arguments) {
        ("size", [of]) => of.size().map_or_else(no_overload, |size| Ok(Val::Int(size as i64))),
        ("type", [of]) => Ok(Val::Type(of.kind())),
        ("dyn", [of]) => Ok(of.clone()),
        (
            "int" | "uint" | "double" | "string" | "bool" | "bytes" | "duration" | "timestamp" | "quantity",
            [of],
        ) => convert(name, of),
        ("isQuantity", [Val::Text(text)]) => Ok(Val::Bool(text.parse::<Quantity>().is_ok())),
        ("isIP", [Val::Text(text)]) => Ok(Val::Bool(text.parse::<std::net::IpAddr>().is_ok())),
        ("isCIDR", [Val::Text(text)]) => Ok(Val::Bool(crate::custom::is_format("cidr", text))),
        ("isURL", [Val::Text(text)]) => Ok(Val::Bool(is_url(text))),
        ("optional.of", [of]) => Ok(Val::Optional(Some(Rc::new(of.clone())))),
        ("optional.none", []) => Ok(Val::Optional(None)),
        (_, [Val::Rights(rights), rest @ ..]) => rights.call(name, rest),
        (_, [Val::Optional(inner), rest @ ..]) => optional(name, inner.as_ref(), rest),
        (_, [Val::Text(text), rest @ ..]) => of_text(name, text, rest, pattern),
        (_, [Val::Quantity(quantity), rest @ ..]) => of_quantity(name, *quantity, rest),
        (_, [Val::Time(at), ..]) => of_time(name, *at, arguments),
        (_, [Val::Duration(nanos)]) => of_duration(name, *nanos),
        (_, [list, rest @ ..]) => match list.items() {
            Some(items) => of_list(name, &items, rest),
            None => no_overload(),
        },
        _ => no_overload(),
    }
}

fn convert<'a>(to: &str, of: &Val<'a>) -> Result<Val<'a>, String> {
    let error = || format!("type conversion error from '{}' to '{to}'", of.kind());
    let out = match (to, of) {
        ("int", Val::Int(n)) => Some(Val::Int(*n)),
        ("int", Val::Uint(n)) => i64::try_from(*n).ok().map(Val::Int),
        ("int", Val::Double(n)) => (n.abs() < 9.2e18).then_some(Val::Int(*n as i64)),
        ("int", Val::Text(text)) => text.parse().ok().map(Val::Int),
        ("int", Val::Time(at)) => Some(Val::Int(at.as_second())),
        ("uint", Val::Uint(n)) => Some(Val::Uint(*n)),
        ("uint", Val::Int(n)) => u64::try_from(*n).ok().map(Val::Uint),
        ("uint", Val::Double(n)) => (*n >= 0.0 && *n < 1.8e19).then_some(Val::Uint(*n as u64)),
        ("uint", Val::Text(text)) => text.parse().ok().map(Val::Uint),
        ("double", Val::Double(n)) => Some(Val::Double(*n)),
        ("double", Val::Int(n)) => Some(Val::Double(*n as f64)),
        ("double", Val::Uint(n)) => Some(Val::Double(*n as f64)),
        ("double", Val::Text(text)) => text.parse().ok().map(Val::Double),
        ("string", of) => text_of(of).map(Val::owned),
        ("bool", Val::Bool(on)) => Some(Val::Bool(*on)),
        ("bool", Val::Text(text)) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Some(Val::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Some(Val::Bool(false)),
            _ => None,
        },
        ("bytes", Val::Text(text)) => Some(Val::Bytes(text.as_bytes().into())),
        ("bytes", Val::Bytes(_)) | ("duration", Val::Duration(_)) | ("timestamp", Val::Time(_)) => {
            Some(of.clone())
        }
        ("duration", Val::Text(text)) => duration(text).map(Val::Duration),
        ("timestamp", Val::Text(text)) => text.parse().ok().map(Val::Time),
        ("timestamp", Val::Int(n)) => jiff::Timestamp::from_second(*n).ok().map(Val::Time),
        ("quantity", Val::Text(text)) => text.parse().ok().map(Val::Quantity),
        _ => None,
    };
    out.ok_or_else(error)
}

fn is_url(text: &str) -> bool {
    text.starts_with('/')
        || text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some())
}

fn optional<'a>(name: &str, inner: Option<&Rc<Val<'a>>>, rest: &[Val<'a>]) -> Result<Val<'a>, String> {
    match (name, inner, rest) {
        ("hasValue", inner, []) => Ok(Val::Bool(inner.is_some())),
        ("value", Some(inner), []) | ("orValue", Some(inner), [_]) => Ok(Val::clone(inner)),
        ("value", None, []) => Err("optional.none() dereference".into()),
        ("orValue", None, [other]) => Ok(other.clone()),
        ("or", Some(inner), [Val::Optional(_)]) => Ok(Val::Optional(Some(inner.clone()))),
        ("or", None, [other @ Val::Optional(_)]) => Ok(other.clone()),
        _ => no_overload(),
    }
}

/// The place of a sign in a text, by its number.
fn place(text: &str, number: i64) -> Result<usize, String> {
    let wrong = || format!("index out of range: {number}");
    let number = usize::try_from(number).map_err(|_| wrong())?;
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.nth(number).ok_or_else(wrong)
}

fn number_of(text: &str, place: usize) -> i64 {
    text[..place].chars().count() as i64
}

fn of_text<'a>(
    name: &str,
    text: &str,
    rest: &[Val<'a>],
    pattern: Option<&Pattern>,
) -> Result<Val<'a>, String> {
    let pattern = || pattern.ok_or("no such overload");
    // Each part may be looked for to the end of the text.
    if name == "findAll" && text.len() > SEARCHED {
        return Err(format!("findAll looks at no more than {SEARCHED} bytes here"));
    }
    Ok(match (name, rest) {
        ("contains", [Val::Text(part)]) => Val::Bool(text.contains(&**part)),
        ("startsWith", [Val::Text(part)]) => Val::Bool(text.starts_with(&**part)),
        ("endsWith", [Val::Text(part)]) => Val::Bool(text.ends_with(&**part)),
        ("matches", [Val::Text(_)]) => Val::Bool(pattern()?.matches(text)),
        ("find", [Val::Text(_)]) => Val::owned(pattern()?.all(text).next().unwrap_or_default()),
        ("findAll", [Val::Text(_)]) => list(pattern()?.all(text)),
        ("findAll", [Val::Text(_), Val::Int(limit)]) => {
            list(pattern()?.all(text).take(usize::try_from(*limit).unwrap_or(usize::MAX)))
        }
        ("lowerAscii", []) => Val::owned(text.to_ascii_lowercase()),
        ("upperAscii", []) => Val::owned(text.to_ascii_uppercase()),
        ("trim", []) => Val::owned(text.trim()),
        ("reverse", []) => Val::owned(text.chars().rev().collect::<String>()),
        ("split", [Val::Text(by)]) => list(split(text, by, usize::MAX).into_iter()),
        ("split", [Val::Text(by), Val::Int(limit)]) => {
            list(split(text, by, usize::try_from(*limit).unwrap_or(usize::MAX)).into_iter())
        }
        ("replace", [Val::Text(from), Val::Text(to)]) => Val::owned(replaced(text, from, to, usize::MAX)?),
        ("replace", [Val::Text(from), Val::Text(to), Val::Int(limit)]) => {
            Val::owned(replaced(text, from, to, usize::try_from(*limit).unwrap_or(usize::MAX))?)
        }
        ("substring", [Val::Int(from)]) => Val::owned(&text[place(text, *from)?..]),
        ("substring", [Val::Int(from), Val::Int(to)]) => {
            let (from, to) = (place(text, *from)?, place(text, *to)?);
            let part = text
                .get(from..to)
                .ok_or_else(|| format!("invalid substring range. start: {from}, end: {to}"))?;
            Val::owned(part)
        }
        ("format", [values]) if values.is_list() => {
            Val::owned(format::text(text, &values.items().unwrap_or_default())?)
        }
        ("charAt", [Val::Int(at)]) => {
            Val::owned(text[place(text, *at)?..].chars().next().map(String::from).unwrap_or_default())
        }
        ("indexOf", [Val::Text(part)]) => Val::Int(text.find(&**part).map_or(-1, |at| number_of(text, at))),
        ("indexOf", [Val::Text(part), Val::Int(from)]) => {
            let from = place(text, *from)?;
            Val::Int(text[from..].find(&**part).map_or(-1, |at| number_of(text, from + at)))
        }
        ("lastIndexOf", [Val::Text(part)]) => {
            Val::Int(text.rfind(&**part).map_or(-1, |at| number_of(text, at)))
        }
        _ => return no_overload(),
    })
}

fn list<'a>(texts: impl Iterator<Item = String>) -> Val<'a> {
    Val::List(texts.map(Val::owned).collect())
}

fn split(text: &str, by: &str, limit: usize) -> Vec<String> {
    match limit {
        0 => Vec::new(),
        limit if by.is_empty() => text.chars().take(limit).map(String::from).collect(),
        limit => text.splitn(limit, by).map(str::to_owned).collect(),
    }
}

/// A text with parts replaced. What it would be longer than any request is refused before it is made.
fn replaced(text: &str, from: &str, to: &str, limit: usize) -> Result<String, String> {
    const LENGTH: usize = 3 << 20;
    let count = text.matches(from).take(limit).count();
    if count.saturating_mul(to.len()).saturating_add(text.len()) > LENGTH {
        return Err("a text is too long".into());
    }
    Ok(text.replacen(from, to, limit))
}

fn of_quantity<'a>(name: &str, quantity: Quantity, rest: &[Val<'a>]) -> Result<Val<'a>, String> {
    Ok(match (name, rest) {
        ("isGreaterThan", [Val::Quantity(other)]) => Val::Bool(quantity > *other),
        ("isLessThan", [Val::Quantity(other)]) => Val::Bool(quantity < *other),
        ("compareTo", [Val::Quantity(other)]) => Val::Int(quantity.cmp(other) as i64),
        ("sign", []) => Val::Int(quantity.nanos().signum() as i64),
        ("isInteger", []) => Val::Bool(quantity.nanos() % 1_000_000_000 == 0),
        ("asInteger", []) if quantity.nanos() % 1_000_000_000 == 0 => Val::Int(quantity.value()),
        ("asInteger", []) => return Err("cannot convert value to integer".into()),
        ("asApproximateFloat", []) => Val::Double(quantity.nanos() as f64 / 1e9),
        _ => return no_overload(),
    })
}

fn of_time<'a>(name: &str, at: jiff::Timestamp, arguments: &[Val<'a>]) -> Result<Val<'a>, String> {
    if arguments.len() > 1 {
        return Err("times in time zones are not supported here yet".into());
    }
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    Ok(Val::Int(match name {
        "getFullYear" => at.year().into(),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => at.day().into(),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getHours" => at.hour().into(),
        "getMinutes" => at.minute().into(),
        "getSeconds" => at.second().into(),
        "getMilliseconds" => at.millisecond().into(),
        _ => return no_overload(),
    }))
}

fn of_duration<'a>(name: &str, nanos: i64) -> Result<Val<'a>, String> {
    Ok(Val::Int(match name {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return no_overload(),
    }))
}

fn of_list<'a>(name: &str, items: &[Val<'a>], rest: &[Val<'a>]) -> Result<Val<'a>, String> {
    let best = |wanted: Ordering| -> Result<Val<'a>, String> {
        let mut all = items.iter();
        let mut best = all.next().ok_or_else(|| format!("{name} called on empty list"))?;
        for item in all {
            if item.compare(best).ok_or("no such overload")? == wanted {
                best = item;
            }
        }
        Ok(best.clone())
    };
    Ok(match (name, rest) {
        ("isSorted", []) => {
            let mut pairs = items.windows(2).map(|pair| pair[0].compare(&pair[1]));
            Val::Bool(pairs.all(|order| order.is_some_and(Ordering::is_le)))
        }
        ("sum", []) => {
            let mut items = items.iter();
            let Some(first) = items.next() else { return Ok(Val::Int(0)) };
            if !matches!(first, Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Duration(_)) {
                return no_overload();
            }
            return items.try_fold(first.clone(), |sum, item| arithmetic("+", &sum, item));
        }
        ("min", []) => return best(Ordering::Less),
        ("max", []) => return best(Ordering::Greater),
        ("indexOf", [wanted]) => {
            Val::Int(items.iter().position(|item| item.same(wanted)).map_or(-1, |at| at as i64))
        }
        ("lastIndexOf", [wanted]) => {
            Val::Int(items.iter().rposition(|item| item.same(wanted)).map_or(-1, |at| at as i64))
        }
        ("reverse", []) => Val::List(items.iter().rev().cloned().collect()),
        ("join", by) => {
            let by = match by {
                [] => "",
                [Val::Text(by)] => by,
                _ => return no_overload(),
            };
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| if let Val::Text(text) = item { Some(&**text) } else { None })
                .collect();
            Val::owned(texts.ok_or("no such overload")?.join(by))
        }
        _ => return no_overload(),
    })
}
