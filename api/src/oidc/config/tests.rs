#![allow(clippy::unwrap_used)]
use super::*;

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
const ISSUER_TOLD: &str = "url: https://login.example.com/a, audiences: [kontiki]";
const MAPPINGS: &str = "username: {claim: sub, prefix: 'idp:'}";

/// A configuration of one issuer.
fn one(issuer: &str, mappings: &str, more: &str) -> String {
    format!("{HEAD}jwt:\n- issuer: {{{issuer}}}\n  claimMappings: {{{mappings}}}\n{more}")
}

fn refused(text: &str) -> String {
    Configuration::read(text).unwrap_err().to_string()
}

#[test]
fn a_whole_one_is_read() {
    let rules = r#"
  claimValidationRules:
  - {claim: hd, requiredValue: example.com}
  - {claim: empty}
  - {expression: "claims.exp - claims.nbf <= 86400", message: too long}
  userValidationRules:
  - {expression: "!user.username.startsWith('idp:root')"}
"#;
    let issuer = "url: https://login.example.com/a, discoveryURL: 'https://10.0.0.1:8443/b', audiences: [a, b], audienceMatchPolicy: MatchAny";
    let mappings = "username: {claim: sub, prefix: ''}, groups: {expression: claims.roles}, uid: {claim: oid}, \
                    extra: [{key: example.com/a, valueExpression: claims.a}]";
    for version in ["v1", "v1beta1"] {
        let text = one(issuer, mappings, rules).replace("k8s.io/v1", &format!("k8s.io/{version}"));
        let read = Configuration::read(&text).unwrap();
        assert_eq!(read.issuers().collect::<Vec<_>>(), ["https://login.example.com/a"]);
        let Issuer { place, audiences, mapping } = &read.issuers[0];
        assert_eq!(place.discovery.to_string(), "https://10.0.0.1:8443/b");
        assert_eq!(audiences, &["a", "b"]);
        let required = [("hd".into(), "example.com".into()), ("empty".into(), String::new())];
        assert_eq!(mapping.required, required);
        assert_eq!((mapping.claim_rules.len(), mapping.user_rules.len(), mapping.extra.len()), (1, 1, 1));
    }
    let plain = Configuration::read(&one(ISSUER_TOLD, MAPPINGS, "")).unwrap();
    let discovery = plain.issuers[0].place.discovery.to_string();
    assert_eq!(discovery, "https://login.example.com/a/.well-known/openid-configuration");
    for nobody in ["", "jwt: []\n", "jwt: null\n"] {
        assert_eq!(Configuration::read(&format!("{HEAD}{nobody}")).unwrap().issuers().count(), 0);
    }
}

#[test]
fn what_is_no_configuration_is_refused_in_words() {
    for (text, why) in [
        (String::new(), ""),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy\n".into(), "it is a Policy of audit.k8s.io/v1"),
        (HEAD.replace("/v1", "/v1alpha1"), "of apiserver.config.k8s.io/v1 is wanted"),
        (format!("{HEAD}jwts: []\n"), "jwts"),
        (one("url: https://a, audiences: [a], ca: b", MAPPINGS, ""), "ca"),
        (one("audiences: [a]", MAPPINGS, ""), "jwt[0].issuer.url: Required value: URL is required"),
        (one("url: http://a, audiences: [a]", MAPPINGS, ""), "URL scheme must be https"),
        (one("url: 'https://a?b=c', audiences: [a]", MAPPINGS, ""), "URL must not contain a query"),
        (one("url: 'https://j@a', audiences: [a]", MAPPINGS, ""), "must not contain a username or password"),
        (
            one(&format!("url: {ISSUER}, audiences: [a]"), MAPPINGS, ""),
            "URL must not overlap with disallowed issuers",
        ),
        (
            one("url: https://a, discoveryURL: https://a/, audiences: [a]", MAPPINGS, ""),
            "jwt[0].issuer.discoveryURL: Invalid value: \"https://a/\": discoveryURL must be different from URL",
        ),
        (one("url: https://a, discoveryURL: http://b, audiences: [a]", MAPPINGS, ""), "issuer.discoveryURL"),
        (one("url: https://a", MAPPINGS, ""), "jwt[0].issuer.audiences: Required value"),
        (
            one("url: https://a, audiences: ['']", MAPPINGS, ""),
            "audiences[0]: Required value: audience can't be empty",
        ),
        (
            one("url: https://a, audiences: [a, a], audienceMatchPolicy: MatchAny", MAPPINGS, ""),
            "Duplicate value: \"a\"",
        ),
        (one("url: https://a, audiences: [a, b]", MAPPINGS, ""), "must be MatchAny for multiple audiences"),
        (
            one("url: https://a, audiences: [a], audienceMatchPolicy: All", MAPPINGS, ""),
            "must be empty or MatchAny",
        ),
        (
            one("url: https://a, audiences: [a], certificateAuthority: x", MAPPINGS, ""),
            "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": it holds no certificate in PEM",
        ),
        (
            one(ISSUER_TOLD, "", ""),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ),
        (
            one(ISSUER_TOLD, "username: {claim: a}", ""),
            "username.prefix: Required value: prefix is required when",
        ),
        (
            one(ISSUER_TOLD, "username: {claim: a, prefix: '', expression: claims.a}", ""),
            "claim and expression can't both be set",
        ),
        (
            one(ISSUER_TOLD, "username: {prefix: x, expression: claims.a}", ""),
            "prefix can't be set when expression",
        ),
        (
            one(ISSUER_TOLD, "username: {claim: a, prefix: 'system:a:'}", ""),
            "names that begin with \"system:\" belong to the cluster itself",
        ),
        (
            one(ISSUER_TOLD, &format!("{MAPPINGS}, groups: {{claim: a, prefix: 'system:'}}"), ""),
            "claimMappings.groups.prefix",
        ),
        (one(ISSUER_TOLD, &format!("{MAPPINGS}, groups: {{claim: a}}"), ""), "groups.prefix: Required value"),
        (one(ISSUER_TOLD, &format!("{MAPPINGS}, uid: {{claim: a, prefix: b}}"), ""), "a uid has no prefix"),
    ] {
        let said = refused(&text);
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
}

#[test]
fn expressions_are_read_when_the_configuration_is() {
    let username = |expression: &str, more: &str| {
        one(ISSUER_TOLD, &format!("username: {{expression: \"{expression}\"}}"), more)
    };
    for (text, why) in [
        (
            username("claims.", ""),
            "claimMappings.username.expression: Invalid value: \"claims.\": compilation failed",
        ),
        (username("user.username", ""), "undeclared reference to 'user'"),
        (
            username("sets.contains(claims.aud, ['a']) ? 'a' : 'b'", ""),
            "this build cannot evaluate the expression",
        ),
        (
            username("claims.email", ""),
            "claims.email_verified must be used in claimMappings.username.expression",
        ),
        (username("claims.?email.orValue('')", ""), "claims.email_verified must be used"),
        (
            username("'a'", "  claimValidationRules: [{expression: 'claims.a', requiredValue: b}]\n"),
            "claimValidationRules[0].requiredValue: Invalid value: \"b\": requiredValue can't be set when",
        ),
        (
            username("'a'", "  claimValidationRules: [{claim: a, message: b}]\n"),
            "message can't be set when claim is set",
        ),
        (username("'a'", "  claimValidationRules: [{}]\n"), "claim or expression is required"),
        (username("'a'", "  claimValidationRules: [{claim: a}, {claim: a}]\n"), "Duplicate value: \"a\""),
        (username("'a'", "  claimValidationRules: [{claim: a, expression: b}]\n"), "can't both be set"),
        (
            username("'a'", "  claimValidationRules: [{expression: 'true'}, {expression: 'true'}]\n"),
            "claimValidationRules[1].expression: Duplicate value",
        ),
        (
            username("'a'", "  userValidationRules: [{expression: claims.a}]\n"),
            "undeclared reference to 'claims'",
        ),
        (username("'a'", "  userValidationRules: [{message: b}]\n"), "expression is required"),
        (
            username("'a'", "  userValidationRules: [{expression: 'true'}, {expression: 'true'}]\n"),
            "Duplicate value",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    for more in ["", "  claimValidationRules: [{expression: 'claims.email_verified'}]\n"] {
        let expression =
            if more.is_empty() { "claims.email_verified ? claims.email : ''" } else { "claims.email" };
        Configuration::read(&username(expression, more)).unwrap();
    }
    let extra = |extra: &str| one(ISSUER_TOLD, &format!("{MAPPINGS}, extra: [{extra}]"), "");
    for (text, why) in [
        (extra("{key: a, valueExpression: claims.a}"), "must be a domain-prefixed path"),
        (extra("{key: Example.com/a, valueExpression: claims.a}"), "key must be lowercase"),
        (extra("{key: kubernetes.io/a, valueExpression: claims.a}"), "reserved for Kubernetes use"),
        (
            extra("{key: authentication.kubernetes.io/credential-id, valueExpression: claims.a}"),
            "reserved for",
        ),
        (extra("{key: a.k8s.io/a, valueExpression: claims.a}"), "reserved for Kubernetes use"),
        (extra("{key: example.com/a}"), "valueExpression is required"),
        (
            extra(
                "{key: example.com/a, valueExpression: claims.a}, {key: example.com/a, valueExpression: claims.b}",
            ),
            "claimMappings.extra[1].key: Duplicate value",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    Configuration::read(&extra("{key: notk8s.io/a, valueExpression: claims.a}")).unwrap();
}

#[test]
fn issuers_are_told_apart() {
    let another = |issuer: &str| format!("- issuer: {{{issuer}}}\n  claimMappings: {{{MAPPINGS}}}\n");
    let both = |second: &str| one(ISSUER_TOLD, MAPPINGS, &another(second));
    let said = refused(&both(ISSUER_TOLD));
    assert!(said.contains("jwt[1].issuer.url: Duplicate value"), "{said}");
    Configuration::read(&both("url: https://login.example.com/b, audiences: [kontiki]")).unwrap();
    let many: String = (0..65).map(|n| another(&format!("url: https://a/{n}, audiences: [a]"))).collect();
    assert!(refused(&format!("{HEAD}jwt:\n{many}")).contains("Too many: 65"));
}

#[test]
fn who_shows_nothing() {
    let anonymous = |told: &str| Configuration::read(&format!("{HEAD}anonymous: {told}\n"));
    assert_eq!(Configuration::read(HEAD).unwrap().anonymous, Anonymous::Everywhere);
    for (told, read) in [
        ("{enabled: true}", Anonymous::Everywhere),
        ("{enabled: false}", Anonymous::Nowhere),
        ("{enabled: true, conditions: [{path: /livez}]}", Anonymous::Paths(vec!["/livez".into()])),
    ] {
        assert_eq!(anonymous(told).unwrap().anonymous, read);
    }
    let said = anonymous("{enabled: false, conditions: [{path: /livez}]}").unwrap_err().to_string();
    assert!(said.contains("enabled should be set to true when conditions are defined"), "{said}");
}

#[test]
fn flags_say_the_same_in_short() {
    let flags = |flags: Flags| {
        let given = Flags { issuer_url: "https://a".into(), client_id: "b".into(), ..flags };
        Configuration::of_flags(given).unwrap().issuers.pop().unwrap()
    };
    let name = |issuer: &Issuer| match &issuer.mapping.username.source {
        Source::Claim(claim) => (claim.clone(), issuer.mapping.username.prefix.clone()),
        Source::Expression(_) => panic!(),
    };
    let text = |text: &str| Some(text.to_owned());
    let plain = flags(Flags::default());
    assert_eq!(name(&plain), ("sub".into(), "https://a#".into()));
    assert_eq!((plain.audiences.as_slice(), plain.mapping.groups.is_none()), (&["b".to_owned()][..], true));
    for (claim, prefix, expected) in [
        (text("email"), None, ("email", "")),
        (text("email"), text("x:"), ("email", "x:")),
        (text("name"), None, ("name", "https://a#")),
        (text("name"), text(""), ("name", "https://a#")),
        (text("name"), text("-"), ("name", "")),
        (None, text("x:"), ("sub", "x:")),
    ] {
        let issuer = flags(Flags { username_claim: claim, username_prefix: prefix, ..Flags::default() });
        assert_eq!(name(&issuer), (expected.0.into(), expected.1.into()));
    }
    let issuer = flags(Flags {
        groups_claim: text("groups"),
        required_claims: vec![("hd".into(), "example.com".into())],
        ..Flags::default()
    });
    assert_eq!(issuer.mapping.groups.unwrap().prefix, "");
    assert_eq!(issuer.mapping.required, [("hd".into(), "example.com".into())]);
    let refused = Configuration::of_flags(Flags::default()).unwrap_err().to_string();
    assert!(refused.contains("URL is required") && refused.contains("audience can't be empty"), "{refused}");
}

/// What people copy from the documentation.
#[test]
fn the_example_of_the_documentation_is_one() {
    const OPERATIONS: &str = include_str!("../../../../docs/operations.md");
    let section = OPERATIONS.split("## Users who are known elsewhere").nth(1).unwrap();
    let lines =
        section.lines().skip_while(|line| !line.starts_with("    ")).take_while(|line| !line.is_empty());
    let (mut text, mut certificate) = (String::new(), false);
    for line in lines {
        // The place of a certificate, which is none.
        certificate =
            line.contains("certificateAuthority:") || (certificate && line.starts_with("          "));
        if !certificate {
            text.push_str(&line[4..]);
            text.push('\n');
        }
    }
    let read = Configuration::read(&text).unwrap();
    let claims = json!({"preferred_username": "jane", "sub": "7", "hd": "example.com", "exp": 2, "iat": 1,
        "realm_access": {"roles": ["devs"]}, "tenant": "a"});
    let user = read.issuers[0].mapping.user(&claims).unwrap();
    assert_eq!((user.name.as_str(), user.groups[0].as_str()), ("staff:jane", "staff:devs"));
}
