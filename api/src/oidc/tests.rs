#![allow(clippy::unwrap_used)]
use kontiki_pki::{AccountKeys, Ca};
use serde_json::json;

use super::*;

/// The user that these mappings make of claims.
fn mapped(mappings: &str, claims: &Value) -> Result<User, String> {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: https://a, audiences: [a]}}\n  {mappings}\n"
    );
    Configuration::read(&text).unwrap().issuers[0].mapping.user(claims)
}

#[test]
fn names_are_those_of_claims_with_their_prefix() {
    let mappings = "claimMappings: {username: {claim: name, prefix: 'u:'}, groups: {claim: groups, prefix: 'g:'}, uid: {claim: id}}";
    let user = |groups: Value| mapped(mappings, &json!({"name": "jane", "id": "7", "groups": groups}));
    let all = user(json!(["a", "", "b"])).unwrap();
    assert_eq!((all.name.as_str(), all.uid.as_str()), ("u:jane", "7"));
    assert_eq!(all.groups, ["g:a", "g:b", "system:authenticated"]);
    assert!(all.extra.is_empty());
    assert_eq!(user(json!("a")).unwrap().groups, ["g:a", "system:authenticated"]);
    for none in [json!([]), json!(null), json!("")] {
        assert_eq!(user(none).unwrap().groups, ["system:authenticated"]);
    }
    for wrong in [json!(7), json!({"a": "b"}), json!(["a", 7]), json!([["a"]]), json!(true)] {
        assert!(user(wrong).unwrap_err().contains("parse groups claim"));
    }
    assert_eq!(
        mapped(mappings, &json!({"name": "jane", "id": "7"})).unwrap().groups,
        ["system:authenticated"]
    );
    let elsewhere =
        |names: Value| mapped(mappings, &json!({"name": "jane", "id": "7", "_claim_names": names}));
    assert!(elsewhere(json!({"groups": "src1"})).unwrap_err().contains("such claims are not fetched"));
    elsewhere(json!({"address": "src1"})).unwrap();
    for (claims, why) in [
        (json!({"id": "7"}), "parse username claims \"name\": claim not present"),
        (json!({"name": 7, "id": "7"}), "parse username claims \"name\": it is no string"),
        (json!({"name": ["jane"], "id": "7"}), "it is no string"),
        (json!({"name": "", "id": "7"}), "an empty username is not allowed"),
        (json!({"name": "jane"}), "parse uid claim \"id\": claim not present"),
    ] {
        assert!(mapped(mappings, &claims).unwrap_err().contains(why), "{claims}");
    }
}

#[test]
fn an_address_must_be_verified_if_the_issuer_says_whether_it_is() {
    let mappings = "claimMappings: {username: {claim: email, prefix: ''}}";
    let user = |claims: Value| mapped(mappings, &claims).map(|user| user.name);
    assert_eq!(user(json!({"email": "a@b"})).unwrap(), "a@b");
    assert_eq!(user(json!({"email": "a@b", "email_verified": true})).unwrap(), "a@b");
    for verified in [json!(false), json!("true"), json!(null), json!(1)] {
        assert_eq!(
            user(json!({"email": "a@b", "email_verified": verified})).unwrap_err(),
            "email not verified"
        );
    }
    // Of other claims it says nothing.
    let other = "claimMappings: {username: {claim: sub, prefix: ''}}";
    mapped(other, &json!({"sub": "a", "email_verified": false})).unwrap();
}

#[test]
fn names_of_the_cluster_are_nobodys() {
    let plain = "claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: groups, prefix: ''}}";
    let prefixed =
        "claimMappings: {username: {claim: sub, prefix: 'a:'}, groups: {claim: groups, prefix: 'a:'}}";
    let expressed =
        "claimMappings: {username: {expression: claims.sub}, groups: {expression: claims.groups}}";
    for (name, group) in [("system:admin", "a"), ("jane", "system:masters"), ("system:", "a")] {
        let claims = json!({"sub": name, "groups": ["b", group]});
        for mappings in [plain, expressed] {
            let said = mapped(mappings, &claims).unwrap_err();
            assert!(said.contains("belong to the cluster itself"), "{said}");
        }
        mapped(prefixed, &claims).unwrap();
    }
    mapped(plain, &json!({"sub": "systematic", "groups": "System:x"})).unwrap();
}

#[test]
fn expressions_give_texts() {
    let of = |what: &str, expression: &str, claims: &Value| {
        let told = format!("{what}: {{expression: \"{expression}\"}}");
        let username = if what == "username" { "" } else { "username: {claim: sub, prefix: ''}, " };
        mapped(&format!("claimMappings: {{{username}{told}}}"), claims)
    };
    let claims = json!({"sub": "jane", "a": {"b": "c"}, "list": ["x", "", "y"], "n": 7, "https://a/b": "d"});
    assert_eq!(of("username", "claims.a.b + '-' + claims['https://a/b']", &claims).unwrap().name, "c-d");
    assert_eq!(of("uid", "string(claims.n)", &claims).unwrap().uid, "7");
    for (expression, groups) in [
        ("claims.list", &["x", "y"][..]),
        ("claims.a.b", &["c"]),
        ("claims.?missing.orValue([])", &[]),
        ("''", &[]),
        ("null", &[]),
    ] {
        let mut expected: Vec<&str> = groups.to_vec();
        expected.push("system:authenticated");
        assert_eq!(of("groups", expression, &claims).unwrap().groups, expected, "{expression}");
    }
    for (what, expression, why) in [
        ("username", "claims.n", "claim expression must return a string"),
        ("username", "claims.list", "claim expression must return a string"),
        ("username", "claims.missing", "error evaluating username claim expression"),
        ("username", "''", "an empty username is not allowed"),
        ("uid", "claims.n", "error evaluating uid claim expression"),
        ("groups", "claims.n", "expression must return a string or a list of strings"),
        ("groups", "[claims.n]", "expression must return a string or a list of strings"),
        ("groups", "claims.a", "expression must return a string or a list of strings"),
    ] {
        let said = of(what, expression, &claims).unwrap_err();
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
}

#[test]
fn rules_must_be_true_and_within_the_budget() {
    let names = "claimMappings: {username: {claim: sub, prefix: ''}}";
    let rule = |kind: &str, expression: &str| {
        let rules = format!("{names}\n  {kind}: [{{expression: \"{expression}\", message: told}}]");
        mapped(&rules, &json!({"sub": "jane", "list": vec![0; 3000], "true": "yes"}))
    };
    for kind in ["claimValidationRules", "userValidationRules"] {
        rule(kind, "true").unwrap();
        assert!(rule(kind, "1 == 2").unwrap_err().contains("validation expression '1 == 2' failed: told"));
        assert!(rule(kind, "'true'").unwrap_err().contains("must return a boolean"));
    }
    rule("userValidationRules", "user.uid == '' && size(user.extra) == 0 && size(user.groups) == 0").unwrap();
    let costly = "claims.list.all(a, claims.list.all(b, a == b))";
    assert!(rule("claimValidationRules", costly).unwrap_err().contains("cost limit exceeded"));
    // What was spent stays spent: many that are not too dear by themselves may be so together.
    let together = |count: usize| {
        let rules = (0..count).map(|n| format!("{{expression: \"claims.list.all(a, a == a || a == {n})\"}}"));
        let rules = rules.collect::<Vec<_>>().join(", ");
        let claims = json!({"sub": "jane", "list": vec![0; 60_000]});
        mapped(&format!("{names}\n  claimValidationRules: [{rules}]"), &claims)
    };
    together(4).unwrap();
    assert!(together(12).unwrap_err().contains("cost limit exceeded"));
}

#[test]
fn claims_must_have_the_values_that_are_required() {
    let rules = "claimMappings: {username: {claim: sub, prefix: ''}}\n  claimValidationRules: [{claim: hd, requiredValue: a}, {claim: empty}]";
    let user = |hd: Value, empty: Value| mapped(rules, &json!({"sub": "jane", "hd": hd, "empty": empty}));
    user(json!("a"), json!("")).unwrap();
    assert!(user(json!("b"), json!("")).unwrap_err().contains("Got = b, want = a"));
    assert!(user(json!("a"), json!("x")).unwrap_err().contains("required claim empty value does not match"));
    assert!(user(json!(["a"]), json!("")).unwrap_err().contains("parse claim hd"));
    assert!(mapped(rules, &json!({"sub": "jane", "hd": "a"})).unwrap_err().contains("empty not present"));
}

fn key() -> AccountKeys {
    AccountKeys::of(&Ca::create("kontiki-issuer").unwrap()).unwrap()
}

/// A key as a set has it, with this id.
fn published(key: &AccountKeys, id: Option<&str>) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let public = key.public().next().unwrap();
    let [x, y] = [public.x, public.y].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y})
}

fn set(keys: &[Value]) -> Result<KeySet, String> {
    KeySet::read(json!({"keys": keys}).to_string().as_bytes())
}

/// A token of a key, that says so or not.
fn token(key: &AccountKeys, id: Option<&str>) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = json!({"alg": "ES256", "kid": id}).to_string();
    let message = [header.as_str(), "{}"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap()))
}

#[test]
fn a_key_is_found_by_its_id_or_by_trying() {
    let (a, b, c) = (key(), key(), key());
    let keys = set(&[published(&a, Some("a")), published(&b, None)]).unwrap();
    assert_eq!(keys.len(), 2);
    let verifies = |key: &AccountKeys, id: Option<&str>| keys.verify(&Token::read(&token(key, id)).unwrap());
    assert!(verifies(&a, Some("a")) && verifies(&a, None) && verifies(&b, None));
    assert!(!verifies(&a, Some("b")) && !verifies(&b, Some("a")) && !verifies(&c, Some("a")));
    assert!(!verifies(&c, None));
}

#[test]
fn keys_for_something_else_are_not_used() {
    let a = key();
    let with = |name: &str, value: &str| {
        let mut key = published(&a, Some("a"));
        key[name] = value.into();
        key
    };
    let token = token(&a, Some("a"));
    let verifies = |key: Value| set(&[key]).map(|keys| keys.verify(&Token::read(&token).unwrap()));
    assert_eq!(verifies(with("use", "sig")), Ok(true));
    assert_eq!(verifies(with("alg", "ES256")), Ok(true));
    assert_eq!(verifies(with("alg", "ES384")), Ok(false), "for another algorithm");
    for (key, why) in [
        (with("use", "enc"), "there is no key that can verify a token"),
        (with("kty", "oct"), "there is no key that can verify a token"),
        (with("crv", "secp256k1"), "key 0: the curve \"secp256k1\" is not known"),
        (with("x", "!"), "key 0: x is not there, or not in base64"),
        (json!({"kid": "a"}), "missing field `kty`"),
        (json!(7), "key 0: "),
    ] {
        let said = verifies(key).unwrap_err();
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    // One that is of no use does not spoil the others, and there is an end to how many there are.
    assert_eq!(set(&[json!(7), published(&a, None)]).unwrap().len(), 1);
    assert_eq!(set(&vec![published(&a, None); 1000]).unwrap().len(), 64);
    assert!(KeySet::read(b"{\"keys\": {}}").unwrap_err().contains("cannot be read"));
}

#[test]
fn a_label_is_one() {
    assert_eq!(label("https://a/\"b\\\n"), "\"https://a/\\\"b\\\\\\n\"");
}
