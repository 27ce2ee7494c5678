#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn labels() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("app", "web"), ("tier", "front"), ("weight", "7"), ("empty", "")])
}

fn matches(selector: &str) -> bool {
    selector.parse::<Selector>().unwrap().matches(&labels())
}

fn refused(selector: &str) -> String {
    selector.parse::<Selector>().unwrap_err().0
}

#[test]
fn label_selectors_match_as_written() {
    for yes in [
        "",
        "  ",
        "app=web",
        "app==web",
        "app = web , tier=front",
        "app!=db",
        "absent!=x",
        "app in (web,db)",
        "app in ( web )",
        "app notin (db)",
        "absent notin (x)",
        "app",
        "!absent",
        "app,!absent,tier in (front)",
        "weight>5",
        "weight<8",
        "empty=",
        "empty in (,x)",
        "in!=x",
        "weight > 6",
    ] {
        assert!(matches(yes), "{yes:?}");
    }
    for no in [
        "app=db",
        "app!=web",
        "absent=x",
        "app in (db)",
        "app notin (web)",
        "absent",
        "!app",
        "app=web,tier=back",
        "weight>7",
        "weight<7",
        "app>1",
        "absent>1",
        "absent=",
    ] {
        assert!(!matches(no), "{no:?}");
    }
}

#[test]
fn bad_label_selectors_are_refused_in_the_words_of_kubernetes() {
    for (selector, text) in [
        ("app=web,", "found '', expected: identifier after ','"),
        (",app", "found ',', expected: !, identifier, or 'end of string'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app=(web)", "unable to parse requirement: found '(', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("app=web)", "found ')', expected: ',' or 'end of string'"),
        ("!app=x", "found '=', expected: ',' or 'end of string'"),
    ] {
        assert_eq!(refused(selector), text, "{selector:?}");
    }
    assert!(refused("a b/c/d=x").starts_with("unable to parse requirement: found 'b/c/d', expected: in"));
    assert!(refused("-app=x").starts_with(
        "unable to parse requirement: <nil>: Invalid value: \"-app\": name part must consist of"
    ));
    assert!(refused("Example.com/a=x").contains("prefix part a lowercase RFC 1123 subdomain"));
    assert!(refused("app=we@b").contains("values[0][app]: Invalid value: \"we@b\": a valid label must be"));
    assert!(refused("app in ()").contains("for 'in', 'notin' operators, values set can't be empty"));
    assert!(refused("app>x").contains("the value must be an integer"));
    assert!(refused(&"a,".repeat(40_000)).contains("may not be longer"));
}

#[test]
fn selectors_print_as_they_parse() {
    for text in ["app=web", "!absent,app in (a,b),tier", "weight>5", "a!=b", "a notin (,)", "a in (,b)"] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
    }
    assert_eq!("z,a".parse::<Selector>().unwrap().to_string(), "a,z");
}

#[test]
fn selector_objects_match() {
    let select = |object| Selector::from_object(Some(&object)).unwrap().matches(&labels());
    assert!(select(json!({})));
    assert!(select(json!({"matchLabels": {"app": "web"}})));
    assert!(select(json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["front", "back"]}, {"key": "absent", "operator": "DoesNotExist"},
        {"key": "app", "operator": "NotIn", "values": ["db"]}, {"key": "weight", "operator": "Exists"}]})));
    assert!(!select(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})));
    assert!(!Selector::from_object(None).unwrap().matches(&labels()));
    assert!(Selector::from_object(None).unwrap().is_nothing());
    assert!(Selector::from_labels(Some(&json!({}))).unwrap().is_nothing());
    assert!(Selector::from_labels(Some(&json!({"app": "web"}))).unwrap().matches(&json!({"app": "web"})));
    let error = Selector::from_object(Some(&json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})))
        .unwrap_err();
    assert_eq!(error.0, "\"Near\" is not a valid label selector operator");
}

#[test]
fn field_selectors_compare_texts() {
    let pod = |field: &str| match field {
        "metadata.name" => Some("a"),
        "status.phase" => Some("Running"),
        "odd" => Some("x,y=z\\"),
        _ => None,
    };
    let matches = |text: &str| text.parse::<FieldSelector>().unwrap().matches(pod);
    for yes in [
        "",
        "metadata.name=a",
        "metadata.name==a,status.phase=Running",
        "status.phase!=Failed,",
        "spec.nodeName=",
        "odd=x\\,y\\=z\\\\",
    ] {
        assert!(matches(yes), "{yes:?}");
    }
    for no in ["metadata.name=b", "metadata.name!=a", "spec.nodeName!=", "spec.nodeName=n"] {
        assert!(!matches(no), "{no:?}");
    }
    let selector: FieldSelector = "metadata.name=a,status.phase!=Failed".parse().unwrap();
    assert_eq!((selector.exact("metadata.name"), selector.exact("status.phase")), (Some("a"), None));
    assert_eq!(
        selector.require_known(|f| f == "metadata.name").unwrap_err().0,
        "field label not supported: status.phase"
    );
    assert_eq!(selector.to_string(), "metadata.name=a,status.phase!=Failed");
    for (text, error) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(text.parse::<FieldSelector>().unwrap_err().0, error);
    }
}
