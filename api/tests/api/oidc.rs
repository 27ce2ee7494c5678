//! Users of an issuer elsewhere: by their tokens, while it is there, when it changes its keys, and when it is gone.

use std::{sync::Arc, time::Duration};

use kontiki_api::{
    FeedLimits, Options,
    oidc::{Authenticators, Configuration, Timings},
    token::Issuer as Accounts,
};
use kontiki_pki::{AccountKeys, Ca};
use rcgen::{PKCS_RSA_SHA256, PublicKeyData, SigningKey};
use serde_json::{Value, json};

use crate::{
    audit::audited,
    client::Client,
    issuer::{Issuer, Key, encode, key, now_s, signed},
};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const WHOSE: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const API: &str = "https://kubernetes.default.svc.cluster.local";

/// The subject as the name, and groups.
const PLAIN: &str =
    "  claimMappings: {username: {claim: sub, prefix: 'idp:'}, groups: {claim: groups, prefix: 'idp:'}}\n";

/// Nobody waits for long in tests, and whoever may fetch keys does so at once.
fn quick() -> Timings {
    Timings {
        retry: Duration::from_millis(10),
        pause: Duration::ZERO,
        wait: Duration::from_secs(20),
        ..Timings::default()
    }
}

fn options(configuration: &str, timings: Timings) -> (Options, Arc<Authenticators>) {
    let configuration = Configuration::read(configuration).unwrap();
    let authenticators = Arc::new(Authenticators::start(configuration, timings));
    let accounts = AccountKeys::of(&Ca::create("kontiki-test").unwrap()).unwrap();
    let options = Options {
        issuer: Some(Arc::new(Accounts::new(accounts))),
        authenticators: Some(authenticators.clone()),
        ..Options::default()
    };
    (options, authenticators)
}

fn cluster(configuration: &str, timings: Timings) -> Client {
    Client::with(FeedLimits::default(), options(configuration, timings).0)
}

async fn get(client: &Client, token: &str, path: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    client.as_peer(None).raw("GET", path, &[("authorization", &bearer)], "").await.code
}

async fn who(client: &Client, token: &str) -> Value {
    let bearer = format!("Bearer {token}");
    let nobody = client.as_peer(None);
    let who = nobody.raw("POST", WHO, &[("authorization", &bearer)], "{}").await.with(201);
    who["status"]["userInfo"].clone()
}

async fn whose(client: &Client, token: &str, audiences: Value) -> Value {
    let question = json!({"spec": {"token": token, "audiences": audiences}});
    client.post(WHOSE, &question).await.with(201)["status"].clone()
}

/// Why a token is refused.
async fn refusal(client: &Client, token: &str) -> String {
    assert_eq!(get(client, token, "/api").await, 401);
    let status = whose(client, token, json!([])).await;
    assert_eq!(status["authenticated"], false, "{status}");
    status["error"].as_str().unwrap().to_owned()
}

/// A number that is measured.
async fn measured(client: &Client, name: &str) -> u64 {
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// A key of RS256, which most issuers have.
struct Rsa(rcgen::KeyPair);

impl Key for Rsa {
    fn algorithm(&self) -> &'static str {
        "RS256"
    }

    fn id(&self) -> String {
        "rsa".into()
    }

    fn public(&self) -> Value {
        // PKCS#1: a sequence (30 82 ....) of two numbers (02 82 .... and 02 ..).
        let der = self.0.der_bytes();
        let length = usize::from(der[6]) << 8 | usize::from(der[7]);
        let (n, rest) = der[8..].split_at(length);
        json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(&n[1..]), "e": encode(&rest[2..])})
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).unwrap()
    }
}

#[tokio::test]
async fn a_user_of_an_issuer_does_what_he_was_given() {
    let (first, second) = (key(), Rsa(rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()));
    let issuer = Issuer::start(&[&first, &second]).await;
    let (options, _) = options(&issuer.configuration(PLAIN), quick());
    let (client, _, lines) = audited("- {level: Metadata, omitStages: [RequestReceived]}", options);
    let claims = json!({"groups": ["devs", "ops"], "jti": "7"});
    for token in [issuer.token(&first, &claims), issuer.token(&second, &claims)] {
        assert_eq!(get(&client, &token, "/api").await, 200, "known");
        assert_eq!(get(&client, &token, MAPS).await, 403, "and without rights");
        let event = lines.last();
        assert_eq!(event["user"]["username"], "idp:jane");
        assert_eq!(event["user"]["groups"], json!(["idp:devs", "idp:ops", "system:authenticated"]));
        let user = who(&client, &token).await;
        assert_eq!(user["username"], "idp:jane");
        assert_eq!(user["extra"], json!({"authentication.kubernetes.io/credential-id": ["JTI=7"]}));
        assert!(!event.to_string().contains(token.rsplit_once('.').unwrap().1), "the token is not told");
        let status = whose(&client, &token, json!(["other", API])).await;
        assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!([API])));
        assert_eq!(status["user"], user);
        let status = whose(&client, &token, json!(["other"])).await;
        assert_eq!(status["authenticated"], false, "{status}");
    }
    let binding = json!({"metadata": {"name": "devs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "idp:devs"}]});
    client
        .post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding)
        .await
        .with(201);
    assert_eq!(get(&client, &issuer.token(&first, &claims), MAPS).await, 200);
    assert_eq!(get(&client, &issuer.token(&first, &json!({"groups": "ops"})), MAPS).await, 403);
    assert_eq!(measured(&client, "kontiki_oidc_issuer_healthy{").await, 1);
    assert_eq!(measured(&client, "kontiki_oidc_issuer_keys{").await, 2);
}

#[tokio::test]
async fn what_does_not_hold_is_refused() {
    let (own, foreign) = (key(), key());
    let issuer = Issuer::start(&[&own]).await;
    let client = cluster(&issuer.configuration(PLAIN), quick());
    let good = issuer.token(&own, &json!({}));
    assert_eq!(get(&client, &good, "/api").await, 200);
    let header = json!({"alg": "ES256", "kid": own.id()});
    let bare = |algorithm: &str| {
        let header = json!({"alg": algorithm, "kid": own.id()});
        let claims = issuer.claims(&json!({})).to_string();
        format!("{}.{}.", encode(header.to_string().as_bytes()), encode(claims.as_bytes()))
    };
    let now = now_s();
    let with = |claims: Value| issuer.token(&own, &claims);
    for (token, why) in [
        (issuer.token(&foreign, &json!({})), "failed to verify signature"),
        (signed(&foreign, &header, &issuer.claims(&json!({}))), "failed to verify signature"),
        (format!("{}AAAA", &good[..good.len() - 4]), "failed to verify signature"),
        (bare("none"), "unsupported algorithm"),
        (bare("HS256"), "unsupported algorithm"),
        (bare("RS256"), "failed to verify signature"),
        (
            signed(&own, &json!({"alg": "ES384", "kid": own.id()}), &issuer.claims(&json!({}))),
            "failed to verify",
        ),
        (with(json!({"aud": "other"})), "expected audience in [\"kontiki\"] got [\"other\"]"),
        (with(json!({"aud": null})), "expected audience"),
        (with(json!({"exp": now - 1})), "token is expired"),
        (with(json!({"exp": null})), "does not say until when"),
        (with(json!({"nbf": now + 600})), "not valid yet"),
        (with(json!({"iat": now + 600})), "not valid yet"),
        (with(json!({"sub": null})), "parse username claims"),
        (with(json!({"groups": {"a": 1}})), "parse groups claim"),
        (with(json!({"iss": "https://elsewhere.example.com"})), "invalid bearer token"),
        (with(json!({"iss": 7})), "invalid bearer token"),
    ] {
        let said = refusal(&client, &token).await;
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    // What was signed is what counts: other claims below the same signature do not.
    let (head, rest) = good.split_once('.').unwrap();
    let claims = encode(issuer.claims(&json!({"sub": "admin"})).to_string().as_bytes());
    let forged = format!("{head}.{claims}.{}", rest.split_once('.').unwrap().1);
    assert!(refusal(&client, &forged).await.contains("failed to verify signature"));
    assert_eq!(get(&client, &good, "/api").await, 200, "all the same");
    assert_eq!(measured(&client, "kontiki_oidc_tokens_total{").await, 2 * 16, "refused, asked and used");
}

#[tokio::test]
async fn no_issuer_gives_names_that_belong_to_the_cluster() {
    let own = key();
    let issuer = Issuer::start(&[&own]).await;
    let plain =
        "  claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: groups, prefix: ''}}\n";
    let client = cluster(&issuer.configuration(plain), quick());
    assert_eq!(who(&client, &issuer.token(&own, &json!({"groups": ["devs"]}))).await["username"], "jane");
    for claims in [
        json!({"sub": "system:node:n1"}),
        json!({"groups": ["devs", "system:masters"]}),
        json!({"groups": "system:masters"}),
        json!({"sub": "system:anonymous"}),
    ] {
        let said = refusal(&client, &issuer.token(&own, &claims)).await;
        assert!(said.contains("belong to the cluster itself"), "{said}");
    }
}

#[tokio::test]
async fn keys_change() {
    let (old, new, never) = (key(), key(), key());
    let issuer = Issuer::start(&[&old]).await;
    let client = cluster(&issuer.configuration(PLAIN), quick());
    let (before, after) = (issuer.token(&old, &json!({})), issuer.token(&new, &json!({})));
    assert_eq!(get(&client, &before, "/api").await, 200);
    assert!(refusal(&client, &after).await.contains("no key of the issuer made it"));
    issuer.publish(&[&old, &new]);
    assert_eq!(get(&client, &after, "/api").await, 200, "known as soon as somebody shows a token of it");
    assert_eq!(get(&client, &before, "/api").await, 200, "the old one counts on");
    issuer.publish(&[&new]);
    // The first token of an unknown key brings what the issuer has now, and the old one is not among it.
    refusal(&client, &issuer.token(&never, &json!({}))).await;
    assert_eq!(
        get(&client, &before, "/api").await,
        401,
        "withdrawn, also for a token that was believed before"
    );
    assert_eq!(get(&client, &after, "/api").await, 200);
}

#[tokio::test]
async fn strangers_do_not_make_anybody_ask_the_issuer_again_and_again() {
    let (own, foreign) = (key(), key());
    let issuer = Issuer::start(&[&own]).await;
    let client =
        cluster(&issuer.configuration(PLAIN), Timings { pause: Duration::from_secs(600), ..quick() });
    assert_eq!(get(&client, &issuer.token(&own, &json!({})), "/api").await, 200);
    issuer.asked();
    for _ in 0..20 {
        assert_eq!(get(&client, &issuer.token(&foreign, &json!({})), "/api").await, 401);
    }
    assert!(issuer.asked().is_empty());
    assert_eq!(measured(&client, "kontiki_oidc_issuer_fetches_total{").await, 0, "none failed");
}

#[tokio::test]
async fn an_issuer_that_is_gone_stops_nobody_else() {
    let own = key();
    let mut issuer = Issuer::start(&[&own]).await;
    issuer.stop().await;
    let client =
        cluster(&issuer.configuration(PLAIN), Timings { pause: Duration::from_secs(600), ..quick() });
    let token = issuer.token(&own, &json!({}));
    let said = refusal(&client, &token).await;
    assert!(said.contains("cannot be fetched") && said.contains("dial tcp"), "{said}");
    assert!(said.contains("/users/.well-known/openid-configuration"), "{said}");
    // Accounts and certificates are not held up.
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    client.post(accounts, &json!({"metadata": {"name": "robot"}})).await.with(201);
    let made = client.post(&format!("{accounts}/robot/token"), &json!({})).await.with(201);
    assert_eq!(get(&client, made["status"]["token"].as_str().unwrap(), "/api").await, 200);
    assert_eq!(measured(&client, "kontiki_oidc_issuer_healthy{").await, 0);
    // It comes, and is found without anybody's doing.
    issuer.serve().await;
    while measured(&client, "kontiki_oidc_issuer_healthy{").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&client, &token, "/api").await, 200);
    // And goes: what is known counts on.
    issuer.stop().await;
    assert_eq!(get(&client, &token, "/api").await, 200);
    assert_eq!(get(&client, &issuer.token(&own, &json!({"sub": "joe"})), "/api").await, 200);
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_not_waited_for_long() {
    let own = key();
    let issuer = Issuer::start(&[&own]).await;
    issuer.stop().await;
    // Takes connections, and that is all.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", issuer.port)).await.unwrap();
    let wait = Duration::from_millis(20);
    let client = cluster(&issuer.configuration(PLAIN), Timings { wait, ..quick() });
    let said = refusal(&client, &issuer.token(&own, &json!({}))).await;
    assert!(said.contains("not here yet"), "{said}");
    drop(silent);
    // An answer that does not come is a failure as soon as it had its time.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", issuer.port)).await.unwrap();
    let answer = Duration::from_millis(20);
    let client = cluster(&issuer.configuration(PLAIN), Timings { answer, ..quick() });
    let said = refusal(&client, &issuer.token(&own, &json!({}))).await;
    assert!(said.contains("no answer within 0.02 s"), "{said}");
    drop(silent);
}

#[tokio::test]
async fn what_an_issuer_must_not_say() {
    let own = key();
    let issuer = Issuer::start(&[&own]).await;
    let (url, keys) = (issuer.url(), format!("{}/keys", issuer.url()));
    let description = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let ok = |body: String| (200, String::new(), body);
    for (described, published, why) in [
        ((404, String::new(), String::new()), ok(String::new()), "it was answered with 404 Not Found"),
        (
            (302, "https://other.example.com/x".to_owned(), String::new()),
            ok(String::new()),
            "it was answered with 302 Found to \"https://other.example.com/x\", and nobody goes there",
        ),
        (ok("<html>".into()), ok(String::new()), "does not describe an issuer"),
        (ok(json!({"issuer": url}).to_string()), ok(String::new()), "missing field `jwks_uri`"),
        (
            ok(description("https://other", &keys)),
            ok(String::new()),
            "describes the issuer \"https://other\"",
        ),
        (ok(description(&url, "http://localhost/keys")), ok(String::new()), "URL scheme must be https"),
        (ok(" ".repeat((256 << 10) + 1)), ok(String::new()), "longer than 262144 bytes"),
        (ok(description(&url, &keys)), ok(" ".repeat((1 << 20) + 1)), "longer than 1048576 bytes"),
        (ok(description(&url, &keys)), ok("{}".into()), "the keys cannot be read"),
        (ok(description(&url, &keys)), ok(json!({"keys": []}).to_string()), "no key that can verify"),
        (
            ok(description(&url, &keys)),
            ok(json!({"keys": [{"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]})
                .to_string()),
            "no key that can verify a token (key 1: an RSA key of 17 bits",
        ),
    ] {
        issuer
            .answer(move |path| if path.ends_with("/keys") { published.clone() } else { described.clone() });
        let client = cluster(&issuer.configuration(PLAIN), quick());
        let said = refusal(&client, &issuer.token(&own, &json!({}))).await;
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
    // Nor is one believed for whom nobody vouches.
    issuer.publish(&[&own]);
    let stranger = Issuer::start(&[]).await.authority.clone();
    let configuration = issuer.configuration(PLAIN);
    let own_authority = serde_json::to_string(&issuer.authority).unwrap();
    let configuration = configuration.replace(&own_authority, &serde_json::to_string(&stranger).unwrap());
    let said = refusal(&cluster(&configuration, quick()), &issuer.token(&own, &json!({}))).await;
    assert!(said.contains("tls: "), "{said}");
}

#[tokio::test]
async fn expressions_and_rules_decide() {
    let own = key();
    let issuer = Issuer::start(&[&own]).await;
    let mappings = r#"
  claimValidationRules:
  - claim: hd
    requiredValue: example.com
  - expression: claims.exp - claims.nbf <= 86400
    message: total token lifetime must not exceed 24 hours
  claimMappings:
    username: {expression: "'idp:' + claims.preferred_username.lowerAscii()"}
    groups: {expression: "claims.roles.split(',').filter(r, r != 'user').map(r, 'idp:' + r)"}
    uid: {claim: sub}
    extra:
    - {key: example.com/tenant, valueExpression: claims.tenant}
    - {key: example.com/admin, valueExpression: "has(claims.is_admin) && claims.is_admin ? 'true' : ''"}
  userValidationRules:
  - expression: "!user.username.startsWith('idp:root')"
    message: nobody is root
  - expression: "user.groups.all(group, group != 'idp:banned')"
"#;
    let client = cluster(&issuer.configuration(mappings), quick());
    let claims = json!({"hd": "example.com", "preferred_username": "Jane", "roles": "devs,user,ops",
        "tenant": ["a", "", "b"], "jti": ""});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.token(&own, &claims)
    };
    let user = who(&client, &issuer.token(&own, &claims)).await;
    let expected = json!({"username": "idp:jane", "uid": "jane", "groups": ["idp:devs", "idp:ops", "system:authenticated"],
        "extra": {"example.com/tenant": ["a", "b"]}});
    assert_eq!(user, expected);
    assert_eq!(
        who(&client, &with("is_admin", true.into())).await["extra"]["example.com/admin"],
        json!(["true"])
    );
    for (token, why) in [
        (with("hd", "other.example.com".into()), "required claim hd value does not match"),
        (with("hd", Value::Null), "parse claim hd"),
        (with("exp", (now_s() + 90_000).into()), "total token lifetime must not exceed 24 hours"),
        (with("preferred_username", 7.into()), "error evaluating username claim expression"),
        (with("preferred_username", "Root7".into()), "nobody is root"),
        (with("roles", "banned".into()), "error evaluating user info validation expression"),
        (with("roles", Value::Null), "error evaluating group claim expression"),
        (with("tenant", 7.into()), "error evaluating extra claim expression of \"example.com/tenant\""),
    ] {
        let said = refusal(&client, &token).await;
        assert!(said.contains(why), "{said:?} instead of {why:?}");
    }
}

#[tokio::test]
async fn a_configuration_is_replaced_when_its_issuers_are_there() {
    let (one, two) = (key(), key());
    let (first, second) = (Issuer::start(&[&one]).await, Issuer::start(&[&two]).await);
    let (options, authenticators) = options(&first.configuration(PLAIN), quick());
    let client = Client::with(FeedLimits::default(), options);
    let (of_first, of_second) = (first.token(&one, &json!({})), second.token(&two, &json!({})));
    assert_eq!(get(&client, &of_first, "/api").await, 200);
    assert_eq!(get(&client, &of_second, "/api").await, 401);
    // Both, and the first with other names: its keys stay, though it is gone, and what was believed before is not now.
    first.stop().await;
    let renamed = first.configuration(&PLAIN.replace("idp:", "first:"));
    let both = format!("{renamed}{}", second.configuration(PLAIN).split_once("jwt:\n").unwrap().1);
    let patience = Duration::from_secs(20);
    authenticators.replace(Configuration::read(&both).unwrap(), patience).await.unwrap();
    assert_eq!(who(&client, &of_first).await["username"], "first:jane");
    assert_eq!(who(&client, &of_second).await["username"], "idp:jane");
    // One that is not there: nothing changes.
    second.stop().await;
    let third = Configuration::read(&second.configuration(PLAIN).replace("/users", "/others")).unwrap();
    let refused = authenticators.replace(third, Duration::from_millis(50)).await.unwrap_err();
    assert!(refused.contains("/others"), "{refused}");
    assert_eq!(get(&client, &of_first, "/api").await, 200);
    // One less: its tokens end at once.
    authenticators
        .replace(Configuration::read(&second.configuration(PLAIN)).unwrap(), patience)
        .await
        .unwrap();
    assert_eq!(get(&client, &of_first, "/api").await, 401);
    assert_eq!(get(&client, &of_second, "/api").await, 200);
    authenticators.count_reload(true, 7);
    assert_eq!(measured(&client, "kontiki_authentication_config_reloads_total{result=\"success\"}").await, 1);
    assert_eq!(
        measured(&client, "kontiki_authentication_config_reload_timestamp_seconds{result=\"success\"}").await,
        7
    );
}

#[tokio::test]
async fn whoever_shows_nothing_may_be_refused() {
    let head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\nanonymous: ";
    for (anonymous, health, version) in [
        ("{enabled: true}", 200, 200),
        ("{enabled: false}", 401, 401),
        ("{enabled: true, conditions: [{path: /livez}]}", 200, 401),
    ] {
        let nobody = cluster(&format!("{head}{anonymous}\n"), quick()).as_peer(None);
        assert_eq!(nobody.get("/livez").await.code, health, "{anonymous}");
        assert_eq!(nobody.get("/readyz").await.code, version, "{anonymous}");
    }
}
