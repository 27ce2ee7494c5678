//! A document as an object holds it: whole, or by what is different from a text that like ones share. It gives back the same bytes either way.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Document,
    difference::{Model, number, read, restore},
};
use crate::kind::Kind;

/// A document that is held for long. What is read of it more than once is best read of [`Packed::whole`].
#[derive(Clone)]
pub struct Packed(Form);

#[derive(Clone)]
enum Form {
    Whole(Box<Document>),
    Told {
        /// That of the model.
        text: Arc<[u8]>,
        /// The lengths of the four segments, then the differences of all four, one after another.
        told: Box<[u8]>,
    },
}

impl From<Document> for Packed {
    fn from(document: Document) -> Packed {
        Packed(Form::Whole(Box::new(document)))
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for Packed {}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.whole().fmt(f)
    }
}

impl Packed {
    /// The document, told by a model. It is held as small as that is.
    pub(crate) fn told_by(document: &Document, text: &[u8], model: &Model) -> Packed {
        let mut told = Vec::with_capacity(text.len() / 4 + 32);
        for segment in [&document.metadata, &document.spec, &document.status, &document.rest] {
            number(&mut told, segment.len());
        }
        model.differences(text, &mut told);
        Packed(Form::Told { text: model.text().clone(), told: told.into_boxed_slice() })
    }

    /// The document.
    pub fn whole(&self) -> Document {
        let (text, told) = match &self.0 {
            Form::Whole(document) => return (**document).clone(),
            Form::Told { text, told } => (text, told),
        };
        let (lengths, differences) = lengths(told);
        let mut all = Vec::with_capacity(lengths.iter().sum());
        restore(text, differences, &mut all);
        let mut all = Bytes::from(all);
        let [metadata, spec, status, rest] = lengths.map(|length| match length {
            0 => Bytes::new(),
            length => all.split_to(length),
        });
        Document { metadata, spec, status, rest }
    }

    /// Bytes of all segments of the document.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Whole(document) => document.len(),
            Form::Told { told, .. } => lengths(told).0.iter().sum(),
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it takes itself: without what it shares.
    pub fn held(&self) -> usize {
        match &self.0 {
            Form::Whole(document) => document.len(),
            Form::Told { told, .. } => told.len(),
        }
    }

    /// [`Document::to_value`]
    pub fn to_value(&self) -> Value {
        self.whole().to_value()
    }

    /// [`Document::metadata_value`]
    pub fn metadata_value(&self) -> Value {
        self.whole().metadata_value()
    }

    /// [`Document::spec_value`]
    pub fn spec_value(&self) -> Value {
        self.whole().spec_value()
    }

    /// [`Document::status_value`]
    pub fn status_value(&self) -> Value {
        self.whole().status_value()
    }

    /// [`Document::rest_value`]
    pub fn rest_value(&self) -> Value {
        self.whole().rest_value()
    }

    /// [`Document::version`]: of custom kinds, which are held whole.
    pub fn version(&self) -> Option<&str> {
        match &self.0 {
            Form::Whole(document) => document.version(),
            Form::Told { .. } => None,
        }
    }

    /// [`Document::with_status`]
    pub fn with_status(&self, status: Value) -> Document {
        self.whole().with_status(status)
    }

    /// [`Document::with_spec`]
    pub fn with_spec(&self, spec: Value) -> Document {
        self.whole().with_spec(spec)
    }

    /// [`Document::with_metadata`]
    pub fn with_metadata(&self, metadata: Value) -> Document {
        self.whole().with_metadata(metadata)
    }

    /// [`Document::write_json`]
    pub fn write_json(&self, kind: Kind, version: &str, revision: u64, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Whole(document) => document.write_json(kind, version, revision, out),
            Form::Told { .. } => self.whole().write_json(kind, version, revision, out),
        }
    }

    /// [`Document::write_metadata`]
    pub fn write_metadata(&self, revision: u64, out: &mut Vec<u8>) {
        self.whole().write_metadata(revision, out);
    }
}

fn lengths(mut told: &[u8]) -> ([usize; 4], &[u8]) {
    let lengths = [(); 4].map(|()| read(&mut told));
    (lengths, told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(name: &str) -> Document {
        Document::from_value(json!({"metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"image": "app:1"}]}, "status": {"phase": "Running"}, "data": {"a": name}}))
    }

    fn text(document: &Document) -> Vec<u8> {
        [&document.metadata[..], &document.spec, &document.status, &document.rest].concat()
    }

    #[test]
    fn a_document_that_is_told_is_the_same_in_every_way() {
        let model = Model::of(&text(&document("web-1"))).expect("long enough");
        let mut without_status = document("web-3");
        without_status.status = Bytes::new();
        for document in [document("web-1"), document("another"), without_status, Document::default()] {
            let whole = Packed::from(document.clone());
            let told = Packed::told_by(&document, &text(&document), &model);
            assert_eq!(told.whole(), document);
            assert_eq!(told, whole);
            assert_eq!((told.len(), told.is_empty()), (document.len(), document.is_empty()));
            assert!(told.held() < document.len().max(8), "{}", told.held());
            assert_eq!(told.to_value(), whole.to_value());
            let written = |packed: &Packed| {
                let mut out = Vec::new();
                packed.write_json(Kind::POD, "v1", 7, &mut out);
                packed.write_metadata(7, &mut out);
                out
            };
            assert_eq!(written(&told), written(&whole));
        }
    }
}
