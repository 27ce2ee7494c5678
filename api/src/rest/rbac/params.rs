//! Who writes a policy that has parameters shows them to its expressions, and in its refusals to himself: he must be allowed to read them.
//! That is as Kubernetes has it: of a policy all objects of the kind, of a binding those that it names.

use kontiki_actors::{Kind, Object, ObjectKey, State};
use serde_json::Value;

use crate::{
    resource::fields::{at, text},
    rest::{
        access::{Access, Attributes, On},
        identity::{Authorizer, User},
    },
    status::{Cause, Status},
};

/// Whether objects of this kind name parameters.
pub(super) fn concerns(kind: Kind) -> bool {
    matches!(kind, Kind::VALIDATING_ADMISSION_POLICY | Kind::VALIDATING_ADMISSION_POLICY_BINDING)
}

/// Refuses parameters that their writer may not read, if he is the one who named them. `old` is what is replaced.
pub(super) fn check(
    authorizer: &dyn Authorizer,
    user: &User,
    key: &ObjectKey,
    new: &Value,
    old: Option<&Object>,
    state: &State,
) -> Result<(), Status> {
    let (spec, before) = (&new["spec"], old.map(|old| old.document.spec_value()).unwrap_or_default());
    let may = |verb: &str, kind: &Value, namespace: &str, name: &str| {
        let (api_version, kind) = (text(kind, "apiVersion"), text(kind, "kind"));
        // What cannot be told may be anything.
        let (group, resource) = match state.kind_named(api_version, kind) {
            Some(kind) => (kind.info().group, kind.info().plural),
            None if api_version.is_empty() => ("*", "*"),
            None => (api_version.rsplit_once('/').map_or("", |(group, _)| group), "*"),
        };
        let on = Attributes { group, resource, namespace, name, ..Attributes::default() };
        authorizer.allows(user, &Access { verb, on: On::Resource(on) }, state)
    };
    if key.kind == Kind::VALIDATING_ADMISSION_POLICY {
        let kind = &spec["paramKind"];
        if !kind.is_object() || before["paramKind"] == *kind || may("get", kind, "*", "*") {
            return Ok(());
        }
        let why = format!(
            "user {:?} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            user.name,
            text(kind, "kind"),
            text(kind, "apiVersion")
        );
        return Err(forbidden(key, "spec.paramKind", &why));
    }
    let params = &spec["paramRef"];
    let same = before["paramRef"] == *params && before["policyName"] == spec["policyName"];
    if !params.is_object() || same {
        return Ok(());
    }
    let verb = if text(params, "name").is_empty() { "list" } else { "get" };
    let policy = ObjectKey::new(Kind::VALIDATING_ADMISSION_POLICY, "", text(spec, "policyName"));
    let policy = state.get(&policy).map(|policy| policy.document.spec_value());
    let kind = policy.as_ref().map_or(&Value::Null, |spec| at(spec, &["paramKind"]));
    if may(verb, kind, text(params, "namespace"), text(params, "name")) {
        return Ok(());
    }
    let who = &user.name;
    let why = match policy {
        Some(_) => {
            format!("user {who:?} does not have {verb:?} permission on the object referenced by paramRef")
        }
        None => format!(
            "unable to get policy {} to determine minimum required permissions and user {who:?} does not have {verb:?} \
             permission for all groups, versions and resources",
            text(spec, "policyName")
        ),
    };
    Err(forbidden(key, "spec.paramRef", &why))
}

fn forbidden(key: &ObjectKey, field: &str, why: &str) -> Status {
    let info = key.kind.info();
    let cause = Cause {
        reason: "FieldValueForbidden".into(),
        message: format!("Forbidden: {why}"),
        field: field.into(),
    };
    Status::invalid(info.group, info.kind, &key.name, vec![cause])
}
