//! How writes pass webhooks. Those that may change an object are shown it complete, before it is prepared and checked, as what they make of
//! it is to be; those that judge are shown it as it will be stored. An update is submitted for the very revision that they were shown, and
//! shown again if others were faster.

use kontiki_actors::{Kind, Object, State, input::Part};
use serde_json::{Value, json};

use super::{
    call::Call,
    path::Target,
    read, scale,
    subresource::EPHEMERAL,
    tracking,
    write::{Proposal, same_name, same_namespace},
};
use crate::{
    admission::{Admission, Asked, Operation},
    apply::Owners,
    resource::{self, metadata::metadata_of},
    served::Served,
    status::Status,
};

/// How far an update is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// As it is to be stored: prepared and checked.
    Whole,
    /// As webhooks that may change it are shown it: complete, and neither prepared nor checked.
    Draft,
}

impl Stage {
    /// The stage that webhooks need.
    pub(crate) fn of(admission: Option<&Admission<'_>>) -> Stage {
        if admission.is_some_and(Admission::mutates) { Stage::Draft } else { Stage::Whole }
    }

    /// Prepares an update of an object.
    pub(crate) fn update(self, served: &Served, value: &mut Value, before: &Value) -> Result<(), Status> {
        match self {
            Stage::Whole => resource::prepare_update(served, value, before),
            Stage::Draft => {
                complete(served, value);
                Ok(())
            }
        }
    }

    /// Prepares an update of a status.
    pub(crate) fn status(
        self,
        served: &Served,
        value: &mut Value,
        before: &Value,
        approval: bool,
    ) -> Result<(), Status> {
        match self {
            Stage::Whole => resource::prepare_status(served, value, before, approval),
            Stage::Draft => {
                complete(served, value);
                Ok(())
            }
        }
    }

    /// Prepares what adds ephemeral containers to a pod.
    pub(crate) fn ephemeral(self, value: &mut Value, before: &Value) -> Result<(), Status> {
        match self {
            Stage::Whole => resource::prepare_ephemeral(value, before),
            Stage::Draft => {
                resource::default(Kind::POD, value);
                Ok(())
            }
        }
    }
}

fn complete(served: &Served, value: &mut Value) {
    if let Some(version) = served.defined() {
        return version.complete(value);
    }
    if let Some(edition) = served.edition() {
        edition.take(value);
        resource::default(served.kind, value);
        edition.show(value);
        return;
    }
    resource::default(served.kind, value);
}

/// Brings a new object to the form in which webhooks are shown it.
pub(crate) fn begin(target: &Target, value: &mut Value) {
    if let Some(namespace) = target.namespace.as_deref().filter(|_| target.served.kind.info().namespaced) {
        metadata_of(value).insert("namespace".into(), namespace.into());
    }
    complete(&target.served, value);
}

/// A new object after those that may change it. Nothing of it is checked but that it still is where the request says.
pub(crate) async fn create(
    admission: &Admission<'_>,
    target: &Target,
    value: Value,
) -> Result<Value, Status> {
    let value = admission.mutate(value, &Value::Null).await?;
    same_namespace(&value, target)?;
    if target.name.is_some() {
        same_name(&value, &read::key(target)?)?;
    }
    Ok(value)
}

/// Puts back the owners of fields, that were taken out by [`tracking::take_given`].
pub(crate) fn own(value: &mut Value, owners: Option<Value>) {
    metadata_of(value).extend(owners.map(|owners| ("managedFields".to_owned(), owners)));
}

/// An update after those that may change it: what was a draft becomes whole.
pub(crate) async fn update(
    admission: &Admission<'_>,
    target: &Target,
    part: Part,
    old: &Object,
    proposal: &mut Proposal,
) -> Result<(), Status> {
    if !admission.mutates() {
        return Ok(());
    }
    let served = &target.served;
    let before = served.value(old);
    if let Some(scale) = &proposal.scale {
        let admitted = admission.mutate(scale.clone(), &scale::of(served, old)).await?;
        if admitted["spec"] != scale["spec"] {
            let owners = tracking::take_given(&mut proposal.value);
            proposal.value = scale::applied(served, old, &admitted)?;
            tracking::take_given(&mut proposal.value);
            own(&mut proposal.value, owners);
        }
        proposal.scale = Some(admitted);
        return Ok(());
    }
    let draft = std::mem::take(&mut proposal.value);
    let mut value = admission.mutate(draft, &before).await?;
    same_name(&value, &old.key)?;
    same_namespace(&value, target)?;
    let owners = Owners::of(&value);
    tracking::take_given(&mut value);
    match part {
        Part::Status => {
            let approval = target.subresource.as_deref() == Some("approval");
            resource::prepare_status(served, &mut value, &before, approval)?;
        }
        Part::Finalize => value = finalized(&before, &value),
        _ if target.subresource.as_deref() == Some(EPHEMERAL) => {
            resource::prepare_ephemeral(&mut value, &before)?;
        }
        _ => resource::prepare_update(served, &mut value, &before)?,
    }
    tracking::settle(&before, &mut value, &owners);
    proposal.value = value;
    Ok(())
}

/// A namespace of which only the finalizers are another's.
pub(crate) fn finalized(before: &Value, value: &Value) -> Value {
    let finalizers = value["spec"].get("finalizers").cloned().unwrap_or_else(|| json!([]));
    let mut finalized = before.clone();
    finalized["spec"]["finalizers"] = finalizers;
    finalized
}

/// Asks those that judge an update.
pub(crate) async fn judge_update(
    admission: &Admission<'_>,
    served: &Served,
    old: &Object,
    proposal: &Proposal,
) -> Result<(), Status> {
    match &proposal.scale {
        Some(scale) => admission.validate(scale, &scale::of(served, old)).await,
        None => admission.validate(&proposal.value, &served.value(old)).await,
    }
}

/// The webhooks that have a say in an update.
pub(crate) async fn of_update<'a>(
    call: &'a Call,
    target: &Target,
    dry_run: bool,
    state: &State,
) -> Result<Option<Admission<'a>>, Status> {
    let asked = Asked::of(Operation::Update, target, dry_run).with_query(&call.query);
    Admission::of(call, state, asked).await
}

/// The webhooks that have a say in a new object of this name.
pub(crate) async fn of_creation<'a>(
    call: &'a Call,
    target: &Target,
    name: &str,
    dry_run: bool,
    state: &State,
) -> Result<Option<Admission<'a>>, Status> {
    let asked = Asked::of(Operation::Create, target, dry_run).named(name).with_query(&call.query);
    Admission::of(call, state, asked).await
}

/// What is made below an object, or is only asked for, past all webhooks: an eviction, a binding, a token.
pub(crate) async fn below(
    call: &Call,
    target: &Target,
    api_version: &str,
    kind: &str,
    dry_run: bool,
    value: Value,
) -> Result<Value, Status> {
    let state = call.own_view().await?;
    let asked = Asked::of(Operation::Create, target, dry_run).with_query(&call.query);
    let admission = Admission::of(call, &state, asked.writing(api_version, kind)).await?;
    drop(state);
    let Some(admission) = admission else { return Ok(value) };
    let value = admission.mutate(value, &Value::Null).await?;
    admission.validate(&value, &Value::Null).await?;
    Ok(value)
}

/// Asks about a stream that is to be opened. `options` is of this kind of `v1`; it cannot be changed.
pub(crate) async fn connect(
    call: &Call,
    target: &Target,
    kind: &str,
    mut options: Value,
) -> Result<(), Status> {
    let state = call.own_view().await?;
    let asked = Asked::of(Operation::Connect, target, false).writing("v1", kind);
    let admission = Admission::of(call, &state, asked).await?;
    drop(state);
    let Some(admission) = admission else { return Ok(()) };
    options["kind"] = kind.into();
    options["apiVersion"] = "v1".into();
    admission.admit(&options, &Value::Null).await
}
