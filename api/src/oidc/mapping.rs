//! What becomes of the claims of a token that holds: a user, or a refusal.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config::RESERVED;
use crate::{
    cel::{Program, Val},
    rest::User,
};

/// What one expression may cost, and all of one token: as rules of definitions and conditions of webhooks.
const ONE: u64 = 1_000_000;
const ALL: u64 = 2_500_000;
/// Whoever is somebody is in it.
const AUTHENTICATED: &str = "system:authenticated";
/// Names the claims that are to be asked for at another place: those of OpenID Connect Core 1.0, section 5.6.2.
const ELSEWHERE: &str = "_claim_names";
/// Tells one token from another in what is audited.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// What is made of claims.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) username: Name,
    pub(super) groups: Option<Name>,
    pub(super) uid: Option<Source>,
    pub(super) extra: Vec<(String, Program)>,
    /// Claims that must be there, with these values.
    pub(super) required: Vec<(String, String)>,
    pub(super) claim_rules: Vec<Rule>,
    pub(super) user_rules: Vec<Rule>,
}

/// Where names come from, and how they begin then.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) source: Source,
    pub(super) prefix: String,
}

/// Where something comes from.
#[derive(Debug)]
pub(super) enum Source {
    Claim(String),
    Expression(Program),
}

/// A rule that must hold.
#[derive(Debug)]
pub(super) struct Rule {
    program: Program,
    text: String,
    message: String,
}

impl Rule {
    pub(super) fn new(program: Program, text: &str, message: &str) -> Rule {
        Rule { program, text: text.to_owned(), message: message.to_owned() }
    }

    fn hold(rules: &[Rule], of: (&str, &Value), spent: &mut Spent, what: &str) -> Result<(), String> {
        for rule in rules {
            match spent.run(&rule.program, of) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => {
                    return Err(format!(
                        "error evaluating {what} expression: validation expression '{}' failed: {}",
                        rule.text, rule.message
                    ));
                }
                Ok(_) => {
                    let why = "validation expression must return a boolean";
                    return Err(format!("error evaluating {what} expression: {why}"));
                }
                Err(why) => return Err(format!("error evaluating {what} expression '{}': {why}", rule.text)),
            }
        }
        Ok(())
    }
}

/// What the expressions of one token have cost so far.
struct Spent {
    left: u64,
}

impl Spent {
    fn run<'a>(
        &mut self,
        program: &'a Program,
        (variable, value): (&'a str, &'a Value),
    ) -> Result<Val<'a>, String> {
        let given = ONE.min(self.left);
        let mut budget = given;
        let out = program.run_with(vec![(variable, Val::of(value, None))], &mut budget);
        self.left -= given - budget;
        out
    }

    /// The texts that an expression gives: those that are empty are as if they were not there.
    fn texts(&mut self, program: &Program, claims: &Value) -> Result<Vec<String>, String> {
        let value = self.run(program, ("claims", claims))?;
        let texts = value.texts().ok_or("expression must return a string or a list of strings")?;
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }

    /// The one text that an expression gives.
    fn text(&mut self, program: &Program, claims: &Value) -> Result<String, String> {
        match self.run(program, ("claims", claims))? {
            Val::Text(text) => Ok(text.to_string()),
            _ => Err("claim expression must return a string".into()),
        }
    }
}

impl Mapping {
    /// The user that claims stand for.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn user(&self, claims: &Value) -> Result<User, String> {
        let Some(map) = claims.as_object() else { return Err("the claims are no object".into()) };
        let mut spent = Spent { left: ALL };
        let name = self.name(map, claims, &mut spent)?;
        let groups = self.groups(map, claims, &mut spent)?;
        let uid = match &self.uid {
            None => String::new(),
            Some(Source::Claim(claim)) => {
                text(map, claim).map_err(|why| format!("parse uid claim {claim:?}: {why}"))?.to_owned()
            }
            Some(Source::Expression(program)) => {
                let uid = spent.text(program, claims);
                uid.map_err(|why| format!("error evaluating uid claim expression: {why}"))?
            }
        };
        let mut extra = BTreeMap::new();
        if let Some(id) = map.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert(CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, program) in &self.extra {
            let values = spent.texts(program, claims);
            let values =
                values.map_err(|why| format!("error evaluating extra claim expression of {key:?}: {why}"))?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        for (claim, value) in &self.required {
            check_required(map, claim, value)?;
        }
        Rule::hold(&self.claim_rules, ("claims", claims), &mut spent, "claim validation")?;
        let mut user = User { name, uid, groups, extra };
        let shown =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        Rule::hold(&self.user_rules, ("user", &shown), &mut spent, "user info validation")?;
        check_reserved(&user)?;
        user.groups.push(AUTHENTICATED.to_owned());
        Ok(user)
    }

    fn name(&self, map: &Map<String, Value>, claims: &Value, spent: &mut Spent) -> Result<String, String> {
        let Name { source, prefix } = &self.username;
        let name = match source {
            Source::Claim(claim) => {
                let name =
                    text(map, claim).map_err(|why| format!("parse username claims {claim:?}: {why}"))?;
                // Whoever may say which address is his is not yet who gets mail there.
                if claim == "email" && map.get("email_verified").is_some_and(|verified| verified != true) {
                    return Err("email not verified".into());
                }
                name.to_owned()
            }
            Source::Expression(program) => {
                let name = spent.text(program, claims);
                name.map_err(|why| format!("error evaluating username claim expression: {why}"))?
            }
        };
        if name.is_empty() {
            return Err("an empty username is not allowed".into());
        }
        Ok(format!("{prefix}{name}"))
    }

    fn groups(
        &self,
        map: &Map<String, Value>,
        claims: &Value,
        spent: &mut Spent,
    ) -> Result<Vec<String>, String> {
        let Some(Name { source, prefix }) = &self.groups else { return Ok(Vec::new()) };
        let groups = match source {
            Source::Claim(claim) => {
                // Whoever has no groups may be let in where his groups would keep him out.
                if !map.contains_key(claim) && map.get(ELSEWHERE).is_some_and(|names| !names[claim].is_null())
                {
                    return Err(format!(
                        "the claim {claim:?} stands elsewhere ({ELSEWHERE}), and such claims are not fetched"
                    ));
                }
                let groups = match map.get(claim) {
                    None | Some(Value::Null) => Some(Vec::new()),
                    Some(Value::String(group)) => Some(vec![group.clone()]),
                    Some(Value::Array(groups)) => {
                        groups.iter().map(|group| group.as_str().map(str::to_owned)).collect()
                    }
                    Some(_) => None,
                };
                let why = || format!("parse groups claim {claim:?}: it is no string and no list of strings");
                groups.ok_or_else(why)?
            }
            Source::Expression(program) => {
                let groups = spent.texts(program, claims);
                groups.map_err(|why| format!("error evaluating group claim expression: {why}"))?
            }
        };
        let groups = groups.into_iter().filter(|group| !group.is_empty());
        Ok(groups.map(|group| format!("{prefix}{group}")).collect())
    }
}

/// Names that the cluster gives to what belongs to it: no issuer may give them. (Kubernetes leaves that to rules of whoever configures it; here
/// some of those names are those of controllers and workers.)
fn check_reserved(user: &User) -> Result<(), String> {
    let names =
        [("username", &user.name)].into_iter().chain(user.groups.iter().map(|group| ("group", group)));
    let mut reserved = names.filter(|(_, name)| name.starts_with(RESERVED));
    match reserved.next() {
        None => Ok(()),
        Some((what, name)) => Err(format!(
            "the {what} {name:?} begins with {RESERVED:?}: such names belong to the cluster itself, map it with a prefix"
        )),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<&'a str, &'static str> {
    claims.get(name).ok_or("claim not present")?.as_str().ok_or("it is no string")
}

fn check_required(claims: &Map<String, Value>, claim: &str, value: &str) -> Result<(), String> {
    let Some(found) = claims.get(claim) else {
        return Err(format!("required claim {claim} not present in ID token"));
    };
    match found.as_str() {
        None => Err(format!("parse claim {claim}: it is no string")),
        Some(found) if found != value => {
            Err(format!("required claim {claim} value does not match. Got = {found}, want = {value}"))
        }
        Some(_) => Ok(()),
    }
}
