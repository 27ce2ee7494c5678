//! What expressions of webhooks and policies see of a write, and what they may ask.

use kontiki_actors::State;
use serde_json::Value;

use super::asked::Asked;
use crate::{
    cel::{CompileError, Judge, Place, Program, Rights, Val, Variable},
    rest::{Access, Attributes, On, User, call::Call},
};

/// What all of them see; parameters are those of policies that have a kind of them.
const NAMES: [&str; 4] = ["object", "oldObject", "request", "namespaceObject"];
const PARAMS: &str = "params";
const AUTHORIZER: &str = "authorizer";

/// Which names an expression may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) params: bool,
    pub(super) authorizer: bool,
}

impl Names {
    /// Reads an expression of these names.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub(super) fn compile(self, expression: &str, variables: &[Variable]) -> Result<Program, String> {
        let mut names = NAMES.to_vec();
        names.extend(self.params.then_some(PARAMS));
        names.extend(self.authorizer.then_some(AUTHORIZER));
        Program::compile_among(expression, &names, variables).map_err(|error| match error {
            CompileError::Wrong(why) | CompileError::Unsupported(why) => format!("ERROR: <input>: {why}"),
        })
    }
}

/// A write as expressions see it. What is not there is null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'v> {
    pub(super) object: &'v Value,
    pub(super) old: &'v Value,
    pub(super) request: &'v Value,
    pub(super) namespace: &'v Value,
    pub(super) params: &'v Value,
    pub(super) judge: &'v dyn Judge,
}

impl<'v> Shown<'v> {
    /// The values of all names.
    pub(super) fn values(&self) -> Vec<(&'static str, Val<'v>)> {
        let objects = [self.object, self.old, self.request, self.namespace, self.params];
        let names = NAMES.into_iter().chain([PARAMS]);
        let mut values: Vec<_> = names.zip(objects.map(|value| Val::of(value, None))).collect();
        values.push((AUTHORIZER, Val::Rights(Rights::new(self.judge))));
        values
    }
}

/// Answers expressions that ask who may do what.
pub(super) struct Asker<'c> {
    pub(super) call: &'c Call,
    pub(super) asked: &'c Asked,
    /// A view with every acknowledged write; none where no expression asks.
    pub(super) state: Option<State>,
}

impl std::fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asker({})", self.call.user.name)
    }
}

impl Judge for Asker<'_> {
    fn may(&self, account: Option<(&str, &str)>, verb: &str, on: &Place) -> (bool, String) {
        let Some(state) = &self.state else { return (false, "rights were not looked at".into()) };
        let account = account.map(|(namespace, name)| User::account(namespace, name));
        let user = account.as_ref().unwrap_or(&self.call.user);
        let on = match on {
            Place::Path(path) => On::Path(path),
            Place::Resource { group, resource, subresource, namespace, name } => {
                On::Resource(Attributes { group, resource, subresource, namespace, name, on_node: None })
            }
        };
        let (access, authorizer) = (Access { verb, on }, &self.call.api.options.authorizer);
        (authorizer.allows(user, &access, state), authorizer.reason(user, &access, state))
    }

    fn requested(&self) -> Place {
        let Asked { served, subresource, namespace, name, .. } = self.asked;
        Place::Resource {
            group: served.group().to_owned(),
            resource: served.kind.info().plural.to_owned(),
            subresource: subresource.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
        }
    }
}
