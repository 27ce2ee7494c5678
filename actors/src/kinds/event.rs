//! Events are kept for an hour after they last happened.

use serde_json::Value;

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
    let rest = me.document.rest_value();
    let times = [rest.pointer("/series/lastObservedTime"), rest.get("lastTimestamp"), rest.get("eventTime")];
    let last = times.into_iter().flatten().filter_map(Value::as_str).find_map(parse_time_ms);
    last.unwrap_or(0).max(me.meta.created_ms)
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
