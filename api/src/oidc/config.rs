//! Who issues tokens of users, and what becomes of their claims: `AuthenticationConfiguration` of apiserver.config.k8s.io.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration>

use std::collections::HashSet;

use kontiki_pki::trust;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    mapping::{Mapping, Name, Rule, Source},
    url::Url,
};
use crate::{
    cel::{CompileError, Program},
    resource::{field::Errors, names::domain_path},
    token::ISSUER,
};

/// Issuers of one configuration, as in Kubernetes.
const ISSUERS: usize = 64;
/// Audiences, rules and mappings of one issuer, each: every one of them is looked at for every token.
const LIST: usize = 64;
/// The versions of the file that are read: what is in them is the same.
const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
/// With this beginning Kubernetes names what belongs to it.
pub(super) const RESERVED: &str = "system:";

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub(super) String);

/// Who issues tokens of users, checked.
#[derive(Debug, Default)]
pub struct Configuration {
    pub(super) issuers: Vec<Issuer>,
    /// Who is served without showing anything.
    pub(super) anonymous: Anonymous,
}

/// Who is served without showing anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Whoever asks for what he may see.
    #[default]
    Everywhere,
    /// Whoever asks for one of these paths.
    Paths(Vec<String>),
    /// Nobody.
    Nowhere,
}

/// One issuer, and what its tokens mean here.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) place: Place,
    /// For whom a token is to be made: one of them is enough.
    pub(super) audiences: Vec<String>,
    pub(super) mapping: Mapping,
}

/// Where an issuer's keys are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As tokens and the issuer itself name it.
    pub(super) issuer: String,
    /// Where it says where its keys are.
    pub(super) discovery: Url,
    /// Who vouches for it, in PEM; empty for those that the machine trusts.
    pub(super) authority: String,
}

/// The flags of the same names of kube-apiserver, for one issuer.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-username-claim`; `sub` if it is not given.
    pub username_claim: Option<String>,
    /// `--oidc-username-prefix`; `-` for none. If it is not given, the issuer's URL and `#`, but for the claim `email`.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`.
    pub groups_claim: Option<String>,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: Option<String>,
    /// What is in the file of `--oidc-ca-file`.
    pub authority: Option<String>,
    /// `--oidc-required-claim`: names and values.
    pub required_claims: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    jwt: Option<Vec<Jwt>>,
    anonymous: Option<AnonymousTold>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnonymousTold {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Jwt {
    issuer: IssuerTold,
    claim_validation_rules: Option<Vec<ClaimRule>>,
    claim_mappings: Mappings,
    user_validation_rules: Option<Vec<UserRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct IssuerTold {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: Option<String>,
    certificate_authority: Option<String>,
    audiences: Option<Vec<String>>,
    audience_match_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClaimRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserRule {
    expression: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mappings {
    username: Told,
    groups: Option<Told>,
    uid: Option<Told>,
    extra: Option<Vec<Extra>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Told {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Extra {
    key: String,
    value_expression: String,
}

impl Configuration {
    /// Reads a configuration in YAML or JSON. A name that is not known is refused: a rule that means something else lets strangers in.
    pub fn read(text: &str) -> Result<Configuration, Unusable> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| Unusable(error.to_string()))?;
        if !VERSIONS.contains(&file.api_version.as_str()) || file.kind != "AuthenticationConfiguration" {
            return Err(Unusable(format!(
                "it is a {} of {}, and an AuthenticationConfiguration of {} is wanted",
                file.kind, file.api_version, VERSIONS[0]
            )));
        }
        check(&file)
    }

    /// The configuration that flags say.
    pub fn of_flags(flags: Flags) -> Result<Configuration, Unusable> {
        let claim = flags.username_claim.unwrap_or_else(|| "sub".to_owned());
        let prefix = match flags.username_prefix.as_deref() {
            Some("-") => String::new(),
            None | Some("") if claim != "email" => format!("{}#", flags.issuer_url),
            prefix => prefix.unwrap_or_default().to_owned(),
        };
        let groups = flags.groups_claim.map(|claim| Told {
            claim,
            prefix: Some(flags.groups_prefix.unwrap_or_default()),
            expression: String::new(),
        });
        let required = flags.required_claims.into_iter().map(|(claim, required_value)| ClaimRule {
            claim,
            required_value,
            ..ClaimRule::default()
        });
        let jwt = Jwt {
            issuer: IssuerTold {
                url: flags.issuer_url,
                certificate_authority: flags.authority,
                audiences: Some(vec![flags.client_id]),
                ..IssuerTold::default()
            },
            claim_validation_rules: Some(required.collect()),
            claim_mappings: Mappings {
                username: Told { claim, prefix: Some(prefix), expression: String::new() },
                groups,
                ..Mappings::default()
            },
            user_validation_rules: None,
        };
        check(&File { jwt: Some(vec![jwt]), ..File::default() })
    }

    /// The URLs of its issuers.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.iter().map(|issuer| issuer.place.issuer.as_str())
    }
}

fn list<T>(told: &Option<Vec<T>>) -> &[T] {
    told.as_deref().unwrap_or_default()
}

fn check(file: &File) -> Result<Configuration, Unusable> {
    let (mut errors, told) = (Errors::default(), list(&file.jwt));
    if told.len() > ISSUERS {
        errors.too_many("jwt", told.len(), ISSUERS);
    }
    let mut issuers = Vec::new();
    let (mut urls, mut discoveries) = (HashSet::new(), HashSet::new());
    for (at, jwt) in told.iter().enumerate().take(ISSUERS) {
        let path = format!("jwt[{at}]");
        issuers.extend(issuer(jwt, &path, &mut errors));
        if !urls.insert(jwt.issuer.url.as_str()) {
            errors.duplicate(&format!("{path}.issuer.url"), &json!(jwt.issuer.url));
        }
        let discovery = jwt.issuer.discovery_url.as_deref().unwrap_or_default();
        if !discovery.is_empty() && !discoveries.insert(discovery) {
            errors.duplicate(&format!("{path}.issuer.discoveryURL"), &json!(discovery));
        }
    }
    let anonymous = match &file.anonymous {
        None => Anonymous::Everywhere,
        Some(told) => match (told.enabled, list(&told.conditions)) {
            (true, []) => Anonymous::Everywhere,
            (true, conditions) => Anonymous::Paths(conditions.iter().map(|c| c.path.clone()).collect()),
            (false, []) => Anonymous::Nowhere,
            (false, _) => {
                let why = "enabled should be set to true when conditions are defined";
                errors.forbidden("anonymous.conditions", why);
                Anonymous::Nowhere
            }
        },
    };
    let causes = errors.into_causes();
    if causes.is_empty() {
        return Ok(Configuration { issuers, anonymous });
    }
    let causes: Vec<String> =
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    Err(Unusable(causes.join("; ")))
}

/// One issuer; none if there is an error, which is then told.
fn issuer(jwt: &Jwt, path: &str, errors: &mut Errors) -> Option<Issuer> {
    let place = place(&jwt.issuer, &format!("{path}.issuer"), errors);
    let mut reader = Reader { path, errors, verified: false };
    let (required, claim_rules) = reader.claim_rules(list(&jwt.claim_validation_rules));
    let mappings = reader.mappings(&jwt.claim_mappings);
    let user_rules = reader.user_rules(list(&jwt.user_validation_rules));
    let (username, groups, uid, extra) = mappings?;
    let audiences = list(&jwt.issuer.audiences).to_vec();
    let mapping = Mapping { username, groups, uid, extra, required, claim_rules, user_rules };
    Some(Issuer { place: place?, audiences, mapping })
}

fn place(told: &IssuerTold, path: &str, errors: &mut Errors) -> Option<Place> {
    let field = format!("{path}.url");
    if told.url == ISSUER {
        let why = "URL must not overlap with disallowed issuers: tokens of service accounts name it";
        errors.invalid_text(&field, &told.url, why);
    }
    let url = match told.url.as_str() {
        "" => {
            errors.required(&field, "URL is required");
            None
        }
        url => checked_url(url, &field, errors),
    };
    let discovery = match told.discovery_url.as_deref().unwrap_or_default() {
        "" => url.clone().map(Url::discovery),
        discovery => {
            let field = format!("{path}.discoveryURL");
            if discovery.trim_end_matches('/') == told.url.trim_end_matches('/') {
                errors.invalid_text(&field, discovery, "discoveryURL must be different from URL");
            }
            checked_url(discovery, &field, errors)
        }
    };
    audiences(told, path, errors);
    let authority = told.certificate_authority.clone().unwrap_or_default();
    if !authority.is_empty()
        && let Err(why) = trust::roots_of(authority.as_bytes())
    {
        errors.invalid_text(&format!("{path}.certificateAuthority"), "<omitted>", &why);
    }
    url.and(discovery).map(|discovery| Place { issuer: told.url.clone(), discovery, authority })
}

/// A URL that stands in the configuration.
fn checked_url(text: &str, path: &str, errors: &mut Errors) -> Option<Url> {
    match Url::read(text) {
        Ok(url) if url.has_query() => {
            errors.invalid_text(path, text, "URL must not contain a query");
            None
        }
        Ok(url) => Some(url),
        Err(why) => {
            errors.invalid_text(path, text, &why);
            None
        }
    }
}

fn audiences(told: &IssuerTold, path: &str, errors: &mut Errors) {
    let (audiences, field) = (list(&told.audiences), format!("{path}.audiences"));
    if audiences.is_empty() {
        errors.required(&field, "at least one audience is required");
    }
    if audiences.len() > LIST {
        errors.too_many(&field, audiences.len(), LIST);
    }
    let mut seen = HashSet::new();
    for (at, audience) in audiences.iter().enumerate().take(LIST) {
        let field = format!("{field}[{at}]");
        if audience.is_empty() {
            errors.required(&field, "audience can't be empty");
        }
        if !seen.insert(audience) {
            errors.duplicate(&field, &json!(audience));
        }
    }
    let policy = told.audience_match_policy.as_deref().unwrap_or_default();
    let fits = policy == "MatchAny" || (policy.is_empty() && audiences.len() < 2);
    if !fits {
        let why = match audiences.len() {
            0 | 1 => "audienceMatchPolicy must be empty or MatchAny for single audience",
            _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
        };
        errors.invalid_text(&format!("{path}.audienceMatchPolicy"), policy, why);
    }
}

/// Reads what is made of claims.
struct Reader<'a> {
    path: &'a str,
    errors: &'a mut Errors,
    /// Whether an expression looks at `claims.email_verified` by which whoever uses `claims.email` is to be sure.
    verified: bool,
}

type Read = (Name, Option<Name>, Option<Source>, Vec<(String, Program)>);

impl Reader<'_> {
    /// An expression of these variables; none if it cannot be used, which is then told.
    fn compile(&mut self, text: &str, variable: &str, field: &str) -> Option<Program> {
        match Program::compile_with(text, &[variable]) {
            Ok(program) => Some(program),
            Err(CompileError::Wrong(why)) => {
                self.errors.invalid_text(field, text, &format!("compilation failed: {why}"));
                None
            }
            Err(CompileError::Unsupported(why)) => {
                let why =
                    format!("this build cannot evaluate the expression: {why}; write it in another way");
                self.errors.invalid_text(field, text, &why);
                None
            }
        }
    }

    /// Whether there are not too many of something.
    fn counted(&mut self, count: usize, field: &str) {
        if count > LIST {
            self.errors.too_many(field, count, LIST);
        }
    }

    fn claim_rules(&mut self, told: &[ClaimRule]) -> (Vec<(String, String)>, Vec<Rule>) {
        let path = format!("{}.claimValidationRules", self.path);
        self.counted(told.len(), &path);
        let (mut required, mut rules) = (Vec::new(), Vec::new());
        let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
        for (at, rule) in told.iter().enumerate().take(LIST) {
            let field = format!("{path}[{at}]");
            match (rule.claim.as_str(), rule.expression.as_str()) {
                ("", "") => self.errors.required(&field, "claim or expression is required"),
                ("", expression) => {
                    if !rule.required_value.is_empty() {
                        let why = "requiredValue can't be set when expression is set";
                        let field = format!("{field}.requiredValue");
                        self.errors.invalid_text(&field, &rule.required_value, why);
                    }
                    let field = format!("{field}.expression");
                    if !expressions.insert(expression) {
                        self.errors.duplicate(&field, &json!(expression));
                        continue;
                    }
                    let Some(program) = self.compile(expression, "claims", &field) else { continue };
                    self.verified |= program.selects("claims", "email_verified");
                    rules.push(Rule::new(program, expression, &rule.message));
                }
                (claim, "") => {
                    if !rule.message.is_empty() {
                        let why = "message can't be set when claim is set";
                        self.errors.invalid_text(&format!("{field}.message"), &rule.message, why);
                    }
                    if !claims.insert(claim) {
                        self.errors.duplicate(&format!("{field}.claim"), &json!(claim));
                    }
                    required.push((claim.to_owned(), rule.required_value.clone()));
                }
                (claim, _) => {
                    self.errors.invalid_text(&field, claim, "claim and expression can't both be set");
                }
            }
        }
        (required, rules)
    }

    fn user_rules(&mut self, told: &[UserRule]) -> Vec<Rule> {
        let path = format!("{}.userValidationRules", self.path);
        self.counted(told.len(), &path);
        let (mut rules, mut seen) = (Vec::new(), HashSet::new());
        for (at, UserRule { expression, message }) in told.iter().enumerate().take(LIST) {
            let field = format!("{path}[{at}].expression");
            if expression.is_empty() {
                self.errors.required(&field, "expression is required");
            } else if !seen.insert(expression) {
                self.errors.duplicate(&field, &json!(expression));
            } else if let Some(program) = self.compile(expression, "user", &field) {
                rules.push(Rule::new(program, expression, message));
            }
        }
        rules
    }

    /// The mappings; none if one of them cannot be used, which is then told.
    fn mappings(&mut self, told: &Mappings) -> Option<Read> {
        let path = format!("{}.claimMappings", self.path);
        let username = self.name(&told.username, &format!("{path}.username"));
        if username.is_none() && told.username.claim.is_empty() && told.username.expression.is_empty() {
            self.errors.required(&format!("{path}.username"), "claim or expression is required");
        }
        let groups = told.groups.as_ref().and_then(|groups| self.name(groups, &format!("{path}.groups")));
        let uid = told.uid.as_ref().and_then(|uid| {
            if uid.prefix.is_some() {
                self.errors.forbidden(&format!("{path}.uid.prefix"), "a uid has no prefix");
            }
            self.source(uid, &format!("{path}.uid"))
        });
        let extra = self.extra(list(&told.extra), &format!("{path}.extra"));
        let name = username?;
        if let Source::Expression(program) = &name.source
            && program.selects("claims", "email")
            && !self.verified
            && !program.selects("claims", "email_verified")
        {
            let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression \
                       or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
            let field = format!("{path}.username.expression");
            self.errors.invalid_text(&field, &told.username.expression, why);
        }
        Some((name, groups, uid, extra))
    }

    fn extra(&mut self, told: &[Extra], path: &str) -> Vec<(String, Program)> {
        self.counted(told.len(), path);
        let (mut extra, mut seen) = (Vec::new(), HashSet::new());
        for (at, Extra { key, value_expression }) in told.iter().enumerate().take(LIST) {
            let field = format!("{path}[{at}].key");
            domain_path(key, &field, self.errors);
            if *key != key.to_lowercase() {
                self.errors.invalid_text(&field, key, "key must be lowercase");
            }
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            let under = |parent: &str| {
                domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            if under("k8s.io") || under("kubernetes.io") {
                let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                self.errors.invalid_text(&field, key, why);
            }
            if !seen.insert(key) {
                self.errors.duplicate(&field, &json!(key));
                continue;
            }
            let field = format!("{path}[{at}].valueExpression");
            if value_expression.is_empty() {
                self.errors.required(&field, "valueExpression is required");
                continue;
            }
            let Some(program) = self.compile(value_expression, "claims", &field) else { continue };
            self.verified |= program.selects("claims", "email_verified");
            extra.push((key.clone(), program));
        }
        extra
    }

    fn name(&mut self, told: &Told, path: &str) -> Option<Name> {
        let prefix = told.prefix.clone().unwrap_or_default();
        let field = format!("{path}.prefix");
        if !told.expression.is_empty() && told.prefix.is_some() {
            self.errors.invalid_text(&field, &prefix, "prefix can't be set when expression is set");
        }
        if told.expression.is_empty() && !told.claim.is_empty() && told.prefix.is_none() {
            let why =
                "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            self.errors.required(&field, why);
        }
        if prefix.starts_with(RESERVED) {
            let why = format!("names that begin with {RESERVED:?} belong to the cluster itself");
            self.errors.invalid_text(&field, &prefix, &why);
        }
        Some(Name { source: self.source(told, path)?, prefix })
    }

    fn source(&mut self, told: &Told, path: &str) -> Option<Source> {
        match (told.claim.as_str(), told.expression.as_str()) {
            ("", "") => None,
            (claim, "") => Some(Source::Claim(claim.to_owned())),
            ("", text) => self.compile(text, "claims", &format!("{path}.expression")).map(Source::Expression),
            _ => {
                self.errors.invalid(path, &Value::from(""), "claim and expression can't both be set");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
