//! The model of a register: what an operation does to a value. Values are numbers here; revisions are translated to the values that
//! clients saw at them.

use std::collections::HashMap;

use crate::{
    check::{Verdict, linearizable::describe},
    history::{Answer, Call, OpRecord},
};

/// The value of a register that is not there.
pub(super) const ABSENT: u32 = 0;

/// What an operation does, given what it answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Model {
    Create(u32),
    Update(u32),
    /// From one value to another.
    Swap(u32, u32),
    Delete,
    /// It is this.
    Is(u32),
    /// It is there.
    There,
    /// It is there, and not this.
    Other(u32),
}

impl Model {
    /// The value after it; none: it cannot have answered so.
    pub(super) fn apply(self, value: u32) -> Option<u32> {
        let there = value != ABSENT;
        match self {
            Model::Create(new) => (!there).then_some(new),
            Model::Update(new) => there.then_some(new),
            Model::Swap(old, new) => (value == old).then_some(new),
            Model::Delete => there.then_some(ABSENT),
            Model::Is(seen) => (value == seen).then_some(value),
            Model::There => there.then_some(value),
            Model::Other(not) => (there && value != not).then_some(value),
        }
    }
}

/// The values by number, and what clients saw at revisions.
pub(super) struct Values {
    numbers: HashMap<String, u32>,
    words: Vec<String>,
    at: HashMap<(String, u64), u32>,
}

impl Values {
    /// From all that clients wrote and saw. One revision of a key with two values is a violation by itself.
    pub(super) fn seen(ops: &[OpRecord]) -> Result<Values, Verdict> {
        let mut values = Values { numbers: HashMap::new(), words: vec!["absent".into()], at: HashMap::new() };
        for op in ops {
            match (&op.call, &op.answer) {
                (
                    Call::Create { key, value } | Call::Update { key, value, .. },
                    Answer::Done { revision },
                ) => {
                    values.note(op, key, value, *revision)?;
                }
                (Call::Get { key, .. }, Answer::Value { value: Some((value, revision)) }) => {
                    values.note(op, key, value, *revision)?;
                }
                (Call::List { .. }, Answer::Listed { items, .. }) => {
                    for (key, value, revision) in items {
                        values.note(op, key, value, *revision)?;
                    }
                }
                (Call::Create { value, .. } | Call::Update { value, .. }, _) => {
                    values.number(value);
                }
                _ => {}
            }
        }
        Ok(values)
    }

    fn number(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = self.words.len() as u32;
        self.words.push(value.into());
        self.numbers.insert(value.into(), number);
        number
    }

    fn note(&mut self, op: &OpRecord, key: &str, value: &str, revision: u64) -> Result<(), Verdict> {
        let number = self.number(value);
        let known = *self.at.entry((key.to_string(), revision)).or_insert(number);
        if known == number {
            return Ok(());
        }
        let words =
            format!("{key} at revision {revision} was {:?} and also: {}", self.word(known), describe(op));
        Err(Verdict::violated("C2", op.returned_ns, words))
    }

    /// The word of a number.
    pub(super) fn word(&self, number: u32) -> String {
        self.words.get(number as usize).cloned().unwrap_or_default()
    }

    /// What an operation does to its key; none for those that say nothing of a single key's present value.
    pub(super) fn model<'a>(&self, op: &'a OpRecord) -> Option<(&'a str, Model)> {
        let of = |value: &str| self.numbers.get(value).copied().unwrap_or(ABSENT);
        let expected = |key: &str, revision: &Option<u64>| {
            revision.and_then(|revision| self.at.get(&(key.to_string(), revision)).copied())
        };
        let done = matches!(op.answer, Answer::Done { .. } | Answer::Unknown);
        let (key, model) = match (&op.call, &op.answer) {
            (Call::Create { key, value }, _) if done => (key, Model::Create(of(value))),
            (Call::Update { key, value, revision }, _) if done => match expected(key, revision) {
                Some(old) => (key, Model::Swap(old, of(value))),
                None => (key, Model::Update(of(value))),
            },
            (Call::Delete { key }, _) if done => (key, Model::Delete),
            (Call::Create { key, .. }, Answer::Refused { code: 409 }) => (key, Model::There),
            (Call::Update { key, .. } | Call::Delete { key }, Answer::Refused { code: 404 }) => {
                (key, Model::Is(ABSENT))
            }
            (Call::Update { key, revision, .. }, Answer::Refused { code: 409 }) => {
                (key, Model::Other(expected(key, revision)?))
            }
            (Call::Get { key, stale: false }, Answer::Value { value }) => {
                (key, Model::Is(value.as_ref().map_or(ABSENT, |(value, _)| of(value))))
            }
            _ => return None,
        };
        Some((key, model))
    }
}
