//! Field errors, worded as Kubernetes words them: clients and people's scripts match on these texts.

use kontiki_actors::Kind;
use serde_json::Value;

use crate::status::{Cause, Status};

/// How many errors of one object are told.
const LIMIT: usize = 64;

/// The errors of one object.
#[derive(Debug, Default)]
pub struct Errors {
    causes: Vec<Cause>,
}

impl Errors {
    fn push(&mut self, reason: &str, path: &str, message: String) {
        if self.causes.len() < LIMIT {
            self.causes.push(Cause { reason: reason.to_owned(), message, field: path.to_owned() });
        }
    }

    /// A field that must be there is not.
    pub fn required(&mut self, path: &str, detail: &str) {
        let message =
            if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") };
        self.push("FieldValueRequired", path, message);
    }

    /// A value that cannot be.
    pub fn invalid(&mut self, path: &str, value: &Value, detail: &str) {
        if self.causes.len() >= LIMIT {
            // Writing out a long value again and again, for nobody.
            return;
        }
        // Long values would make the answer as long as the request.
        let mut shown = value.to_string();
        if shown.len() > 1024 {
            let cut = (0..=1024).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
            shown.truncate(cut);
            shown.push_str("...");
        }
        self.push("FieldValueInvalid", path, format!("Invalid value: {shown}: {detail}"));
    }

    /// A value of another type than the one that must be.
    pub fn type_invalid(&mut self, path: &str, value: &Value, detail: &str) {
        self.invalid(path, value, detail);
        if let Some(cause) = self.causes.last_mut().filter(|cause| cause.field == path) {
            cause.reason = "FieldValueTypeInvalid".into();
        }
    }

    /// A text that cannot be.
    pub fn invalid_text(&mut self, path: &str, value: &str, detail: &str) {
        self.invalid(path, &Value::from(value), detail);
    }

    /// A value that is none of those known.
    pub fn not_supported(&mut self, path: &str, value: &str, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|s| (*s).to_owned()).collect();
        self.not_supported_value(path, &value.into(), &supported);
    }

    /// The same of a value that need not be a text.
    pub fn not_supported_value(&mut self, path: &str, value: &Value, supported: &[String]) {
        let names: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", names.join(", "));
        self.push("FieldValueNotSupported", path, message);
    }

    /// A value that stands twice.
    pub fn duplicate(&mut self, path: &str, value: &Value) {
        self.push("FieldValueDuplicate", path, format!("Duplicate value: {value}"));
    }

    /// Something that is not allowed.
    pub fn forbidden(&mut self, path: &str, detail: &str) {
        self.push("FieldValueForbidden", path, format!("Forbidden: {detail}"));
    }

    /// A reference to nothing.
    pub fn not_found(&mut self, path: &str, value: &str) {
        self.push("FieldValueNotFound", path, format!("Not found: {value:?}"));
    }

    /// Too many bytes.
    pub fn too_long(&mut self, path: &str, limit: usize) {
        self.push("FieldValueTooLong", path, format!("Too long: may not be more than {limit} bytes"));
    }

    /// Too many items.
    pub fn too_many(&mut self, path: &str, count: usize, limit: usize) {
        self.push("FieldValueTooMany", path, format!("Too many: {count}: must have at most {limit} items"));
    }

    /// Whether there is one after which rules on values mean nothing: of a value that is missing, too large, or of another type.
    pub fn blocking(&self) -> bool {
        const BLOCKING: [&str; 5] = [
            "FieldValueNotSupported",
            "FieldValueRequired",
            "FieldValueTooLong",
            "FieldValueTooMany",
            "FieldValueTypeInvalid",
        ];
        self.causes.iter().any(|cause| BLOCKING.contains(&cause.reason.as_str()))
    }

    /// Tells the errors of a field under another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.causes
            .iter_mut()
            .filter(|cause| cause.field == from)
            .for_each(|cause| cause.field = to.to_owned());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// The errors as causes of a refusal.
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }

    /// The refusal, if there is an error.
    pub fn into_result(self, kind: Kind, name: &str) -> Result<(), Status> {
        if self.causes.is_empty() {
            return Ok(());
        }
        let info = kind.info();
        Err(Status::invalid(info.group, info.kind, name, self.causes))
    }

    /// Checks that a value is one of those known; an absent one is left to defaults.
    pub fn one_of(&mut self, path: &str, value: &Value, supported: &[&str]) {
        if let Some(text) = value.as_str()
            && !supported.contains(&text)
        {
            self.not_supported(path, text, supported);
        }
    }

    /// Checks that a number, if there, is not negative.
    pub fn non_negative(&mut self, path: &str, value: &Value) {
        if value.as_f64().is_some_and(|n| n < 0.0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// Checks that a field did not change.
    pub fn immutable(&mut self, path: &str, new: &Value, old: &Value) {
        if new != old {
            self.invalid(path, new, "field is immutable");
        }
    }
}
