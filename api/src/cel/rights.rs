//! What expressions may ask about who may do what, in small steps: `authorizer.group('').resource('pods').namespace('a').check('get').allowed()`.
//! <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library>

use std::rc::Rc;

use super::value::Val;

/// Who knows who may do what.
pub(crate) trait Judge: std::fmt::Debug {
    /// Whether whoever makes the request may, or this service account (namespace, name); why, in words.
    fn may(&self, account: Option<(&str, &str)>, verb: &str, on: &Place) -> (bool, String);

    /// What the request is about.
    fn requested(&self) -> Place;
}

/// What is to be done something with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path that is no resource.
    Path(String),
    /// A resource. What is not told is empty.
    Resource { group: String, resource: String, subresource: String, namespace: String, name: String },
}

/// A question, as far as it was asked, or its answer.
#[derive(Clone, Debug)]
pub(crate) struct Rights<'a> {
    judge: &'a dyn Judge,
    account: Option<Rc<(String, String)>>,
    step: Rc<Step>,
}

#[derive(Debug)]
enum Step {
    Nothing,
    Group(String),
    On(Place),
    Answer(bool, String),
}

/// The functions of this library. `fieldSelector` and `labelSelector` do not change an answer: roles know none.
pub(super) const FUNCTIONS: &[&str] = &[
    "allowed",
    "check",
    "error",
    "errored",
    "fieldSelector",
    "group",
    "labelSelector",
    "name",
    "namespace",
    "path",
    "reason",
    "resource",
    "serviceAccount",
    "subresource",
];

impl<'a> Rights<'a> {
    /// The variable `authorizer`.
    pub(crate) fn new(judge: &'a dyn Judge) -> Rights<'a> {
        Rights { judge, account: None, step: Rc::new(Step::Nothing) }
    }

    fn then<'v>(&self, step: Step) -> Result<Val<'v>, String>
    where
        'a: 'v,
    {
        Ok(Val::Rights(Rights { judge: self.judge, account: self.account.clone(), step: Rc::new(step) }))
    }

    /// `authorizer.requestResource`.
    pub(super) fn select(&self, name: &str) -> Result<Val<'a>, String> {
        match (&*self.step, name) {
            (Step::Nothing, "requestResource") => self.then(Step::On(self.judge.requested())),
            _ => Err(format!("no such key: {name}")),
        }
    }

    /// Calls a function on it.
    pub(super) fn call(&self, function: &str, arguments: &[Val<'_>]) -> Result<Val<'a>, String> {
        let texts: Option<Vec<&str>> = arguments
            .iter()
            .map(|value| if let Val::Text(text) = value { Some(&**text) } else { None })
            .collect();
        let Some(texts) = texts else { return Err("no such overload".into()) };
        match (&*self.step, function, texts.as_slice()) {
            (Step::Nothing, "path", ["", ..]) => Err("path must not be empty".into()),
            (Step::Nothing, "path", [path]) => self.then(Step::On(Place::Path((*path).to_owned()))),
            (Step::Nothing, "group", [group]) => self.then(Step::Group((*group).to_owned())),
            (Step::Nothing, "serviceAccount", [namespace, name]) => {
                let account = Some(Rc::new(((*namespace).to_owned(), (*name).to_owned())));
                Ok(Val::Rights(Rights { judge: self.judge, account, step: self.step.clone() }))
            }
            (Step::Group(group), "resource", [resource]) => {
                let (group, resource, empty) = (group.clone(), (*resource).to_owned(), String::new);
                let place = Place::Resource {
                    group,
                    resource,
                    subresource: empty(),
                    namespace: empty(),
                    name: empty(),
                };
                self.then(Step::On(place))
            }
            (Step::On(Place::Resource { .. }), "fieldSelector" | "labelSelector", [_]) => {
                Ok(Val::Rights(self.clone()))
            }
            (Step::On(place @ Place::Resource { .. }), "subresource" | "namespace" | "name", [text]) => {
                let mut place = place.clone();
                if let Place::Resource { subresource, namespace, name, .. } = &mut place {
                    let field = match function {
                        "subresource" => subresource,
                        "namespace" => namespace,
                        _ => name,
                    };
                    (*text).clone_into(field);
                }
                self.then(Step::On(place))
            }
            (Step::On(place), "check", [verb]) => {
                let account = self.account.as_ref().map(|account| (account.0.as_str(), account.1.as_str()));
                let (may, why) = self.judge.may(account, verb, place);
                self.then(Step::Answer(may, why))
            }
            (Step::Answer(may, _), "allowed", []) => Ok(Val::Bool(*may)),
            (Step::Answer(_, why), "reason", []) => Ok(Val::owned(why.as_str())),
            // Whoever is asked always knows.
            (Step::Answer(..), "errored", []) => Ok(Val::Bool(false)),
            (Step::Answer(..), "error", []) => Ok(Val::owned("")),
            _ => Err("no such overload".into()),
        }
    }
}
