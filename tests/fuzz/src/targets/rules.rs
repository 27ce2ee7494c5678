//! Expressions in CEL: an input is an object with a rule, and the value that it is about, perhaps with the one before.

use kontiki_api::fuzzing;
use serde_json::Value;

use super::{Target, owned, same};
use crate::engine::mark;

pub(super) const CEL: Target = Target::documents("cel", seeds, cel).with(8 << 10, 12_000);

/// What a rule of a definition may cost.
const BUDGET: u64 = 1_000_000;
const LITTLE: u64 = 2_000;

fn seeds() -> Vec<Vec<u8>> {
    let this = r#"{"n":3,"min":1,"name":"web-1","on":true,"none":null,"ratio":0.5,"list":[1,2,3],"names":["a","b"],"map":{"k":"v"},"o":{"p":{"q":1}},"rules":[{"name":"x","port":80},{"name":"y"}],"long":"1h30m","namespace":"n"}"#;
    let rules = [
        "self.min <= self.n && self.n + 2 * 3 - 1 == 8 && -self.n % 2 == -1 || !(9 in self.list)",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.filter(x, x > 1).size() == 2 && self.list.map(x, x * 2) == [2, 4, 6]",
        "self.rules.all(a, self.rules.exists_one(b, a.name == b.name)) && has(self.o.p) && !has(self.rules[1].port)",
        "self.name.startsWith('web') && self.name.matches('^[a-z]+-[0-9]$') && self.name.findAll('[a-z]').join(',') == 'w,e,b'",
        "self.name.split('-')[1] == '1' && self.name.replace('-', '+').upperAscii().substring(0, 3).indexOf('E') == 1",
        "duration(self.long) == duration('90m') && timestamp('2026-11-29T10:00:00Z').getFullYear() == 2026",
        "quantity('1Gi').isGreaterThan(quantity('1000Mi')) && isIP('10.0.0.1') && cidr('10.0.0.0/8').containsIP('10.1.1.1') && isURL('https://a.b/c')",
        "self.?gone.orValue('x') == 'x' && self.map[?'z'].orValue('y') == 'y' && cel.bind(x, self.n + 1, x * x == 16)",
        "{'a': 1, 'b': 2}['a'] == 1 ? b'ab' == bytes('ab') : r'\\d' == '''\\u0041''' && 0x10 == 16 && 1e3 == 1000.0 && 5u == 5u",
        "oldSelf.n <= self.n && type(self.n) == int && string(self.n) == '3' && double('1.5') > 1.0 && self.names.isSorted()",
        "self.list.map(a, self.list.map(b, self.list.map(c, self.list.map(d, a + b + c + d)))).size() > 0",
    ];
    let text =
        |rule: &&str| format!(r#"{{"rule":{},"self":{this},"old":{this}}}"#, Value::from(*rule)).into_bytes();
    let mut seeds: Vec<Vec<u8>> = rules.iter().map(text).collect();
    seeds.extend(owned(&[
        br#"{"rule":"self == 'a' + \"b\"","self":"ab"}"#,
        br#"{"rule":"self.size() < 5","self":[]}"#,
    ]));
    seeds
}

fn cel(input: &[u8]) -> Result<bool, String> {
    let Ok(Value::Object(given)) = serde_json::from_slice(input) else { return Ok(false) };
    let nothing = Value::Null;
    let (rule, this) = (given.get("rule").and_then(Value::as_str), given.get("self").unwrap_or(&nothing));
    let (Some(rule), old) = (rule, given.get("old")) else { return Ok(false) };
    let done = fuzzing::cel(rule, this, old, BUDGET);
    mark(done.kind.unwrap_or_default());
    mark(done.value.as_ref().err().map_or("", String::as_str));
    if let (Some(kind), Some(told)) = (done.kind, done.told) {
        // Of lists and maps it tells of what they are.
        same("the type of the value", &kind, &told.split('(').next().unwrap_or_default())?;
    }
    // Who has less to spend comes to the same, if it is enough.
    let less = fuzzing::cel(rule, this, old, LITTLE);
    let cost = BUDGET - done.left;
    if cost <= LITTLE {
        same("the value with less to spend", &less.value, &done.value)?;
        same("the cost with less to spend", &(LITTLE - less.left), &cost)?;
    }
    Ok(done.value.is_ok())
}
