//! An issuer of OpenID Connect on this machine, over TLS, and tokens that it makes.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use axum::{
    Router,
    http::{StatusCode, Uri, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kontiki_pki::{ALPN, AccountKeys, Ca, DEFAULT_LIFETIME, Identity, Subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whom its tokens are for.
pub const AUDIENCE: &str = "kontiki";

/// What an issuer answers at a path: a code, a place to go to, and a body.
type Answers = Arc<dyn Fn(&str) -> (u16, String, String) + Send + Sync>;

/// A key that signs tokens.
pub trait Key {
    fn algorithm(&self) -> &'static str;
    fn id(&self) -> String;
    /// As a set of keys has it.
    fn public(&self) -> Value;
    fn sign(&self, message: &[u8]) -> Vec<u8>;
}

/// One of ES256.
pub fn key() -> AccountKeys {
    AccountKeys::of(&Ca::create("kontiki-issuer").unwrap()).unwrap()
}

impl Key for AccountKeys {
    fn algorithm(&self) -> &'static str {
        "ES256"
    }

    fn id(&self) -> String {
        AccountKeys::id(self).to_owned()
    }

    fn public(&self) -> Value {
        let key = AccountKeys::public(self).next().unwrap();
        json!({"kty": "EC", "crv": "P-256", "kid": key.id, "use": "sig", "alg": "ES256",
            "x": encode(key.x), "y": encode(key.y)})
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        AccountKeys::sign(self, message).unwrap()
    }
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this header and these claims.
pub fn signed(key: &impl Key, header: &Value, claims: &Value) -> String {
    let message =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    format!("{message}.{}", encode(&key.sign(message.as_bytes())))
}

pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

pub struct Issuer {
    pub port: u16,
    /// Who vouches for it.
    pub authority: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
    identity: Identity,
    until: CancellationToken,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.until.cancel();
    }
}

impl Issuer {
    /// One that has these keys.
    pub async fn start(keys: &[&dyn Key]) -> Issuer {
        kontiki_pki::install_crypto();
        let ca = Ca::create("kontiki-issuer").unwrap();
        let addresses = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let subject = Subject::Controller { id: 1, name: "issuer".into(), addresses };
        let pair = ca.issue(&subject, DEFAULT_LIFETIME).unwrap();
        let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem).unwrap();
        let mut issuer = Issuer {
            port: 0,
            authority: ca.cert_pem().to_owned(),
            answers: Arc::new(Mutex::new(Arc::new(|_| (404, String::new(), String::new())))),
            asked: Arc::default(),
            identity,
            until: CancellationToken::new(),
        };
        issuer.serve().await;
        issuer.publish(keys);
        issuer
    }

    /// Serves at its port, or if it has none, at a new one.
    pub async fn serve(&mut self) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port))).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        self.until = CancellationToken::new();
        let (answers, asked) = (self.answers.clone(), self.asked.clone());
        let app = Router::new().fallback(move |uri: Uri| {
            asked.lock().push(uri.to_string());
            let answer = answers.lock().clone();
            let (code, location, body) = answer(&uri.to_string());
            async move { (StatusCode::from_u16(code).unwrap(), [(header::LOCATION, location)], body) }
        });
        let (tls, until) = (self.identity.server_config(ALPN), self.until.clone());
        tokio::spawn(
            async move { kontiki_pki::serve(listener, tls, "kontiki-issuer", None, app, until).await },
        );
    }

    /// Nobody answers at its port any more.
    pub async fn stop(&self) {
        self.until.cancel();
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/users", self.port)
    }

    /// It has these keys now.
    pub fn publish(&self, keys: &[&dyn Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        let (url, keys) = (self.url(), json!({"keys": keys}).to_string());
        let description = json!({"issuer": url, "jwks_uri": format!("{url}/keys?all=1")}).to_string();
        self.answer(move |path| match path {
            "/users/.well-known/openid-configuration" => (200, String::new(), description.clone()),
            "/users/keys?all=1" => (200, String::new(), keys.clone()),
            _ => (404, String::new(), String::new()),
        });
    }

    /// It says this to whoever asks.
    pub fn answer(&self, answers: impl Fn(&str) -> (u16, String, String) + Send + Sync + 'static) {
        *self.answers.lock() = Arc::new(answers);
    }

    /// What it was asked for since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }

    /// Claims of a token that holds for an hour, and these.
    pub fn claims(&self, more: &Value) -> Value {
        let now = now_s();
        let mut claims = json!({"iss": self.url(), "aud": AUDIENCE, "sub": "jane", "iat": now, "nbf": now,
            "exp": now + 3600});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// A token of this key with these claims besides the usual ones.
    pub fn token(&self, key: &impl Key, more: &Value) -> String {
        let header = json!({"alg": key.algorithm(), "kid": key.id(), "typ": "JWT"});
        signed(key, &header, &self.claims(more))
    }

    /// A configuration of it, with these mappings.
    pub fn configuration(&self, mappings: &str) -> String {
        let authority = serde_json::to_string(&self.authority).unwrap();
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {}\n    \
             audiences: [{AUDIENCE}]\n    certificateAuthority: {authority}\n{mappings}",
            self.url()
        )
    }
}
