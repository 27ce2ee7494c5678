//! What puts a policy in force: for which writes, with which parameters, and what becomes of what it refuses.

use kontiki_actors::Object;
use serde_json::Value;

use super::super::matching::Scope;
use crate::{
    resource::fields::{items, text},
    selector::Selector,
};

/// A ValidatingAdmissionPolicyBinding.
#[derive(Debug)]
pub(in crate::admission) struct Binding {
    pub(super) name: String,
    /// The name of the policy.
    pub(super) policy: String,
    /// Which of the writes that the policy is for; none if all.
    pub(in crate::admission) scope: Option<Scope>,
    pub(super) params: Option<ParamRef>,
    /// What becomes of refusals: `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

/// Which objects are the parameters.
#[derive(Debug)]
pub(super) struct ParamRef {
    /// Empty where it is that of what is written.
    pub(super) namespace: String,
    pub(super) which: Which,
    /// Whether a write is refused when there are none.
    pub(super) needed: bool,
}

/// One object, or those with some labels.
#[derive(Debug)]
pub(super) enum Which {
    Named(String),
    Selected(Selector),
}

impl Binding {
    pub(super) fn read(object: &Object) -> Binding {
        let spec = object.document.spec_value();
        let (told, params) = (&spec["matchResources"], &spec["paramRef"]);
        let actions = items(&spec, "validationActions").filter_map(|(_, action)| action.as_str());
        Binding {
            name: object.key.name.to_string(),
            policy: text(&spec, "policyName").to_owned(),
            scope: told.is_object().then(|| Scope::of_resources(told)),
            params: params.is_object().then(|| ParamRef::read(params)),
            actions: actions.map(str::to_owned).collect(),
        }
    }
}

impl ParamRef {
    fn read(told: &Value) -> ParamRef {
        let which = match text(told, "name") {
            "" => {
                // It was checked when it was written. One that cannot be read selects nothing, which may be refused.
                let selector = Selector::from_object(told.get("selector"));
                Which::Selected(selector.unwrap_or_else(|_| Selector::nothing()))
            }
            name => Which::Named(name.to_owned()),
        };
        let needed = text(told, "parameterNotFoundAction") != "Allow";
        ParamRef { namespace: text(told, "namespace").to_owned(), which, needed }
    }
}
