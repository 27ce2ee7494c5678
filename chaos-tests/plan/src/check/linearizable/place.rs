//! Where an operation stands in the order of the log, by what it saw.

use super::{Log, Verdict, describe};
use crate::{
    check::{Turn, Version},
    history::{Answer, Call, OpRecord},
};

/// Where.
pub(super) enum Place {
    /// It says nothing about that.
    Anywhere,
    /// A write: at this revision.
    At(u64),
    /// A read: within one of these, in order; each from a revision up to before another.
    Within(Vec<(u64, u64)>),
}

pub(super) fn place(log: &Log, op: &OpRecord) -> Result<Place, Verdict> {
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
            Ok(Place::Within(vec![(*revision, revision + 1)]))
        }
        _ => Ok(Place::Anywhere),
    }
}

/// The turn of a write, and the version that it made: by the request's id, else by its value, which no other write has.
fn find<'a>(log: &'a Log, op: &OpRecord, key: &str) -> Result<Option<(&'a Turn, &'a Version)>, Verdict> {
    let versions = log.versions(key);
    if let Some(request) = &op.request {
        for place in log.turns_of(request) {
            if let Some(version) = versions.iter().rfind(|version| version.turn == *place) {
                return Ok(Some((&log.turns[*place], version)));
            }
        }
    }
    let (Call::Create { value, .. } | Call::Update { value, .. }) = &op.call else { return Ok(None) };
    let is = |version: &&Version| version.value.as_ref() == Some(value);
    let Some(first) = versions.iter().position(|version| is(&version)) else { return Ok(None) };
    let away = versions[first..].iter().position(|version| !is(&version)).map(|n| first + n);
    if let Some(again) = away.and_then(|away| versions[away..].iter().find(is)) {
        let words = format!("{} was done again at revision {}", describe(op), again.revision);
        return Err(Verdict::violated("C7", op.returned_ns, words));
    }
    Ok(Some((&log.turns[versions[first].turn], &versions[first])))
}

fn done(log: &Log, op: &OpRecord, key: &str, answered: u64) -> Result<Place, Verdict> {
    let Some((turn, version)) = find(log, op, key)? else {
        // A deletion that nothing in the log can be told to be: it must have been gone at some time.
        if matches!(op.call, Call::Delete { .. }) {
            return Ok(Place::Within(intervals(log, key, |version| version.value.is_none())));
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

fn refused(log: &Log, op: &OpRecord, key: &str, code: u16) -> Result<Place, Verdict> {
    if let Some((turn, _)) = find(log, op, key)? {
        let words = format!("{} was refused, and entry {} did it", describe(op), turn.index);
        return Err(Verdict::violated("C7", op.returned_ns, words));
    }
    let there = |version: &Version| version.value.is_some();
    let within = match (&op.call, code) {
        (Call::Create { .. }, 409) => intervals(log, key, there),
        (Call::Update { .. } | Call::Delete { .. }, 404) => intervals(log, key, |version| !there(version)),
        (Call::Update { revision: Some(wanted), .. }, 409) => {
            intervals(log, key, |version| there(version) && version.revision != *wanted)
        }
        _ => return Ok(Place::Anywhere),
    };
    Ok(Place::Within(within))
}

fn seen(log: &Log, op: &OpRecord, key: &str, value: Option<&(String, u64)>) -> Result<Place, Verdict> {
    let Some((value, revision)) = value else {
        return Ok(Place::Within(intervals(log, key, |version| version.value.is_none())));
    };
    let within = intervals(log, key, |v| v.revision == *revision && v.value.as_ref() == Some(value));
    if !within.is_empty() {
        return Ok(Place::Within(within));
    }
    let known = log.versions(key).iter().find(|version| version.value.as_ref() == Some(value));
    let (invariant, words) = match known {
        Some(version) => {
            ("C2", format!("{}: the log has that at revision {}", describe(op), version.revision))
        }
        None => ("C4", format!("{}: the log never had that", describe(op))),
    };
    Err(Verdict::violated(invariant, op.returned_ns, words))
}

/// The stretches of revisions in which the key's version is such. Before its first version it is not there.
pub(in crate::check) fn intervals(log: &Log, key: &str, such: impl Fn(&Version) -> bool) -> Vec<(u64, u64)> {
    let nothing = Version { revision: 0, value: None, turn: 0 };
    let versions: Vec<&Version> = std::iter::once(&nothing).chain(log.versions(key)).collect();
    let end = |n: usize| versions.get(n + 1).map_or(u64::MAX, |next| next.revision);
    let chosen = versions.iter().enumerate().filter(|(_, version)| such(version));
    chosen.map(|(n, version)| (version.revision, end(n))).collect()
}
