//! Where an operation stands in the order of the log, by what it saw.

use super::{Log, Verdict, describe};
use crate::{
    check::{Turn, Version},
    history::{Answer, Call, OpRecord},
};

/// Where.
pub(super) enum Place<'a> {
    /// It says nothing about that.
    Anywhere,
    /// A write: at this revision.
    At(u64),
    /// A list: between this revision and the next.
    On(u64),
    /// A read of this key: where its version is such.
    Where(&'a str, Such<'a>),
}

/// Whether a version is what a read saw.
type Such<'a> = Box<dyn Fn(&Version) -> bool + 'a>;

pub(super) fn place<'a>(log: &Log, op: &'a OpRecord) -> Result<Place<'a>, Verdict> {
    match (&op.call, &op.answer) {
        (Call::Create { key, .. } | Call::Update { key, .. } | Call::Delete { key }, answer) => {
            match answer {
                Answer::Done { revision } => done(log, op, key, *revision),
                Answer::Refused { code } => refused(log, op, key, *code),
                _ => {
                    Ok(find(log, op, key)?
                        .map_or(Place::Anywhere, |(_, version)| Place::At(version.revision)))
                }
            }
        }
        (Call::Get { key, stale: false }, Answer::Value { value }) => seen(log, op, key, value.as_ref()),
        (Call::List { .. }, Answer::Listed { revision, .. }) => {
            if *revision > log.revision {
                let words = format!("{}: the log ends at revision {}", describe(op), log.revision);
                return Err(Verdict::violated("C2", op.returned_ns, words));
            }
            Ok(Place::On(*revision))
        }
        _ => Ok(Place::Anywhere),
    }
}

/// The turn of a write, and the version that it made: by the request's id, else by its value, which no other write has.
fn find<'a>(log: &'a Log, op: &OpRecord, key: &str) -> Result<Option<(&'a Turn, &'a Version)>, Verdict> {
    let turns = op.request.as_deref().map_or(&[][..], |request| log.turns_of(request));
    if let Some(version) = turns.iter().find_map(|turn| log.made_by(key, *turn)) {
        return Ok(Some((&log.turns[version.turn], version)));
    }
    let (Call::Create { value, .. } | Call::Update { value, .. }) = &op.call else { return Ok(None) };
    let mut writes = log.writes_of(key, value);
    let first = writes.next();
    if let Some(again) = writes.next() {
        let words = format!("{} was done again at revision {}", describe(op), again.revision);
        return Err(Verdict::violated("C7", op.returned_ns, words));
    }
    Ok(first.map(|version| (&log.turns[version.turn], version)))
}

fn done<'a>(log: &Log, op: &'a OpRecord, key: &'a str, answered: u64) -> Result<Place<'a>, Verdict> {
    let Some((turn, version)) = find(log, op, key)? else {
        // A deletion that nothing in the log can be told to be: it must have been gone at some time.
        if matches!(op.call, Call::Delete { .. }) {
            return Ok(Place::Where(key, Box::new(|version| version.value.is_none())));
        }
        let words = format!("{} is not in the log: an acknowledged write is lost", describe(op));
        return Err(Verdict::violated("C4", op.returned_ns, words));
    };
    let before = log.at(key, turn.before).filter(|version| version.value.is_some());
    let kept = match &op.call {
        Call::Create { .. } => before.is_none(),
        Call::Update { revision: Some(wanted), .. } => before.is_some_and(|v| v.revision == *wanted),
        _ => before.is_some(),
    };
    if !kept {
        let words = format!(
            "{} was done by entry {} on {}",
            describe(op),
            turn.index,
            before.map_or("nothing".into(), |v| format!("{:?} at revision {}", v.value, v.revision))
        );
        return Err(Verdict::violated("C3", op.returned_ns, words));
    }
    let deleted = matches!(op.call, Call::Delete { .. });
    if !deleted && answered != version.revision {
        let words = format!("{}: the log has it at revision {}", describe(op), version.revision);
        return Err(Verdict::violated("C2", op.returned_ns, words));
    }
    Ok(Place::At(version.revision))
}

fn refused<'a>(log: &Log, op: &'a OpRecord, key: &'a str, code: u16) -> Result<Place<'a>, Verdict> {
    if let Some((turn, _)) = find(log, op, key)? {
        let words = format!("{} was refused, and entry {} did it", describe(op), turn.index);
        return Err(Verdict::violated("C7", op.returned_ns, words));
    }
    let such: Such<'a> = match (&op.call, code) {
        (Call::Create { .. }, 409) => Box::new(|version| version.value.is_some()),
        (Call::Update { .. } | Call::Delete { .. }, 404) => Box::new(|version| version.value.is_none()),
        (Call::Update { revision: Some(wanted), .. }, 409) => {
            Box::new(|version| version.value.is_some() && version.revision != *wanted)
        }
        _ => return Ok(Place::Anywhere),
    };
    Ok(Place::Where(key, such))
}

fn seen<'a>(
    log: &Log,
    op: &'a OpRecord,
    key: &'a str,
    value: Option<&'a (String, u64)>,
) -> Result<Place<'a>, Verdict> {
    let Some((value, revision)) = value else {
        return Ok(Place::Where(key, Box::new(|version| version.value.is_none())));
    };
    let there = log.at(key, *revision).filter(|v| v.revision == *revision && v.value.as_ref() == Some(value));
    if there.is_some() {
        return Ok(Place::Where(key, Box::new(move |version| version.revision == *revision)));
    }
    let (invariant, words) = match log.writes_of(key, value).next() {
        Some(version) => {
            ("C2", format!("{}: the log has that at revision {}", describe(op), version.revision))
        }
        None => ("C4", format!("{}: the log never had that", describe(op))),
    };
    Err(Verdict::violated(invariant, op.returned_ns, words))
}
