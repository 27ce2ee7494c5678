//! Flow schemas and priority levels: defaults, validation, columns. What they do to requests is the business of `flow/`.
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use kontiki_actors::{Kind, ObjectKey, flow::defaults};
use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{self, default, items, number, object, section, text},
    names::NameRule,
};
use crate::flow::shuffle;

const LARGEST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The strategy of flow schemas.
pub static FLOW_SCHEMA: Strategy = Strategy {
    default: |schema| {
        let spec = section(schema, "spec");
        if spec.get("matchingPrecedence").is_none_or(|precedence| precedence.is_null() || precedence == 0) {
            spec.insert("matchingPrecedence".into(), 1000.into());
        }
    },
    validate: schema,
    columns: &[
        Column::text("PriorityLevel"),
        Column::number("MatchingPrecedence"),
        Column::text("DistinguisherMethod"),
        Column::text("Age"),
        Column::text("MissingPL"),
    ],
    cells: |schema, now| {
        let spec = &schema["spec"];
        let by = text(&spec["distinguisherMethod"], "type");
        let mut conditions = items(&schema["status"], "conditions").map(|(_, condition)| condition);
        let dangling = conditions.find(|condition| text(condition, "type") == "Dangling");
        vec![
            text(&spec["priorityLevelConfiguration"], "name").into(),
            number(spec, "matchingPrecedence").into(),
            if by.is_empty() { "<none>" } else { by }.into(),
            age(schema, now),
            dangling.map_or("?", |condition| text(condition, "status")).into(),
        ]
    },
    status: true,
    ..Strategy::PASSIVE
};

/// The strategy of priority levels.
pub static PRIORITY_LEVEL: Strategy = Strategy {
    default: |level| {
        let spec = section(level, "spec");
        match spec.get("type").and_then(Value::as_str) {
            Some("Exempt") => {
                let exempt = object(spec, "exempt");
                default(exempt, "nominalConcurrencyShares", 0);
                default(exempt, "lendablePercent", 0);
            }
            _ => {
                for limited in each_object(spec, "limited") {
                    default(limited, "nominalConcurrencyShares", 30);
                    default(limited, "lendablePercent", 0);
                    for response in each_object(limited, "limitResponse") {
                        for queuing in each_object(response, "queuing") {
                            for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                                if queuing.get(key).is_none_or(|given| given.is_null() || given == 0) {
                                    queuing.insert(key.into(), value.into());
                                }
                            }
                        }
                    }
                }
            }
        }
    },
    validate: level,
    columns: &[
        Column::text("Type"),
        Column::text("NominalConcurrencyShares"),
        Column::text("Queues"),
        Column::text("HandSize"),
        Column::text("QueueLengthLimit"),
        Column::text("Age"),
    ],
    cells: |level, now| {
        let spec = &level["spec"];
        let shown = |value: &Value| -> Value {
            if value.is_number() { value.to_string().into() } else { "<none>".into() }
        };
        let limits = if spec["exempt"].is_object() { &spec["exempt"] } else { &spec["limited"] };
        let queuing = &spec["limited"]["limitResponse"]["queuing"];
        vec![
            text(spec, "type").into(),
            shown(&limits["nominalConcurrencyShares"]),
            shown(&queuing["queues"]),
            shown(&queuing["handSize"]),
            shown(&queuing["queueLengthLimit"]),
            age(level, now),
        ]
    },
    status: true,
    ..Strategy::PASSIVE
};

/// The object at a key, if there is one.
fn each_object<'a>(
    map: &'a mut serde_json::Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut serde_json::Map<String, Value>> {
    map.get_mut(key).and_then(Value::as_object_mut).into_iter()
}

/// What must be says what it must say; but how much is lent to those who are exempt may be changed.
fn mandatory(kind: Kind, object: &Value, errors: &mut Errors) {
    let name = text(&object["metadata"], "name");
    if kind == Kind::PRIORITY_LEVEL_CONFIGURATION && name == defaults::EXEMPT {
        return;
    }
    let wanted = defaults::mandatory_spec(&ObjectKey::new(kind, "", name));
    if wanted.is_some_and(|wanted| !fields::same(&object["spec"], &wanted)) {
        errors.invalid("spec", &object["spec"], &format!("spec of '{name}' must equal the fixed value"));
    }
}

fn schema(schema: &Value, errors: &mut Errors) {
    let (spec, name) = (&schema["spec"], text(&schema["metadata"], "name"));
    let precedence = number(spec, "matchingPrecedence");
    let mut wrong = |detail: &str| errors.invalid("spec.matchingPrecedence", &precedence.into(), detail);
    if precedence <= 0 {
        wrong("must be a positive value");
    }
    if precedence > LARGEST_PRECEDENCE {
        wrong("must not be greater than 10000");
    }
    if precedence == 1 && name != defaults::EXEMPT {
        wrong("only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if spec["distinguisherMethod"].is_object() {
        let by = text(&spec["distinguisherMethod"], "type");
        if !["ByNamespace", "ByUser"].contains(&by) {
            errors.not_supported("spec.distinguisherMethod.type", by, &["ByNamespace", "ByUser"]);
        }
    }
    let (path, level) =
        ("spec.priorityLevelConfiguration.name", text(&spec["priorityLevelConfiguration"], "name"));
    if level.is_empty() {
        errors.required(path, "must reference a priority level");
    } else {
        NameRule::Subdomain.check(level).iter().for_each(|wrong| errors.invalid_text(path, level, wrong));
    }
    for (at, rule) in items(spec, "rules") {
        rule_of(rule, &format!("spec.rules[{at}]"), errors);
    }
    mandatory(Kind::FLOW_SCHEMA, schema, errors);
}

fn rule_of(rule: &Value, path: &str, errors: &mut Errors) {
    if items(rule, "subjects").next().is_none() {
        errors.required(&format!("{path}.subjects"), "subjects must contain at least one value");
    }
    for (at, subject) in items(rule, "subjects") {
        subject_of(subject, &format!("{path}.subjects[{at}]"), errors);
    }
    let (mut resources, mut paths) =
        (items(rule, "resourceRules").peekable(), items(rule, "nonResourceRules").peekable());
    if resources.peek().is_none() && paths.peek().is_none() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (at, rule) in resources {
        resource_rule(rule, &format!("{path}.resourceRules[{at}]"), errors);
    }
    for (at, rule) in paths {
        path_rule(rule, &format!("{path}.nonResourceRules[{at}]"), errors);
    }
}

fn subject_of(subject: &Value, path: &str, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] =
        [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        errors.not_supported(&format!("{path}.kind"), kind, &KINDS.map(|(kind, _)| kind));
        return;
    };
    let of = &subject[*own];
    let own_path = format!("{path}.{own}");
    if !of.is_object() {
        errors.required(&own_path, &format!("{own} is required when subject kind is '{kind}'"));
    } else {
        let name = text(of, "name");
        if name.is_empty() {
            errors.required(&format!("{own_path}.name"), "");
        } else if kind == "ServiceAccount" && name != "*" {
            let path = format!("{own_path}.name");
            NameRule::Subdomain.check(name).iter().for_each(|wrong| errors.invalid_text(&path, name, wrong));
        }
        if kind == "ServiceAccount" {
            let (path, namespace) = (format!("{own_path}.namespace"), text(of, "namespace"));
            if namespace.is_empty() {
                errors.required(&path, "must specify namespace for service account");
            } else {
                let wrong = NameRule::Label.check(namespace);
                wrong.iter().for_each(|wrong| errors.invalid_text(&path, namespace, wrong));
            }
        }
    }
    for (other, key) in KINDS.iter().filter(|(other, key)| *other != kind && subject[*key].is_object()) {
        let detail = format!("{key} is forbidden when subject kind is not '{other}'");
        errors.forbidden(&format!("{path}.{key}"), &detail);
    }
}

fn verbs(rule: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.verbs");
    let mut given = items(rule, "verbs").filter_map(|(_, verb)| verb.as_str()).peekable();
    if given.peek().is_none() {
        errors.required(&path, "verbs must contain at least one value");
    } else if !alone(rule, "verbs", &path, "verbs", errors)
        && let Some(unknown) = given.find(|verb| *verb != "*" && !VERBS.contains(verb))
    {
        errors.not_supported(&path, unknown, &VERBS);
    }
}

/// `*` stands alone; tells whether it is there.
fn alone(rule: &Value, key: &str, path: &str, what: &str, errors: &mut Errors) -> bool {
    let all = items(rule, key).any(|(_, item)| item == "*");
    if all && items(rule, key).count() > 1 {
        errors.invalid(path, &rule[key], &format!("if '*' is present, must not specify other {what}"));
    }
    all
}

fn resource_rule(rule: &Value, path: &str, errors: &mut Errors) {
    verbs(rule, path, errors);
    for (key, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let path = format!("{path}.{key}");
        if items(rule, key).next().is_none() {
            errors.required(&path, &format!("resource rules must supply at least one {one}"));
        } else {
            alone(rule, key, &path, many, errors);
        }
    }
    let own = format!("{path}.namespaces");
    let mut namespaces = items(rule, "namespaces").peekable();
    if namespaces.peek().is_none() {
        if rule["clusterScope"] != true {
            let detail = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(&own, detail);
        }
    } else if !alone(rule, "namespaces", &own, "namespaces", errors) {
        for (at, namespace) in namespaces {
            let name = namespace.as_str().unwrap_or_default();
            for wrong in NameRule::Label.check(name) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.invalid_text(&format!("{own}[{at}]"), name, &detail);
            }
        }
    }
}

fn path_rule(rule: &Value, path: &str, errors: &mut Errors) {
    verbs(rule, path, errors);
    let own = format!("{path}.nonResourceURLs");
    let mut urls = items(rule, "nonResourceURLs").peekable();
    if urls.peek().is_none() {
        errors.required(&own, "nonResourceURLs must contain at least one value");
    } else if !alone(rule, "nonResourceURLs", &own, "non-resource URLs", errors) {
        for (at, url) in urls {
            let url = url.as_str().unwrap_or_default();
            let wrong = match url {
                "" => "must not be empty",
                "/" => continue,
                url if !url.starts_with('/') => "must start with slash",
                url if url.contains(' ') => "must not contain white-space",
                url if url.contains("//") => "must not contain double slash",
                url if url.strip_suffix("/*").unwrap_or(url).contains('*') => {
                    "wildcard can only do suffix matching"
                }
                _ => continue,
            };
            errors.invalid_text(&format!("{own}[{at}]"), url, wrong);
        }
    }
}

fn level(level: &Value, errors: &mut Errors) {
    let (spec, name) = (&level["spec"], text(&level["metadata"], "name"));
    let kind = text(spec, "type");
    if (name == defaults::EXEMPT) != (kind == "Exempt") {
        errors.invalid_text("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if spec["limited"].is_object() {
                errors.forbidden("spec.limited", "must be nil if the type is not Limited");
            }
        }
        "Limited" => {
            if spec["exempt"].is_object() {
                errors.forbidden("spec.exempt", "must be nil if the type is Limited");
            }
            match &spec["limited"] {
                limited @ Value::Object(_) => limits(limited, errors),
                _ => errors.required("spec.limited", "must not be empty when type is Limited"),
            }
        }
        other => errors.not_supported("spec.type", other, &["Exempt", "Limited"]),
    }
    mandatory(Kind::PRIORITY_LEVEL_CONFIGURATION, level, errors);
}

fn limits(limited: &Value, errors: &mut Errors) {
    const PATH: &str = "spec.limited";
    let shares = number(limited, "nominalConcurrencyShares");
    if shares < 0 {
        let path = format!("{PATH}.nominalConcurrencyShares");
        errors.invalid(&path, &shares.into(), "must be a non-negative integer");
    }
    let lendable = number(limited, "lendablePercent");
    if !(0..=100).contains(&lendable) {
        let path = format!("{PATH}.lendablePercent");
        errors.invalid(&path, &lendable.into(), "must be between 0 and 100, inclusive");
    }
    if number(limited, "borrowingLimitPercent") < 0 {
        let path = format!("{PATH}.borrowingLimitPercent");
        let value = &limited["borrowingLimitPercent"];
        errors.invalid(&path, value, "if specified, must be a non-negative integer");
    }
    let response = &limited["limitResponse"];
    let path = format!("{PATH}.limitResponse");
    match (text(response, "type"), response["queuing"].is_object()) {
        ("Reject", true) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(&format!("{path}.queuing"), detail);
        }
        ("Queue", false) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(&format!("{path}.queuing"), detail);
        }
        ("Queue", true) => queues(&response["queuing"], &format!("{path}.queuing"), errors),
        ("Reject", false) => {}
        (other, _) => errors.not_supported(&format!("{path}.type"), other, &["Queue", "Reject"]),
    }
}

fn queues(queuing: &Value, path: &str, errors: &mut Errors) {
    let [length, queues, hand] = ["queueLengthLimit", "queues", "handSize"].map(|key| number(queuing, key));
    let mut wrong =
        |key: &str, value: i64, detail: &str| errors.invalid(&format!("{path}.{key}"), &json!(value), detail);
    if length <= 0 {
        wrong("queueLengthLimit", length, "must be positive");
    }
    if queues <= 0 {
        wrong("queues", queues, "must be positive");
    } else if queues > MOST_QUEUES {
        wrong("queues", queues, &format!("must not be greater than {MOST_QUEUES}"));
    }
    if hand <= 0 {
        wrong("handSize", hand, "must be positive");
    } else if hand > queues {
        wrong("handSize", hand, &format!("should not be greater than queues ({queues})"));
    } else if let Some(bits) = shuffle::too_many_bits(queues, hand) {
        let most = shuffle::MOST_BITS;
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {most}"
        );
        debug_assert!(bits > most);
        wrong("handSize", hand, &detail);
    }
}
