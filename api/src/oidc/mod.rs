//! Users who are known elsewhere: tokens of OpenID Connect issuers, believed as Kubernetes believes them.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens>
//!
//! ```text
//!   config.rs    AuthenticationConfiguration, checked       url.rs      URLs of https
//!   provider.rs  an issuer's keys, kept current             fetch.rs    what it publishes    keys.rs  its keys
//!   jwt.rs       what a token says of itself                mapping.rs  claims -> user
//! ```
//!
//! A token names its issuer, so that at most one issuer is asked about it. All that can be refused without a key is, before one is looked for.
//! Claims that stand elsewhere (`_claim_names`) are not fetched.
//!
//! Not for tokens of service accounts: the cluster issues them itself ([`crate::token`]).

mod config;
mod fetch;
mod jwt;
mod keys;
mod mapping;
mod provider;
mod url;

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use config::Anonymous;
pub use config::{Configuration, Flags, Unusable};
use parking_lot::{Mutex, RwLock};
pub use provider::Timings;
use serde_json::Value;
use sha2::{Digest, Sha256};

use config::Issuer;
use jwt::{Times, Token};
use keys::KeySet;
use provider::{Provider, Stand};

use crate::rest::User;

/// Users of tokens that are remembered, of each issuer: a token is shown with every request.
const REMEMBERED: usize = 4096;
/// How Google names itself in tokens that it issued before it followed the standard, and how it should.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

/// Believes tokens of issuers that are configured.
#[derive(Debug)]
pub struct Authenticators {
    list: RwLock<Arc<[Arc<Authenticator>]>>,
    anonymous: Anonymous,
    timings: Timings,
    reloads: Reloads,
}

/// How often the configuration was read anew, and when last: Unix seconds, 0 for never.
#[derive(Debug, Default)]
struct Reloads {
    done: [AtomicU64; 2],
    last_s: [AtomicU64; 2],
}

/// One issuer, and what its tokens mean here.
#[derive(Debug)]
struct Authenticator {
    audiences: Vec<String>,
    mapping: mapping::Mapping,
    provider: Arc<Provider>,
    known: Mutex<Known>,
    believed: AtomicU64,
    refused: AtomicU64,
}

/// Whom tokens stand for that were proven by these keys, by the hashes of the whole tokens. With other keys there is nothing known.
#[derive(Debug, Default)]
struct Known {
    by: Option<Arc<KeySet>>,
    users: HashMap<[u8; 32], (Times, Arc<User>)>,
}

impl Authenticators {
    /// Begins to fetch the keys of all issuers. Needs a runtime; waits for nobody.
    pub fn start(configuration: Configuration, timings: Timings) -> Authenticators {
        let start = |issuer: Issuer| {
            let provider = Arc::new(Provider::start(issuer.place.clone(), timings));
            Arc::new(Authenticator::new(issuer, provider))
        };
        Authenticators {
            list: RwLock::new(configuration.issuers.into_iter().map(start).collect()),
            anonymous: configuration.anonymous,
            timings,
            reloads: Reloads::default(),
        }
    }

    /// Checks that another configuration could be put in the place of the one that counts.
    ///
    /// # Errors
    /// It changes what does not change while a controller runs.
    pub fn admits(&self, configuration: &Configuration) -> Result<(), Unusable> {
        if configuration.anonymous == self.anonymous {
            return Ok(());
        }
        let why = "anonymous: Forbidden: changed from initial configuration file; start the controller anew for that";
        Err(Unusable(why.to_owned()))
    }

    /// Puts another configuration in the place of the one that counts, as soon as the keys of all issuers that are new in it are here. Others keep
    /// theirs, and tokens of those that are not in it any more end at once.
    ///
    /// # Errors
    /// They are not here in time, and the former configuration counts on.
    pub async fn replace(&self, configuration: Configuration, patience: Duration) -> Result<(), String> {
        let former = self.list.read().clone();
        let (mut list, mut new) = (Vec::new(), Vec::new());
        for issuer in configuration.issuers {
            let same = former.iter().find(|authenticator| *authenticator.provider.place() == issuer.place);
            let provider = match same {
                Some(authenticator) => authenticator.provider.clone(),
                None => {
                    let provider = Arc::new(Provider::start(issuer.place.clone(), self.timings));
                    new.push(provider.clone());
                    provider
                }
            };
            list.push(Arc::new(Authenticator::new(issuer, provider)));
        }
        let until = tokio::time::Instant::now() + patience;
        for provider in new {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let there = provider.healthy(left).await;
            there.map_err(|why| format!("the keys of {} are not here: {why}", provider.place().issuer))?;
        }
        *self.list.write() = list.into();
        Ok(())
    }

    /// Counts an attempt to read the configuration anew.
    pub fn count_reload(&self, succeeded: bool, now_s: u64) {
        let at = usize::from(succeeded);
        self.reloads.done[at].fetch_add(1, Ordering::Relaxed);
        self.reloads.last_s[at].store(now_s, Ordering::Relaxed);
    }

    /// Whether somebody who shows nothing may ask for a path.
    pub(crate) fn admits_anonymous(&self, path: &str) -> bool {
        match &self.anonymous {
            Anonymous::Everywhere => true,
            Anonymous::Paths(paths) => paths.iter().any(|known| known == path),
            Anonymous::Nowhere => false,
        }
    }

    /// Whom a token stands for; none if no issuer here made it.
    pub(crate) async fn believe(&self, token: &str, now_ms: i64) -> Option<Result<User, String>> {
        let claims = jwt::claims(token)?;
        let issuer = match claims["iss"].as_str()? {
            issuer if issuer == GOOGLE.0 => GOOGLE.1,
            issuer => issuer,
        };
        let list = self.list.read().clone();
        let authenticator = list.iter().find(|known| known.provider.place().issuer == issuer)?;
        let answer = authenticator.believe(token, &claims, now_ms).await;
        let count = if answer.is_ok() { &authenticator.believed } else { &authenticator.refused };
        count.fetch_add(1, Ordering::Relaxed);
        Some(answer.map_err(|why| format!("oidc: {why}")))
    }

    /// How it stands, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let (list, mut out) = (self.list.read().clone(), String::new());
        let stands: Vec<(String, &Authenticator, Stand)> = list
            .iter()
            .map(|one| (label(&one.provider.place().issuer), &**one, one.provider.stand()))
            .collect();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let _ = write!(out, "# HELP kontiki_{name} {help}\n# TYPE kontiki_{name} {kind}\n");
            for (labels, value) in lines {
                let _ = writeln!(out, "kontiki_{name}{suffix}{{{labels}}} {value}");
            }
        };
        let each = |value: &dyn Fn(&Stand) -> u64| -> Vec<(String, u64)> {
            stands.iter().map(|(issuer, _, stand)| (format!("issuer={issuer}"), value(stand))).collect()
        };
        let help = "1 if the issuer's keys could be fetched the last time.";
        family("oidc_issuer_healthy", "gauge", help, each(&|stand| u64::from(stand.is_healthy())));
        let help = "keys of the issuer that count.";
        family(
            "oidc_issuer_keys",
            "gauge",
            help,
            each(&|stand| stand.keys.as_ref().map_or(0, |k| k.len() as u64)),
        );
        let both = |of: &dyn Fn(&Authenticator, &Stand) -> [u64; 2]| -> Vec<(String, u64)> {
            let lines = stands.iter().flat_map(|(issuer, one, stand)| {
                let [failure, success] = of(one, stand);
                [("failure", failure), ("success", success)]
                    .map(|(result, count)| (format!("issuer={issuer},result=\"{result}\""), count))
            });
            lines.collect()
        };
        let help = "attempts to fetch the issuer's keys.";
        family("oidc_issuer_fetches", "counter", help, both(&|_, stand| [stand.failed, stand.fetched]));
        let help = "tokens of the issuer that were shown, as often as they were.";
        let counts = |one: &Authenticator, _: &Stand| {
            [&one.refused, &one.believed].map(|count| count.load(Ordering::Relaxed))
        };
        family("oidc_tokens", "counter", help, both(&counts));
        let results = |of: &[AtomicU64; 2]| -> Vec<(String, u64)> {
            let both = ["failure", "success"].into_iter().zip(of);
            both.map(|(result, count)| (format!("result=\"{result}\""), count.load(Ordering::Relaxed)))
                .collect()
        };
        let help = "attempts to read the authentication configuration anew.";
        family("authentication_config_reloads", "counter", help, results(&self.reloads.done));
        let help = "when it was last read anew, Unix seconds.";
        family(
            "authentication_config_reload_timestamp_seconds",
            "gauge",
            help,
            results(&self.reloads.last_s),
        );
        out
    }
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl Authenticator {
    fn new(issuer: Issuer, provider: Arc<Provider>) -> Authenticator {
        let Issuer { audiences, mapping, .. } = issuer;
        let (believed, refused) = Default::default();
        Authenticator { audiences, mapping, provider, known: Mutex::default(), believed, refused }
    }

    async fn believe(&self, token: &str, claims: &Value, now_ms: i64) -> Result<User, String> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let stand = self.provider.stand();
        if let Some((times, user)) = self.known(&hash, stand.keys.as_ref()) {
            times.check(now_ms)?;
            return Ok(User::clone(&user));
        }
        let times = self.check(claims, now_ms)?;
        let keys = self.prove(&Token::read(token)?, stand).await?;
        let user = self.mapping.user(claims)?;
        self.remember(hash, keys, (times, Arc::new(user.clone())));
        Ok(user)
    }

    /// What a token must say, whoever signed it.
    fn check(&self, claims: &Value, now_ms: i64) -> Result<Times, String> {
        let theirs = jwt::audiences(claims);
        if !theirs.iter().any(|audience| self.audiences.iter().any(|known| known == audience)) {
            return Err(format!("expected audience in {:?} got {theirs:?}", self.audiences));
        }
        let times = Times::of(claims)?;
        times.check(now_ms)?;
        Ok(times)
    }

    /// The keys of which one signed a token. Those that are known, or if none did, those that the issuer has now.
    async fn prove(&self, token: &Token<'_>, mut stand: Stand) -> Result<Arc<KeySet>, String> {
        let proves = |stand: &Stand| stand.keys.clone().filter(|keys| keys.verify(token));
        if let Some(keys) = proves(&stand) {
            return Ok(keys);
        }
        if let Some(newer) = self.provider.newer(&stand).await {
            stand = newer;
            if let Some(keys) = proves(&stand) {
                return Ok(keys);
            }
        }
        Err(match (&stand.keys, &stand.failure) {
            (None, None) => "the issuer's keys are not here yet: try again".to_owned(),
            (None, Some(why)) => format!("the issuer's keys cannot be fetched: {why}"),
            (Some(_), None) => "failed to verify signature: no key of the issuer made it".to_owned(),
            (Some(_), Some(why)) => {
                format!(
                    "failed to verify signature: no key that is known made it, and newer ones cannot be fetched: {why}"
                )
            }
        })
    }

    fn known(&self, hash: &[u8; 32], by: Option<&Arc<KeySet>>) -> Option<(Times, Arc<User>)> {
        let known = self.known.lock();
        let same = known.by.as_ref().zip(by).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        if same { known.users.get(hash).cloned() } else { None }
    }

    fn remember(&self, hash: [u8; 32], by: Arc<KeySet>, what: (Times, Arc<User>)) {
        let mut known = self.known.lock();
        let same = known.by.as_ref().is_some_and(|keys| Arc::ptr_eq(keys, &by));
        if !same || known.users.len() >= REMEMBERED {
            *known = Known { by: Some(by), users: HashMap::new() };
        }
        known.users.insert(hash, what);
    }
}

#[cfg(test)]
mod tests;
