#![allow(clippy::unwrap_used)]

use super::*;

fn entries() -> Vec<Entry> {
    let seat = |name: &str| Seat { name: name.into(), zone: "z".into(), address: "127.0.0.1:1".into() };
    let seats = BTreeMap::from([(1, seat("a")), (2, seat("b"))]);
    let membership = Membership::new(vec![BTreeSet::from([1])], seats).unwrap();
    vec![
        Entry::new(log_id(1, 7), EntryPayload::Blank),
        Entry::new(log_id(2, 8), EntryPayload::Normal(Payload(Bytes::from_static(b"payload")))),
        Entry::new(log_id(2, 9), EntryPayload::Membership(membership)),
    ]
}

#[test]
fn entries_come_back_as_they_were() {
    for entry in entries() {
        assert_eq!(open_entry(seal_entry(&entry).into()).unwrap(), entry);
    }
}

/// What is on disk today must be readable for ever: these bytes never change.
#[test]
fn the_stored_form_is_frozen() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [_, normal, _] = <[Entry; 3]>::try_from(entries()).unwrap();
    assert_eq!(
        hex(seal_entry(&normal)),
        "4b52010217000000758fb163020000000000000008000000000000007061796c6f6164"
    );
    assert_eq!(&hex(seal_vote(&Vote::new_committed(3, 2)))[24..], "030201");
}

#[test]
fn every_flipped_bit_is_noticed() {
    for entry in entries() {
        let sealed = seal_entry(&entry);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open_entry(damaged.into()).is_err(), "bit {bit} of {entry:?}");
        }
    }
}

#[test]
fn a_cut_record_a_longer_record_and_a_newer_format_are_refused() {
    let sealed = seal_position(&log_id(1, 2));
    for length in 0..sealed.len() {
        assert!(open_position(Bytes::copy_from_slice(&sealed[..length])).is_err());
    }
    let mut longer = sealed.clone();
    longer.push(0);
    assert!(matches!(open_position(longer.into()), Err(EnvelopeError::Length { .. })));
    let mut newer = sealed.clone();
    newer[2] = FORMAT + 1;
    assert_eq!(open_position(newer.into()), Err(EnvelopeError::Newer { found: FORMAT + 1 }));
    assert!(matches!(open_vote(sealed.into()), Err(EnvelopeError::Kind { .. })));
}
