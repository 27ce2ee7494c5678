//! The webhook of a definition, asked about many objects at once.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use kontiki_actors::{DefinitionDigest, Document, Kind, Object};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Asker,
    review::{self, Form, Wrong},
    shared::Shared,
    turns::Turns,
};
use crate::{
    admission::{Endpoint, Memory},
    backend::Freshness,
    custom::{
        default,
        prune::{prune, prune_nulls},
        schema::Schema,
    },
    resource::fields::items,
    status::Status,
};

/// How long a webhook may take, as in Kubernetes: definitions do not say.
const SECONDS: u64 = 30;
/// Objects of one question, and bytes of their documents: webhooks bound what they read, too. One that is longer goes by itself.
const OBJECTS: usize = 256;
const QUESTION: usize = 2 << 20;
/// Bytes of an answer: an object may get longer by being converted, and all of a question may.
const ANSWER: usize = 16 << 20;
/// Questions about the objects of one request at once.
const TOGETHER: usize = 4;
/// What a watch shows of one event, and bytes of a document that is kept for other watches.
const FEW: usize = 2;
const SHARED: usize = 32 << 10;

/// Makes objects of one version of a custom kind those of another.
#[derive(Debug)]
pub(crate) struct Converter {
    kind: Kind,
    /// The version that objects are stored in.
    storage: String,
    /// All versions, also those that clients do not get.
    versions: HashMap<String, Declared>,
    /// The form of the question; none if the webhook takes none that is known here.
    form: Option<Form>,
    endpoint: Endpoint,
    turns: Turns,
    shared: Shared,
}

/// What a version declares.
#[derive(Debug)]
struct Declared {
    schema: Arc<Schema>,
    /// Whether it has defaults.
    completes: bool,
}

impl Converter {
    /// As `spec.conversion.webhook` of a definition says it.
    pub(crate) fn read<'v>(
        definition: &Object,
        digest: &DefinitionDigest,
        told: &Value,
        schemas: impl Iterator<Item = (&'v str, Arc<Schema>)>,
    ) -> Converter {
        let id = format!("{}/{}/conversion", definition.meta.uid, definition.meta.generation);
        let declared = |(name, schema): (&str, Arc<Schema>)| {
            (name.to_owned(), Declared { completes: default::any(&schema), schema })
        };
        Converter {
            kind: digest.kind(),
            storage: digest.storage().unwrap_or_default().to_owned(),
            versions: schemas.map(declared).collect(),
            form: items(told, "conversionReviewVersions")
                .find_map(|(_, version)| Form::named(version.as_str().unwrap_or_default())),
            endpoint: Endpoint::read(id, SECONDS, ANSWER, &told["clientConfig"]),
            turns: Turns::new(),
            shared: Shared::default(),
        }
    }

    /// The version that objects are stored in.
    pub(super) fn storage(&self) -> &str {
        &self.storage
    }

    /// Objects in a version, in the same order; those that are in it already as they are.
    pub(super) async fn objects(
        &self,
        asker: Asker<'_>,
        to: &str,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let unsaid = match objects.iter().all(|object| object.document.version().is_some()) {
            true => String::new(),
            false => self.before_it_was_said(asker).await?,
        };
        let mut others = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            let version = object.document.version().unwrap_or(&unsaid);
            if version != to {
                others.push((at, version.to_owned()));
            }
        }
        let questions = batches(others.iter().map(|(at, _)| objects[*at].document.len()));
        let (asked, those) = (&objects, &others);
        let made: Vec<Vec<Arc<Object>>> = stream::iter(questions)
            .map(|question| async move {
                let those = &those[question];
                let values = those.iter().map(|(at, version)| self.complete(&asked[*at], version));
                let made = self.ask_about(asker, to, values.collect()).await?;
                let old = those.iter().map(|(at, _)| &asked[*at]);
                Ok::<_, Status>(old.zip(made).map(|(old, value)| in_version(old, value, to)).collect())
            })
            .buffered(TOGETHER)
            .try_collect()
            .await?;
        for ((at, _), object) in others.iter().zip(made.into_iter().flatten()) {
            objects[*at] = object;
        }
        Ok(objects)
    }

    /// One object in a version.
    pub(super) async fn object(
        &self,
        asker: Asker<'_>,
        to: &str,
        object: Arc<Object>,
    ) -> Result<Arc<Object>, Status> {
        if object.document.version() == Some(to) {
            return Ok(object);
        }
        self.objects(asker, to, vec![object]).await?.into_iter().next().ok_or_else(lost)
    }

    /// Objects that a watch shows, in a version. When it has to catch up, it asks for itself, about all of them at once.
    pub(super) async fn watched(
        &self,
        asker: Asker<'_>,
        to: &str,
        mut objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Status> {
        if objects.len() > FEW || objects.iter().any(|object| object.document.len() > SHARED) {
            return self.objects(asker, to, objects).await;
        }
        for object in &mut objects {
            let key = (object.meta.uid.clone(), object.revision, to.to_owned());
            *object = self.shared.get_or(key, self.object(asker, to, object.clone())).await?;
        }
        Ok(objects)
    }

    /// An object of one version in another.
    pub(super) async fn value(
        &self,
        asker: Asker<'_>,
        from: &str,
        to: &str,
        mut value: Value,
    ) -> Result<Value, Status> {
        value["apiVersion"] = self.kind.api_version_in(from).into();
        value["kind"] = self.kind.info().kind.into();
        if from == to {
            return Ok(value);
        }
        let made = self.ask_about(asker, to, vec![value]).await?;
        made.into_iter().next().ok_or_else(lost)
    }

    /// The version of documents that say none: they are from before there was a webhook, mostly from when there was one version.
    async fn before_it_was_said(&self, asker: Asker<'_>) -> Result<String, Status> {
        let state = asker.api.backend.view(Freshness::Any).await?;
        let digest = state.definition_of(self.kind).and_then(|definition| definition.definition());
        let first = digest.and_then(|digest| digest.status.stored_versions.first());
        Ok(first.map_or_else(|| self.storage.clone(), ToString::to_string))
    }

    /// An object as it is stored in a version, completed as that says.
    fn complete(&self, object: &Object, version: &str) -> Value {
        let mut value = object.to_value_in(version);
        if let Some(declared) = self.versions.get(version).filter(|declared| declared.completes) {
            default::default(&declared.schema, &mut value);
        }
        value
    }

    /// One question about objects, none of which is in the version that is wanted, and its answer: as many in the same order.
    async fn ask_about(&self, asker: Asker<'_>, to: &str, before: Vec<Value>) -> Result<Vec<Value>, Status> {
        let (wanted, kind) = (self.kind.api_version_in(to), self.kind.info().kind);
        let declared = self
            .versions
            .get(to)
            .ok_or_else(|| failed(format!("request to convert CR to an invalid group/version: {wanted}")))?;
        let api_version = |value: &Value| value["apiVersion"].as_str().unwrap_or_default().to_owned();
        for value in &before {
            let from = api_version(value);
            let known = from.rsplit('/').next().is_some_and(|version| self.versions.contains_key(version));
            if !known {
                return Err(failed(format!("request to convert CR from an invalid group/version: {from}")));
            }
        }
        let form = self.form.ok_or_else(|| failed("no supported conversion review versions".into()))?;
        let uid = Uuid::new_v4().to_string();
        let question = {
            let objects: Vec<Vec<u8>> = before.iter().map(|value| value.to_string().into_bytes()).collect();
            review::encode(form, &uid, &wanted, objects.iter().map(Vec::as_slice))
        };
        let from = before.first().map(api_version).unwrap_or_default();
        let webhook = format!("conversion webhook for {from}, Kind={kind}");
        let answer = self.ask(asker, question).await.and_then(|bytes| review::decode(form, &uid, &bytes));
        let answer = answer.map_err(|why| {
            let definition = self.kind.resource_name();
            tracing::warn!(definition, why, "a conversion webhook did not convert");
            failed(format!("{webhook} failed: {why}"))
        })?;
        if answer.len() != before.len() {
            let (got, expected) = (answer.len(), before.len());
            return Err(failed(format!("{webhook} returned {got} objects, expected {expected}")));
        }
        let many = before.len() > 1;
        let mut made = Vec::with_capacity(before.len());
        for (at, (before, after)) in before.iter().zip(answer).enumerate() {
            let mut value = review::accept(kind, &before["metadata"], after, &wanted).map_err(|wrong| {
                failed(match wrong {
                    Wrong::Type(why) if !many => {
                        format!("{webhook} returned invalid object at index 0: {why}")
                    }
                    Wrong::Object(why) if !many => format!("{webhook} returned invalid object: {why}"),
                    Wrong::Metadata(why) if !many => format!("{webhook} returned invalid metadata: {why}"),
                    Wrong::Metadata(why) => {
                        format!("{webhook} returned invalid metadata in object at index {at}: {why}")
                    }
                    Wrong::Type(why) | Wrong::Object(why) => {
                        format!("{webhook} returned invalid converted object at index {at}: {why}")
                    }
                })
            })?;
            prune(&declared.schema, &mut value);
            // What a webhook in Go says nothing of, it says as null.
            prune_nulls(&declared.schema, &mut value);
            made.push(value);
        }
        Ok(made)
    }

    /// Asks the webhook, when it is this question's turn.
    async fn ask(&self, asker: Asker<'_>, question: Vec<u8>) -> Result<Bytes, String> {
        let _turn = self.turns.take(self.endpoint.timeout()).await?;
        let state = asker.api.backend.view(Freshness::Any).await.map_err(|error| error.to_string())?;
        let memory = Memory { places: &asker.api.bodies, user: asker.user };
        let began = Instant::now();
        let answer = asker.api.webhooks.ask(&self.endpoint, state, question, memory).await;
        self.turns.ended(answer.is_ok(), began.elapsed());
        answer
    }
}

fn lost() -> Status {
    Status::internal("an object was lost while it was converted")
}

/// An error that Kubernetes has no reason for.
fn failed(message: String) -> Status {
    Status::new(500, "", message)
}

/// The object with another document, in a version.
fn in_version(old: &Object, value: Value, version: &str) -> Arc<Object> {
    let document = Document::from_value(value).in_version(version);
    Arc::new(Object::new(old.key.clone(), old.revision, document))
}

/// Documents of these lengths as parts of questions, none of which is too long.
fn batches(lengths: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, length) in lengths.enumerate() {
        bytes += length;
        match all.last_mut().filter(|last| last.len() < OBJECTS && bytes <= QUESTION) {
            Some(last) => last.end = at + 1,
            None => {
                all.push(at..at + 1);
                bytes = length;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_bounds_and_miss_nobody() {
        let of = |lengths: &[usize]| batches(lengths.iter().copied());
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[1, 2, 3]), [Range { start: 0, end: 3 }]);
        assert_eq!(of(&[QUESTION, 1, QUESTION + 1, 1, 1]), [0..1, 1..2, 2..3, 3..5]);
        assert_eq!(of(&[QUESTION / 2; 5]), [0..2, 2..4, 4..5]);
        let many = of(&[1; 2 * OBJECTS + 7]);
        assert_eq!(many, [0..OBJECTS, OBJECTS..2 * OBJECTS, 2 * OBJECTS..2 * OBJECTS + 7]);
    }
}
