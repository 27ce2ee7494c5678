//! What does an entry cost? The leader encodes it once; every controller decodes and folds it, so what is spent here is spent three to five
//! times. The entry is a busy leader's: 100 creates of 1 KiB, decided one after the other. It is folded on a state that remembers as many
//! answers as it can, so that each new one takes an old one's place.

use std::{hint::black_box, sync::Arc};

use kontiki_actors::{
    Change, Entry, Kind, ObjectKey, Outcome, RequestId, State, Turned, state::ANSWERED_LIMIT,
};

use crate::{
    Operation,
    fixture::{NAMESPACE, NOW_MS, config_map, create, decided, with_config_maps},
    grouped,
};

const CREATES: usize = 100;
const OBJECTS: usize = 15_000;

pub(crate) fn operations() -> Vec<Operation> {
    let of = |name: &'static str, what: String, prepare: fn() -> crate::Action| {
        Operation::new("codec", name, what, CREATES, prepare)
    };
    vec![
        of("encode", format!("encode an entry of {CREATES} creates of 1 KiB"), || {
            let (entry, _) = entry(&with_config_maps(0));
            Box::new(move || drop(black_box(black_box(&entry).encode())))
        }),
        of("decode", "decode it".into(), || {
            let (_, bytes) = entry(&with_config_maps(0));
            Box::new(move || drop(black_box(Entry::decode(black_box(&bytes)))))
        }),
        of("apply", format!("apply its changes to {} objects", grouped(OBJECTS as u64)), || {
            let before = with_config_maps(OBJECTS);
            let (entry, _) = entry(&before);
            let changes: Vec<Change> = entry.turns.into_iter().flat_map(|turned| turned.changes).collect();
            Box::new(move || {
                // As when a view shares it.
                let mut state = before.clone();
                for change in black_box(&changes) {
                    black_box(state.apply(change));
                }
            })
        }),
        of(
            "fold",
            format!("fold it on {} objects: changes, answers, hash chain", grouped(OBJECTS as u64)),
            || {
                let mut before = with_config_maps(OBJECTS);
                (0..ANSWERED_LIMIT).for_each(|n| drop(before.remember(&request(n), &answer(n))));
                let (entry, bytes) = entry(&before);
                Box::new(move || {
                    let mut state = before.clone();
                    drop(black_box(state.fold(black_box(&entry), &bytes)));
                })
            },
        ),
    ]
}

/// An entry as the stage makes it, and its bytes.
fn entry(state: &State) -> (Entry, Arc<[u8]>) {
    let (mut state, mut turns) = (state.clone(), Vec::new());
    for n in 0..CREATES {
        let input = create(&state, Kind::CONFIG_MAP, config_map(&format!("new-{n}")));
        let seed = OBJECTS + n;
        let decision = decided(&state, &input, seed);
        state = decision.state;
        turns.push(Turned {
            request: Some(request(ANSWERED_LIMIT + n)),
            now_ms: NOW_MS,
            seed: seed as u64,
            input: input.abridged(),
            changes: decision.changes,
            outcome: decision.outcome.abridged(),
            trace: None,
        });
    }
    let entry = Entry { term: 1, turns };
    let bytes = entry.encode().expect("an entry within limits").into();
    (entry, bytes)
}

/// A request's id: a UUID in text.
fn request(n: usize) -> RequestId {
    compact_str::format_compact!("00000000-0000-4000-8000-{n:012}")
}

fn answer(n: usize) -> Outcome {
    let key = ObjectKey::new(Kind::CONFIG_MAP, NAMESPACE, &format!("answered-{n}"));
    Outcome::Object { key, revision: n as u64, document: None }
}
