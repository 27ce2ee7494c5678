#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::custom::schema::Schema;

fn run(text: &str, this: &Value, old: Option<&Value>, budget: u64) -> Result<bool, String> {
    let program = Program::compile(text).map_err(|error| format!("{error:?}"))?;
    let mut budget = budget;
    match program.run(Val::of(this, None), old.map(|old| Val::of(old, None)), &mut budget)? {
        Val::Bool(on) => Ok(on),
        other => Err(format!("{other:?}")),
    }
}

/// Whether an expression holds of an object.
fn holds(text: &str, this: &Value) -> bool {
    run(text, this, None, 100_000).unwrap_or_else(|why| panic!("{text}: {why}"))
}

#[test]
fn what_holds() {
    let this = json!({"n": 3, "min": 1, "max": 5, "name": "web-1", "on": true, "none": null, "ratio": 0.5,
        "list": [1, 2, 3], "names": ["a", "b"], "map": {"k": "v", "l": "w"}, "o": {"p": {"q": 1}},
        "rules": [{"name": "x", "port": 80}, {"name": "y"}], "a-b": 1, "namespace": "n", "long": "1h30m"});
    for text in [
        "self.min <= self.n && self.n <= self.max",
        "self.n + 2 * 3 - 1 == 8 && self.n % 2 == 1 && 7 / 2 == 3 && -self.n == -3",
        "self.n in self.list && !(9 in self.list) && 'k' in self.map",
        "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.exists_one(x, x == 2)",
        "self.list.filter(x, x > 1).size() == 2 && self.list.map(x, x * 2) == [2, 4, 6] && self.list.map(x, x > 1, x + 1) == [3, 4]",
        "self.map.all(k, k.size() == 1) && self.map['k'] == 'v' && self.map.k == 'v'",
        "has(self.o.p) && !has(self.o.r) && !has(self.rules[1].port)",
        "self.rules.all(r, !has(r.port) || r.port == 80)",
        "self.rules.all(a, self.rules.exists_one(b, a.name == b.name))",
        "self.name.startsWith('web') && self.name.matches('^[a-z]+-[0-9]$') && self.name.endsWith(\"1\") && self.name.contains('-')",
        "size(self.name) == 5 && self.name.split('-')[1] == '1' && self.name.replace('-', '+') == 'web+1' && self.name.upperAscii() == 'WEB-1'",
        "self.name.substring(0, 3) == 'web' && self.name.indexOf('-') == 3 && self.name.charAt(0) == 'w'",
        "self.on ? self.n == 3 : false",
        "self.none == null && type(self.n) == int && string(self.n) == '3' && int('7') == 7 && double(self.n) == 3.0",
        "self.ratio * 2.0 == 1.0 && self.n == 3.0",
        "duration(self.long) == duration('90m') && duration('1h') < duration(self.long)",
        "timestamp('2026-11-29T10:00:00Z') + duration('1h') == timestamp('2026-11-29T11:00:00Z')",
        "timestamp('2026-11-29T10:00:00Z').getFullYear() == 2026",
        "quantity('1Gi').isGreaterThan(quantity('1000Mi')) && isQuantity('5m') && !isQuantity('x')",
        "isIP('10.0.0.1') && isCIDR('10.0.0.0/8') && isURL('https://example.com/x') && !isURL('x')",
        "self.list.sum() == 6 && self.list.max() == 3 && self.names.join(',') == 'a,b' && self.list.isSorted() && self.list.indexOf(2) == 1",
        "self.?gone.orValue('x') == 'x' && self.?n.orValue(0) == 3 && self.?o.?p.?q.hasValue() && self.map[?'z'].orValue('y') == 'y'",
        "cel.bind(x, self.n + 1, x * x == 16)",
        "{'a': 1}['a'] == 1 && {'a': 1, 'b': 2} == {'b': 2, 'a': 1} && [1] + [2] == [1, 2] && [] == []",
        "r'\\d' == '\\\\d' && '\\u0041' == 'A' && b'ab' == bytes('ab') && '''a'b''' == \"a'b\"",
        "self.__namespace__ == 'n' && self.a__dash__b == 1",
        "false && self.gone == 1 || true",
        "self.gone == 1 && false || true // what either side decides is decided",
        "0x10 == 16 && 1e3 == 1000.0 && 5u == 5u && 1u < 2u",
        "self.list.exists(x, x > 2 || self.gone)",
        "'é'.size() == 1 && 'aéb'.indexOf('b') == 2",
    ] {
        assert!(holds(text, &this), "{text}");
    }
}

/// In the manner of rules of the Gateway API and of operators.
#[test]
fn rules_as_they_are_written() {
    let route = json!({"parentRefs": [{"name": "gw"}, {"name": "gw", "sectionName": "tls", "namespace": "infra"}], "rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/a"}}], "timeouts": {"request": "10s", "backendRequest": "2s"},
         "filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 8080}}]},
        {"filters": [{"type": "URLRewrite"}]}]});
    let paired = r#"self.parentRefs.all(p1, self.parentRefs.exists_one(p2, p1.name == p2.name && (((!has(p1.__namespace__) ||
        p1.__namespace__ == '') && (!has(p2.__namespace__) || p2.__namespace__ == '')) || (has(p1.__namespace__) &&
        has(p2.__namespace__) && p1.__namespace__ == p2.__namespace__)) && (has(p1.sectionName) ? has(p2.sectionName) &&
        p1.sectionName == p2.sectionName : !has(p2.sectionName))))"#;
    for text in [
        paired,
        "self.rules.all(r, !(has(r.timeouts) && has(r.timeouts.request) && duration(r.timeouts.request) != duration('0s') && \
         duration(r.timeouts.backendRequest) > duration(r.timeouts.request)))",
        "self.rules.map(r, r.filters.filter(f, f.type == 'RequestRedirect').size()).max() <= 1",
        "self.rules.exists(r, r.filters.exists(f, f.type == 'RequestRedirect' && has(f.requestRedirect)))",
        "!self.rules.all(r, r.filters.all(f, !(f.type == 'URLRewrite' && !has(f.urlRewrite))))",
        r#"self.rules[0].matches[0].path.value.matches(r"""^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$""")"#,
        "self.rules[0].matches[0].path.type in ['Exact', 'PathPrefix', 'RegularExpression']",
        "self.rules[0].matches[0].path.type == 'PathPrefix' ? self.rules[0].matches[0].path.value.startsWith('/') : true",
        "(has(self.hostnames) ? self.hostnames : []).size() == 0",
        "self.rules.filter(r, has(r.matches)).all(r, r.matches.size() > 0)",
    ] {
        assert!(holds(text, &route), "{text}");
    }
}

#[test]
fn what_was_before() {
    let (old, new) = (json!({"n": 1}), json!({"n": 2}));
    let changed = "self.n >= oldSelf.n";
    assert!(Program::compile(changed).unwrap().old);
    assert!(!Program::compile("self.n > 0").unwrap().old);
    assert_eq!(run(changed, &new, Some(&old), 1000), Ok(true));
    assert_eq!(run(changed, &old, Some(&new), 1000), Ok(false));
}

#[test]
fn what_fails_says_why() {
    let this = json!({"n": 1, "list": [1], "s": "x"});
    for (text, why) in [
        ("self.gone == 1", "no such key: gone"),
        ("self.list[3] == 1", "index out of bounds: 3"),
        ("self.n / 0 == 1", "division by zero"),
        ("9223372036854775807 + self.n == 0", "integer overflow"),
        ("self.n + self.s == 1", "no such overload"),
        ("self.s.matches('(')", "error parsing regexp"),
        ("int(self.s) == 1", "type conversion error from 'string' to 'int'"),
    ] {
        let said = run(text, &this, None, 100_000).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn what_is_no_expression_is_refused() {
    for (text, why) in [
        ("self.n >", "the expression ends too early"),
        ("self.n ) 1", "unexpected \")\""),
        ("other.n > 1", "undeclared reference to 'other'"),
        ("self.n.frobnicate()", "undeclared reference to 'frobnicate'"),
        ("self.list.all(x.y, true)", "must be a simple name"),
        ("has(self)", "invalid argument to has()"),
        ("'a", "a text is not closed"),
        ("#", "token recognition error"),
        ("99999999999999999999 == 1", "not a number"),
    ] {
        let Err(CompileError::Wrong(said)) = Program::compile(text) else { panic!("{text} is accepted") };
        assert!(said.contains(why), "{text}: {said}");
    }
    for text in [
        "url(self.u).getHost() == 'x'",
        "sets.contains(self.a, self.b)",
        "format.dns1123Label().validate(self) == null",
    ] {
        let unsupported = Program::compile(text);
        assert!(matches!(unsupported, Err(CompileError::Unsupported(_))), "{unsupported:?}");
    }
}

#[test]
fn everything_has_a_price() {
    let many = json!({"l": (0..400).collect::<Vec<_>>(), "s": "x".repeat(10_000)});
    for text in [
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
        "self.l.all(a, self.s.contains('y') == false)",
        "self.l.map(a, self.s + self.s).size() == 400",
        "self.l.all(a, self.l == self.l)",
        "self.l.all(a, !([a] in [self.l, self.l]) && self.l in [self.l])",
        "self.l.exists(a, self.gone || self.l.all(b, self.l.all(c, a + b + c >= 0)))",
    ] {
        let said = run(text, &many, None, 100_000).unwrap_err();
        assert_eq!(said, "operation cancelled: actual cost limit exceeded", "{text}");
    }
    assert!(holds("self.l.all(a, a >= 0)", &many));
}

/// What is walked is paid before, and walked no further than the budget goes: none of these would end otherwise.
#[test]
fn what_stands_many_times_is_paid_each_time() {
    let doubled = |first: &str, pair: fn(usize) -> String, what: &str| {
        let binds: String = (1..=60).map(|n| format!("cel.bind(a{n}, {}, ", pair(n - 1))).collect();
        format!("cel.bind(a0, {first}, {binds}{what}{}", ")".repeat(61))
    };
    let list = |n: usize| format!("[a{n}, a{n}]");
    let this = json!({"l": [1, 2]});
    for text in [
        doubled("[0, 0]", list, "a60 == a60"),
        doubled("[0, 0]", list, "a60 in [1, a60]"),
        doubled("[0, 0]", list, "optional.of(a60) == optional.of(a60)"),
        doubled("[0, 0]", list, "[[a60]].indexOf([a60]) == 0"),
        doubled("[0, 0]", list, "a60.isSorted()"),
        doubled("[0, 0]", list, "a60 + a60 != []"),
        doubled("{'k': 0}", |n| format!("{{'a': a{n}, 'b': a{n}}}"), "a60 != a60"),
        doubled("optional.of(0)", |n| format!("[optional.of(a{n}), optional.of(a{n})]"), "a60 == a60"),
    ] {
        let said = run(&text, &this, None, 1_000_000).unwrap_err();
        assert_eq!(said, "operation cancelled: actual cost limit exceeded", "{text}");
    }
    // To hold them costs nothing.
    assert!(holds(&doubled("[0, 0]", list, "a60.size() == 2 && a60 != [a60]"), &this));
}

#[test]
fn keys_of_maps_are_plain_and_searched_for_a_price() {
    let this = json!({"l": (0..1000).collect::<Vec<_>>(), "s": "x".repeat(1 << 20)});
    for key in ["[1]", "{'a': 1}", "1.5", "null", "b'a'", "optional.of(1)", "duration('1s')"] {
        let said = run(&format!("{{{key}: 1}}.size() == 1"), &this, None, 1000).unwrap_err();
        assert!(said.starts_with("unsupported key type: "), "{key}: {said}");
    }
    assert!(holds("{true: 1, 2: 1, 'c': 1, 4u: 1}.size() == 4 && 2.0 in {2: 1} && !([1] in {2: 1})", &this));
    let entries: Vec<String> = (0..500).map(|n| format!("{n}: 0")).collect();
    let map = format!("{{{}}}", entries.join(", "));
    let long = |what: &str| {
        format!("cel.bind(t, self.s + 'y', cel.bind(m, {{self.s + 'x': 0}}, self.l.all(k, {what})))")
    };
    for (text, budget) in [
        (format!("{map}.size() == 500"), 100_000),
        (format!("cel.bind(m, {map}, self.l.all(k, m[?k] != optional.of(1)))"), 400_000),
        (format!("cel.bind(m, {map}, self.l.all(k, k in m || true))"), 400_000),
        (long("!(t in m)"), 400_000),
        (long("!m[?t].hasValue()"), 400_000),
    ] {
        let said = run(&text, &this, None, budget).unwrap_err();
        assert_eq!(said, "operation cancelled: actual cost limit exceeded", "{}", &text[text.len() - 60..]);
    }
}

/// What is made is paid before it is made, and what is dear by what it stands for.
#[test]
fn what_is_made_is_paid_before() {
    let this = json!({"l": vec!["a"; 60_000], "few": vec!["a"; 100], "s": "x".repeat(1 << 20)});
    for text in [
        "self.l.join(self.s) == ''",
        "self.s.split('').size() == 1",
        "self.s.matches('[^a]{900}')",
        "self.few.exists(a, a.matches('b{999}{99}' + a))",
    ] {
        let said = run(text, &this, None, 1_000_000).unwrap_err();
        assert_eq!(said, "operation cancelled: actual cost limit exceeded", "{text}");
    }
}

/// Each sign is looked at once: a text of a million would take days otherwise.
#[test]
fn reading_takes_time_that_grows_with_the_text() {
    assert_eq!(token::tokens(&"1 ".repeat(1 << 20)).unwrap().len(), 1 << 20);
    assert!(Program::compile(&" ".repeat(LENGTH + 1)).is_err());
}

/// What costs little takes little: steps that look at a part of something large do not look at all of it. Were one of these quadratic, it
/// would not end.
#[test]
fn what_is_cheap_is_quick() {
    let count = 60_000;
    let map: serde_json::Map<String, Value> = (0..count).map(|n| (format!("k{n}"), json!(n))).collect();
    let this = json!({"l": (0..count).collect::<Vec<_>>(), "m": map, "s": "x".repeat(1 << 20)});
    for text in [
        "self.l.all(a, self.l[0] <= a)",
        "self.l.all(a, self.m.k0 == 0 && has(self.m.k1))",
        "self.m.all(k, self.m[k] >= 0 && k in self.m)",
        "self.l.all(a, [a] != self.l)",
        "self.l.all(a, 1 != self.l && !([] == self.s))",
        "self.l.all(a, self.l[?70000] == optional.none())",
        "cel.bind(t, self.s + self.s, self.l.all(a, t != 'x'))",
    ] {
        run(text, &this, None, 10_000_000).unwrap_or_else(|why| panic!("{text}: {why}"));
    }
}

#[test]
fn nothing_is_too_deep() {
    let deep = format!("{}true{}", "(".repeat(300), ")".repeat(300));
    let chain = vec!["self.n"; 300].join(" + ");
    let not = format!("{}true", "!".repeat(300));
    let nested = format!("{}true{}", "[".repeat(300), "]".repeat(300));
    for text in [&deep, &chain, &not, &nested, &"a.".repeat(20_000)] {
        assert!(Program::compile(text).is_err(), "{}", &text[..20]);
    }
    assert!(Program::compile(&vec!["self.n"; 150].join(" + ")).is_ok());
    // Each of these puts what the one before made so deep again that neither comparing nor dropping it would end well.
    let wrap = format!(".map(v, {}v{})", "[".repeat(90), "]".repeat(90));
    assert!(Program::compile(&format!("[1]{}.size() == 1", wrap.repeat(10))).is_err());
    assert!(Program::compile(&format!("[1]{}.size() == 1", wrap.repeat(5))).is_ok());
}

#[test]
fn the_schema_says_what_values_are() {
    let schema = Schema::read(&json!({"type": "object", "properties": {
        "at": {"type": "string", "format": "date-time"}, "long": {"type": "string", "format": "duration"},
        "n": {"type": "number"}, "i": {"type": "integer"}}}));
    let this = json!({"at": "2026-11-29T10:00:00Z", "long": "1h", "n": 1, "i": 2.0});
    for text in [
        "self.at < timestamp('2026-11-30T00:00:00Z')",
        "self.long == duration('60m')",
        "type(self.n) == double && type(self.i) == int",
    ] {
        let program = Program::compile(text).unwrap();
        let out = program.run(Val::of(&this, Some(&schema)), None, &mut 1000);
        assert!(matches!(out, Ok(Val::Bool(true))), "{text}: {out:?}");
    }
}

/// Variables, each of which may look at those before it.
fn variables(told: &[(&str, &str)]) -> Vec<Variable> {
    let mut all: Vec<Variable> = Vec::new();
    for (name, text) in told {
        let program = Program::compile_among(text, &["self"], &all).map_err(|error| format!("{error:?}"));
        all.push(Variable { name: (*name).to_owned(), program });
    }
    all
}

#[test]
fn variables_are_worked_out_once_and_only_if_somebody_looks() {
    let this = json!({"l": (0..1000).collect::<Vec<_>>(), "x": "outer"});
    let all = variables(&[
        ("dear", "self.l.map(a, a + 1).sum()"),
        ("broken", "self.gone"),
        ("of", "'of ' + self.x"),
        ("twice", "variables.of + variables.of"),
        ("none", "self.x +"),
    ]);
    let texts = [
        "variables.dear == 500500",
        "variables.dear > 1 && has(variables.dear) && variables.?dear.hasValue()",
        "false && variables.broken == '' || true",
        // Elements of other names, and of the same, are not for it to see.
        "self.l.exists(self, variables.twice == 'of outerof outer' && self == 3)",
        "self.l.exists(variables, variables == 3)",
        "variables.broken == ''",
        "variables.none == ''",
    ];
    let programs: Vec<Program> =
        texts.iter().map(|text| Program::compile_among(text, &["self"], &all).unwrap()).collect();
    let mut lazy = Lazy::new(&all);
    let mut costs = Vec::new();
    for (text, program) in texts.iter().zip(&programs) {
        let mut left = 100_000;
        let out = program.run_among(vec![("self", Val::of(&this, None))], &mut lazy, &mut left);
        costs.push(100_000 - left);
        match (text.split(' ').next(), out) {
            (Some("variables.broken"), Err(why)) => {
                assert_eq!(why, "composited variable \"broken\" fails to evaluate: no such key: gone");
            }
            (Some("variables.none"), Err(why)) => {
                assert!(why.starts_with("composited variable \"none\" fails to compile: "), "{why}");
            }
            (_, out) => assert!(matches!(out, Ok(Val::Bool(true))), "{text}: {out:?}"),
        }
    }
    assert!(costs[0] > 3000 && costs[1] < 100, "{costs:?}");
    // What ran out of one budget is tried again with the next.
    let mut lazy = Lazy::new(&all);
    for (budget, ends) in [(1000, true), (100_000, false)] {
        let mut left = budget;
        let out = programs[0].run_among(vec![("self", Val::of(&this, None))], &mut lazy, &mut left);
        assert_eq!(out.is_err(), ends, "{out:?}");
    }
}

#[test]
fn variables_are_those_before_and_not_too_deep() {
    let all = variables(&[("a", "1"), ("b", "variables.a + 1")]);
    for (text, why) in [
        ("variables.c == 1", "undefined field 'c'"),
        ("variables == 1", "stands for nothing by itself"),
        ("variables['a'] == 1", "stands for nothing by itself"),
    ] {
        let Err(CompileError::Wrong(said)) = Program::compile_among(text, &[], &all) else {
            panic!("{text}")
        };
        assert!(said.contains(why), "{text}: {said}");
    }
    let said = Program::compile_among("variables.a == 1", &[], &[]).unwrap_err();
    let none = "undeclared reference to 'variables' (in container '')";
    assert_eq!(said, CompileError::Wrong(none.into()));
    // Each doubles the one before: to hold them costs nothing, to look at them what it takes; and a chain has an end.
    let texts: Vec<(String, String)> = (0..400_usize)
        .map(|n| match n.checked_sub(1) {
            None => ("v0".to_owned(), "[0, 0]".to_owned()),
            Some(before) => (format!("v{n}"), format!("[variables.v{before}, variables.v{before}]")),
        })
        .collect();
    let told: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let all = variables(&told);
    let deepest = all.iter().position(|variable| variable.program.is_err()).unwrap();
    assert!((50..150).contains(&deepest), "{deepest}");
    let said = all[deepest].program.as_ref().unwrap_err();
    assert!(said.contains("more than 200 deep in each other"), "{said}");
    let text = format!("variables.v{0} == variables.v{0}", deepest - 2);
    let program = Program::compile_among(&text, &[], &all).unwrap();
    let said = program.run_among(Vec::new(), &mut Lazy::new(&all), &mut 1_000_000).unwrap_err();
    assert_eq!(said, "operation cancelled: actual cost limit exceeded");
}

#[test]
fn values_are_written_into_texts() {
    let this = json!({"l": [1, "a", [2.5, true]], "m": {"b": 1, "a": null}});
    for (text, expected) in [
        ("'%s and %s'.format(['a', 1])", "a and 1"),
        ("'%d%%'.format([50])", "50%"),
        ("'%s %s'.format([self.l, self.m])", "[1, a, [2.5, true]] {a: null, b: 1}"),
        ("'%.2f|%f|%.0f'.format([1.5, 2, 3.0])", "1.50|2.000000|3"),
        ("'%e'.format([1500.0])", "1.500000e+03"),
        ("'%b %o %x %X %x'.format([5, 8, 255, 255, 'az'])", "101 10 ff FF 617a"),
        ("'%x'.format([-255])", "-ff"),
    ] {
        assert!(holds(&format!("{text} == '{expected}'"), &this), "{text}");
    }
    for (text, why) in [
        ("'%s'.format([])", "more clauses than values"),
        ("'%d'.format(['a'])", "%d is not for a string"),
        ("'%y'.format([1])", "unrecognized formatting clause"),
        ("'%.999f'.format([1.0])", "a precision of 999"),
        ("'%'.format([1])", "unexpected end of string"),
    ] {
        let said = run(&format!("{text} == ''"), &this, None, 100_000).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
    // A list in a list in a list costs what it takes to write it.
    let binds: String = (1..=40).map(|n| format!("cel.bind(a{n}, [a{0}, a{0}], ", n - 1)).collect();
    let text = format!("cel.bind(a0, [0, 0], {binds}'%s'.format([a40]) == ''{}", ")".repeat(41));
    let said = run(&text, &this, None, 1_000_000).unwrap_err();
    assert_eq!(said, "operation cancelled: actual cost limit exceeded");
}

#[test]
fn what_is_of_no_type_is_told_before() {
    for (text, kind) in [
        ("self.a > 1 && !self.b || has(self.c)", Kind::Bool),
        ("'a' + self.b", Kind::Text),
        ("self.a + self.b", Kind::Any),
        ("self.l.map(x, x.size())", Kind::List),
        ("self.a ? 'x' : 'y'", Kind::Text),
        ("self.a ? 'x' : null", Kind::Any),
        ("size(self.l) * 2", Kind::Int),
        ("timestamp(self.a) - timestamp(self.b)", Kind::Duration),
        ("timestamp(self.a) + duration('1h')", Kind::Time),
        ("1 < 2.0 && 1u <= 1", Kind::Bool),
        ("self.l.exists(x, x == 1)", Kind::Bool),
        ("cel.bind(x, 1, string(x))", Kind::Text),
    ] {
        assert_eq!(Program::compile_among(text, &["self"], &[]).unwrap().kind, kind, "{text}");
    }
    for (text, why) in [
        ("size(self.l) > 'a'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("'a' + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("!'a'", "found no matching overload for '!_' applied to '(string)'"),
        ("self.a && 1", "found no matching overload for '_&&_' applied to '(dyn, int)'"),
        ("1 ? true : false", "found no matching overload for '_?_:_' applied to '(int, bool, bool)'"),
        ("self.l.all(x, 1 == 'a')", "found no matching overload for '_==_' applied to '(int, string)'"),
    ] {
        let said = Program::compile_among(text, &["self"], &[]);
        assert_eq!(said.err(), Some(CompileError::Wrong(why.into())), "{text}");
    }
    // Rules of schemas are told where they are run.
    assert!(Program::compile("'a' + 1 == 'b'").is_ok());
}

#[derive(Debug)]
struct Anybody;

impl Judge for Anybody {
    fn may(&self, account: Option<(&str, &str)>, verb: &str, on: &Place) -> (bool, String) {
        (verb == "get", format!("{account:?} {on:?}"))
    }

    fn requested(&self) -> Place {
        Place::Path("/requested".into())
    }
}

#[test]
fn rights_are_asked_for_in_steps_and_cost() {
    let ask = |text: &str, budget: u64| {
        let program = Program::compile_with(text, &["authorizer"]).map_err(|error| format!("{error:?}"))?;
        assert!(program.asks, "{text}");
        let mut left = budget;
        let names = vec![("authorizer", Val::Rights(Rights::new(&Anybody)))];
        match program.run_with(names, &mut left)? {
            Val::Bool(on) => Ok((on, budget - left)),
            other => Err(format!("{other:?}")),
        }
    };
    let (on, cost) = ask("authorizer.path('/x').check('get').allowed()", 1_000_000).unwrap();
    assert!(on && cost > 350_000, "{cost}");
    for text in [
        "!authorizer.path('/x').check('put').allowed()",
        "authorizer.requestResource.check('get').reason().contains('/requested')",
        "authorizer.group('g').resource('r').subresource('s').namespace('n').name('o').check('get').reason() == \
         'None Resource { group: \"g\", resource: \"r\", subresource: \"s\", namespace: \"n\", name: \"o\" }'",
        "authorizer.serviceAccount('n', 'a').path('/x').check('get').reason().startsWith('Some((\"n\", \"a\"))')",
        "authorizer.group('').resource('pods').labelSelector('a=b').fieldSelector('c=d').check('get').allowed()",
        "!authorizer.path('/x').check('get').errored() && authorizer.path('/x').check('get').error() == ''",
    ] {
        assert!(ask(text, 1_000_000).unwrap_or_else(|why| panic!("{text}: {why}")).0, "{text}");
    }
    let one = "authorizer.path('/x').check('put').allowed()";
    let said = ask(&format!("{one} || {one} || {one}"), 1_000_000).unwrap_err();
    assert_eq!(said, "operation cancelled: actual cost limit exceeded");
    for text in [
        "authorizer.check('get').allowed()",
        "authorizer.path('').check('get').allowed()",
        "authorizer.resource('pods').check('get').allowed()",
        "authorizer.path('/x').name('n').check('get').allowed()",
        "authorizer.group(1).resource('a').check('get').allowed()",
        "authorizer.allowed()",
        "authorizer.gone == 1",
    ] {
        ask(text, 1_000_000).unwrap_err();
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_much(text in "(self|oldSelf|[a-z]|[0-9]|\\.|\\?|\\[|\\]|\\(|\\)|\\{|\\}|,|:|==|<|&&|\\|\\||!|-|\\+|/|'x'|\"|\\\\| |has|all|map|size|in|é){0,60}") {
        let this = json!({"a": [1, "x"], "b": {"c": null}});
        if let Ok(program) = Program::compile(&text) {
            let mut budget = 10_000;
            let _ = program.run(Val::of(&this, None), Some(Val::of(&this, None)), &mut budget);
        }
    }
}
