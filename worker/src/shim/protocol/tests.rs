#![allow(clippy::unwrap_used)]
//! The wire as it was recorded when each version was made: what a shim that was started then says and hears.

use serde_json::json;

use super::frame::{Decoder, Frame};
use super::samples::{launch, messages, requests};
use super::*;
use crate::image::{Root, Stack};

/// Frames as the last build before version 2 wrote them.
const V1: &str = include_str!("golden/v1.hex");
/// Bodies as the first build of version 2 wrote them.
const V2: &str = include_str!("golden/v2.json");

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

pub(crate) fn golden_v1(kind: &str) -> Vec<Vec<u8>> {
    let of_kind = V1.lines().filter_map(|line| line.strip_prefix(kind));
    of_kind.map(|hex| unhex(hex.trim())).collect()
}

fn frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    decoder.next().unwrap().unwrap()
}

fn v2(body: serde_json::Value) -> Frame {
    Frame { version: 2, body: body.to_string().into_bytes() }
}

#[test]
fn version_1_is_spoken_byte_by_byte_as_it_was() {
    let golden = golden_v1("request");
    assert_eq!(golden.len(), requests().len());
    for (bytes, request) in golden.iter().zip(requests()) {
        assert_eq!(request.encode(1).unwrap(), *bytes, "{request:?}");
        let read = Request::decode(&frame(bytes)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
    let golden = golden_v1("message");
    assert_eq!(golden.len(), messages().len());
    for (bytes, message) in golden.iter().zip(messages()) {
        assert_eq!(message.encode(1).unwrap(), *bytes, "{message:?}");
        let read = Message::decode(&frame(bytes)).unwrap().unwrap();
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }
}

#[test]
fn what_the_first_build_of_version_2_says_is_understood() {
    let golden: Vec<serde_json::Value> = serde_json::from_str(V2).unwrap();
    let (asked, said): (Vec<_>, Vec<_>) = golden.into_iter().partition(|body| body.get("call").is_some());
    assert_eq!((asked.len(), said.len()), (requests().len(), messages().len()));
    for (body, request) in asked.into_iter().zip(requests()) {
        let read = Request::decode(&v2(body)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
    for (body, message) in said.into_iter().zip(messages()) {
        let read = Message::decode(&v2(body)).unwrap().unwrap();
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
    }
}

#[test]
fn fields_that_one_side_does_not_know_are_passed_over() {
    let request = Request { id: 1, call: Call::StartContainer(Box::new(launch())) };
    let mut body: serde_json::Value =
        serde_json::from_slice(&frame(&request.encode(2).unwrap()).body).unwrap();
    let spec = &mut body["call"]["StartContainer"]["spec"];
    spec["novelty"] = json!({ "deep": [1] });
    spec.as_object_mut().unwrap().remove("pids_limit").unwrap();
    let read = Request::decode(&v2(body)).unwrap();
    let Call::StartContainer(read) = read.call else { panic!("{read:?}") };
    assert_eq!(
        (read.spec.pids_limit, read.spec.memory_limit_bytes),
        (None, launch().spec.memory_limit_bytes)
    );
}

#[test]
fn a_shim_that_knows_no_targets_refuses_who_has_one() {
    let mut launch = launch();
    launch.spec.process_target = Some("app".to_owned());
    let bytes = Request { id: 1, call: Call::StartBeside(Box::new(launch)) }.encode(2).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&frame(&bytes).body).unwrap();
    assert!(body["call"].get("StartContainer").is_none(), "it would start it without: {body}");
    let read = Request::decode(&v2(body)).unwrap();
    let Call::StartBeside(read) = read.call else { panic!("{read:?}") };
    assert_eq!(read.spec.process_target.as_deref(), Some("app"));
}

#[test]
fn a_shim_that_knows_no_layers_refuses_an_image_in_layers() {
    let layers = vec!["ab".to_owned(), "cd".to_owned()];
    let root = Root::Layers(Stack { home: "/images/ab".into(), dir: "/images/l".into(), layers });
    let of_layers = Launch { rootfs: root.clone(), ..launch() };
    let bytes = Request { id: 1, call: Call::StartLayered(Box::new(of_layers)) }.encode(2).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&frame(&bytes).body).unwrap();
    // Where it looks for a path.
    assert!(!body["call"]["StartLayered"]["rootfs"].is_string(), "{body}");
    let read = Request::decode(&v2(body)).unwrap();
    let Call::StartLayered(read) = read.call else { panic!("{read:?}") };
    assert_eq!(read.rootfs, root);
    // Of an image in one directory it is told as ever.
    let bytes = Request { id: 1, call: Call::StartContainer(Box::new(launch())) }.encode(2).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&frame(&bytes).body).unwrap();
    assert_eq!(body["call"]["StartContainer"]["rootfs"], "/images/ab");
}

#[test]
fn what_is_not_known_has_an_answer() {
    let unknown = Request::decode(&v2(json!({ "id": 7, "call": { "Freeze": { "container": "web" } } })));
    let Err(Misread::Body { id: Some(7), cause }) = unknown else { panic!("{unknown:?}") };
    assert!(cause.contains("unknown variant `Freeze`"), "{cause}");
    let future = Request::decode(&Frame { version: 9, body: vec![1] });
    assert_eq!(future.unwrap_err(), Misread::Version(9));

    let answer = json!({ "Answer": { "id": 8, "answer": { "Err": { "Frozen": "since Tuesday" } } } });
    let Some(Message::Answer { id: 8, answer: Err(error) }) = Message::decode(&v2(answer)).unwrap() else {
        panic!("it is the error of call 8")
    };
    assert!(error.to_string().contains("since Tuesday"), "{error}");
    let news = json!({ "Thawed": { "container": "web" } });
    assert!(Message::decode(&v2(news)).unwrap().is_none());
    assert!(Message::decode(&Frame { version: 2, body: b"}".to_vec() }).is_err());
}
