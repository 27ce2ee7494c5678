#![allow(clippy::unwrap_used)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kontiki_actors::{Change, Document};
use kontiki_pki::Ca;

use super::*;

const NOW_S: i64 = 1_800_000_000;

fn issuer() -> Issuer {
    Issuer::new(AccountKeys::of(&Ca::create("kontiki-test").unwrap()).unwrap())
}

fn reference(name: &str) -> Reference {
    Reference { name: name.into(), uid: format!("uid-{name}") }
}

fn claims() -> Claims {
    Claims {
        aud: vec![ISSUER.into(), "vault".into()],
        exp: NOW_S + 600,
        iat: NOW_S,
        iss: ISSUER.into(),
        jti: "1".into(),
        bound: Bound { namespace: "a".into(), serviceaccount: reference("robot"), ..Bound::default() },
        nbf: NOW_S,
        sub: "system:serviceaccount:a:robot".into(),
    }
}

fn put(state: &mut State, kind: Kind, namespace: &str, name: &str, deleted: Option<i64>) {
    let key = ObjectKey::new(kind, namespace, name);
    let mut metadata = json!({"name": name, "uid": format!("uid-{name}")});
    if let Some(at_s) = deleted {
        metadata["deletionTimestamp"] = kontiki_actors::object::rfc3339(at_s * 1000).into();
    }
    let old = state.get(&key).map(|object| object.document.whole());
    let change = Change::between(key, old.as_ref(), &Document::from_value(json!({"metadata": metadata})));
    state.apply(&change.unwrap());
}

fn asked(claims: &Claims, wanted: &str, now_s: i64, state: &State) -> Result<Believed, Refusal> {
    believe(claims, &[wanted.to_owned()], now_s * 1000, state)
}

#[test]
fn what_was_signed_is_proven() {
    let issuer = issuer();
    let token = issuer.sign(&claims()).unwrap();
    for _ in 0..2 {
        assert_eq!(*issuer.prove(&token).unwrap(), claims());
    }
    assert_eq!(issuer.proven.lock().len(), 1);
    let set = issuer.key_set();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &set["keys"][0]["kid"]));
}

#[test]
fn nothing_else_is() {
    let issuer = issuer();
    let token = issuer.sign(&claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let forged = |header: Value, signature: &str| {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()), parts[1])
    };
    let kid = &issuer.key_set()["keys"][0]["kid"];
    let mut more = claims();
    more.bound.serviceaccount = reference("admin");
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&more).unwrap());
    let stranger = self::issuer().sign(&claims()).unwrap();
    let stranger_as_ours = format!("{}.{}", parts[0], stranger.split_once('.').unwrap().1);
    for wrong in [
        String::new(),
        "a.b.c".into(),
        parts[..2].join("."),
        format!("{token}.x"),
        format!("{token}="),
        format!("x{token}"),
        forged(json!({"alg": "none", "kid": kid}), ""),
        forged(json!({"alg": "none", "kid": kid}), parts[2]),
        forged(json!({"alg": "HS256", "kid": kid}), parts[2]),
        forged(json!({"alg": "ES256", "kid": "other"}), parts[2]),
        forged(json!({"alg": "ES256", "kid": kid, "crit": ["x"]}), parts[2]),
        format!("{}.{payload}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        stranger,
        stranger_as_ours,
        "x".repeat(1 << 20),
    ] {
        assert_eq!(issuer.prove(&wrong), Err(Refusal::Foreign), "{}", &wrong[..wrong.len().min(200)]);
    }
    assert!(issuer.proven.lock().is_empty(), "what is refused takes no room");
}

#[test]
fn a_signed_token_that_is_at_odds_with_itself_is_refused() {
    let issuer = issuer();
    let other_issuer = Claims { iss: "https://other".into(), ..claims() };
    let other_subject = Claims { sub: "system:serviceaccount:a:admin".into(), ..claims() };
    for claims in [other_issuer, other_subject] {
        let token = issuer.sign(&claims).unwrap();
        assert_eq!(issuer.prove(&token), Err(Refusal::Foreign));
    }
}

#[test]
fn time_audience_and_existence_count_each_time() {
    let mut state = State::default();
    let claims = claims();
    assert_eq!(asked(&claims, ISSUER, NOW_S, &state), Err(Refusal::Gone));
    put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", None);
    let believed = asked(&claims, "vault", NOW_S, &state).unwrap();
    assert_eq!(believed.audiences, ["vault"]);
    let user = believed.user;
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:a:robot", "uid-robot"));
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]);
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=1"]);
    assert!(asked(&claims, ISSUER, NOW_S + 599, &state).is_ok());
    assert_eq!(asked(&claims, ISSUER, NOW_S + 600, &state), Err(Refusal::Expired));
    assert!(asked(&claims, ISSUER, NOW_S - SKEW_S, &state).is_ok());
    assert_eq!(asked(&claims, ISSUER, NOW_S - SKEW_S - 1, &state), Err(Refusal::Early));
    assert!(matches!(asked(&claims, "other", NOW_S, &state), Err(Refusal::Audience { .. })));
    assert!(matches!(believe(&claims, &[], NOW_S * 1000, &state), Err(Refusal::Audience { .. })));
    // Another account of the name is another account.
    let mut other = claims.clone();
    other.bound.serviceaccount.uid = "older".into();
    assert_eq!(asked(&other, ISSUER, NOW_S, &state), Err(Refusal::Gone));
    put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", Some(NOW_S));
    assert!(asked(&claims, ISSUER, NOW_S + 59, &state).is_ok(), "while it leaves");
    assert_eq!(asked(&claims, ISSUER, NOW_S + 60, &state), Err(Refusal::Gone));
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    for (kind, namespace, bind) in [
        (Kind::POD, "a", (|bound: &mut Bound| bound.pod = Some(reference("x"))) as fn(&mut Bound)),
        (Kind::SECRET, "a", |bound: &mut Bound| bound.secret = Some(reference("x"))),
        (Kind::NODE, "", |bound: &mut Bound| bound.node = Some(reference("x"))),
    ] {
        let mut claims = claims();
        bind(&mut claims.bound);
        let mut state = State::default();
        put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", None);
        assert_eq!(asked(&claims, ISSUER, NOW_S, &state), Err(Refusal::Gone), "{kind:?}");
        put(&mut state, kind, namespace, "x", None);
        assert!(asked(&claims, ISSUER, NOW_S, &state).is_ok(), "{kind:?}");
    }
    // A pod's node is told, and not what the token hangs on.
    let mut claims = claims();
    claims.bound.pod = Some(reference("p"));
    claims.bound.node = Some(reference("gone"));
    let mut state = State::default();
    put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", None);
    put(&mut state, Kind::POD, "a", "p", None);
    let extra = asked(&claims, ISSUER, NOW_S, &state).unwrap().user.extra;
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(extra["authentication.kubernetes.io/node-uid"], ["uid-gone"]);
}

#[test]
fn what_every_pod_gets_is_taken_for_longer_and_says_so() {
    let to_pod = || Bound { pod: Some(reference("p")), ..claims().bound };
    let made = |bound: Bound, audience: &str, lifetime_s: i64| {
        let claims = Claims::new(bound, vec![audience.into()], lifetime_s, NOW_S, "1".into());
        (claims.exp - NOW_S, claims.bound.warnafter.map(|at| at - NOW_S))
    };
    assert_eq!(made(to_pod(), ISSUER, 3607), (31_536_000, Some(3607)));
    assert_eq!(made(to_pod(), ISSUER, 3600), (3600, None));
    assert_eq!(made(to_pod(), "vault", 3607), (3607, None));
    assert_eq!(made(claims().bound, ISSUER, 3607), (3607, None));
    let claims = Claims::new(to_pod(), vec![ISSUER.into()], 3607, NOW_S, "1".into());
    assert_eq!(
        (claims.sub.as_str(), claims.nbf, claims.iat),
        ("system:serviceaccount:a:robot", NOW_S, NOW_S)
    );
    assert_eq!(serde_json::to_value(&claims).unwrap()["kubernetes.io"]["warnafter"], NOW_S + 3607);
    let mut state = State::default();
    put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", None);
    put_pod(&mut state, "p", "n1");
    let age = |claims: &Claims, now_s: i64| asked(claims, ISSUER, now_s, &state).unwrap().age;
    assert_eq!(age(&claims, NOW_S), Some(Age::Fresh));
    assert_eq!(age(&claims, NOW_S + 3607), Some(Age::Fresh));
    assert_eq!(age(&claims, NOW_S + 3617), Some(Age::Stale(10)));
    assert_eq!(age(&self::claims(), NOW_S), None);
    // As those were that an earlier build has made.
    let mut older = serde_json::to_value(&claims).unwrap();
    older["kubernetes.io"].as_object_mut().unwrap().remove("warnafter");
    assert_eq!(serde_json::from_value::<Claims>(older).unwrap().bound.warnafter, None);
}

/// A pod of this name on a node, whose volumes ask for the usual token and for one for vault.
fn put_pod(state: &mut State, name: &str, node: &str) {
    let tokens = [
        json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}),
        json!({"serviceAccountToken": {"path": "vault", "audience": "vault"}}),
    ];
    let document = Document::from_value(
        json!({"metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "serviceAccountName": "robot", "containers": [],
            "volumes": [{"name": "v", "projected": {"sources": tokens}}]}}),
    );
    let change = Change::between(ObjectKey::new(Kind::POD, "a", name), None, &document);
    state.apply(&change.unwrap());
}

#[test]
fn a_worker_gets_tokens_for_the_pods_that_are_its_own() {
    let (issuer, mut state) = (issuer(), State::default());
    put(&mut state, Kind::NODE, "", "n1", None);
    put_pod(&mut state, "p", "n1");
    let ask = |state: &State, node: &str, pod: &str, audience: &str, lifetime_s: i64| {
        let token = PodToken { node, pod, audience, lifetime_s, id: "1" };
        for_pod(&issuer, state, token, NOW_S * 1000)
    };
    let refused = ask(&state, "n1", "uid-p", "", 3607).unwrap_err();
    assert_eq!(refused, "serviceaccounts \"robot\" not found");
    put(&mut state, Kind::SERVICE_ACCOUNT, "a", "robot", None);
    let token = ask(&state, "n1", "uid-p", "", 3607).unwrap();
    let claims = issuer.prove(&token).unwrap();
    let expected = Bound {
        namespace: "a".into(),
        serviceaccount: reference("robot"),
        pod: Some(reference("p")),
        node: Some(reference("n1")),
        secret: None,
        warnafter: Some(NOW_S + 3607),
    };
    assert_eq!((&claims.bound, claims.aud.as_slice()), (&expected, &[ISSUER.to_owned()][..]));
    let user = asked(&claims, ISSUER, NOW_S, &state).unwrap().user;
    assert_eq!(user.extra["authentication.kubernetes.io/pod-uid"], ["uid-p"]);
    let vault = issuer.prove(&ask(&state, "n1", "uid-p", "vault", 3600).unwrap()).unwrap();
    assert_eq!((vault.aud.as_slice(), vault.exp), (&["vault".to_owned()][..], NOW_S + 3600));
    // Another node, another uid, what is no pod, and what the pod does not ask for.
    for (node, pod, audience, lifetime_s, why) in [
        ("n2", "uid-p", "", 3607, "no relationship found between node \"n2\" and this pod"),
        ("n1", "uid-q", "", 3607, "no relationship found"),
        ("n1", "uid-robot", "", 3607, "no relationship found"),
        ("n1", "uid-p", "bank", 3600, "has no projected token for audience \"bank\""),
        ("n1", "uid-p", "", 1 << 32, "has no projected token"),
    ] {
        let refused = ask(&state, node, pod, audience, lifetime_s).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    state.apply(&Change::Delete { key: ObjectKey::new(Kind::POD, "a", "p") });
    assert_eq!(asked(&claims, ISSUER, NOW_S, &state), Err(Refusal::Gone), "with its pod");
    assert!(ask(&state, "n1", "uid-p", "", 3607).is_err());
}
