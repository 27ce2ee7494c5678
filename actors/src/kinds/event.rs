//! Events are kept for an hour after they last happened.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    input::DeleteOptions,
    object::{Object, parse_time_ms},
    turn::Turn,
};

/// How long an event stays after it last happened.
pub const KEPT_MS: i64 = 3_600_000;

/// When it last happened, in whichever of the fields of both generations of the API it says so; as soon as it was told, at the earliest: who
/// tells of what happened long ago wants it to be read.
fn last_ms(me: &Object) -> i64 {
    let rest = me.document.whole().rest;
    // What is not of this form tells no time.
    let Times { series, last, event } = serde_json::from_slice(&rest).unwrap_or_default();
    let times = [series.and_then(|series| series.last), last, event];
    let last = times.into_iter().flatten().find_map(|time| parse_time_ms(&time));
    last.unwrap_or(0).max(me.meta.created_ms)
}

/// The times in an event; the rest of it is passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Times<'a> {
    #[serde(borrow)]
    series: Option<Series<'a>>,
    #[serde(borrow, rename = "lastTimestamp")]
    last: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "eventTime")]
    event: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Series<'a> {
    #[serde(borrow, rename = "lastObservedTime")]
    last: Option<Cow<'a, str>>,
}

/// Goes when its time is over. The wake-up is not moved each time it happens again: it is looked at when it is due.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    if turn.state().wake_of(&me.key).is_some_and(|at| at > turn.now_ms()) {
        return;
    }
    // Whatever a client claims, it was not later than the object could have been written.
    let until = last_ms(me).min(turn.now_ms()) + KEPT_MS;
    if until <= turn.now_ms() {
        // It is there and nothing is asked of it, so it can only be refused by being gone.
        let _ = turn.delete(&me.key, &DeleteOptions::default());
    } else {
        turn.wake(&me.key, Some(until));
    }
}
