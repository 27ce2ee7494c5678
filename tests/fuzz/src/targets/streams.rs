//! Streams into pods, from the client's side, and what agents and shims say to each other. Bytes arrive in pieces of any length.

use kontiki_api::{fuzzing, streams::StdStreams};
use kontiki_worker::fuzzing as worker;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, runtime::Runtime, time::Duration};

use super::{Target, owned, same};
use crate::engine::mark;

pub(super) const WEBSOCKET: Target =
    Target::bytes("websocket", websocket_seeds, websocket).with(4 << 10, 10_000);
pub(super) const SPDY: Target = Target::bytes("spdy", spdy_seeds, spdy).with(4 << 10, 20_000);
pub(super) const FORWARD: Target = Target::bytes("spdy-served", spdy_seeds, served).with(4 << 10, 2_000);
pub(super) const SHIM: Target = Target::bytes("shim", shim_seeds, shim).with(4 << 10, 20_000);

/// How long a connection may be served that says nothing more, on a clock that runs when nothing else does: longer than any patience.
const OVER: Duration = Duration::from_secs(24 * 3600);

thread_local! {
    static RUNTIME: Option<Runtime> =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().ok();
}

fn until_over(serving: impl Future<Output = ()>) -> Result<(), String> {
    RUNTIME.with(|runtime| {
        let runtime = runtime.as_ref().ok_or("there is no runtime")?;
        let over = runtime.block_on(async { tokio::time::timeout(OVER, serving).await });
        over.map_err(|_| "it is still served when its client is long gone".to_owned())
    })
}

/// Pieces by the first byte: all at once, byte by byte, or of some length.
fn pieces(input: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((usize::from(*first).max(1), rest))
}

fn websocket_seeds() -> Vec<Vec<u8>> {
    owned(&[
        b"\0\x06\0hello\x02\xff\0\x15\x04{\"Width\":80,\"Height\":24}",
        b"\x02\x090aGVsbG8=\x214eyJXaWR0aCI6ODAsIkhlaWdodCI6MjR9",
        b"\x01\x03\x02ab\x03\x01bc\x02\x04x",
    ])
}

/// Messages, each with its length before it, in one of the forms.
fn websocket(input: &[u8]) -> Result<bool, String> {
    let Some((form, mut rest)) = input.split_first() else { return Ok(false) };
    let (mut messages, mut accepted) = (Vec::new(), false);
    while let Some((length, behind)) = rest.split_first() {
        let (message, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        let read = fuzzing::message(usize::from(*form), message);
        mark(&format!("{:?}", read.as_ref().map(|said| said.as_ref().map(std::mem::discriminant))));
        accepted |= matches!(read, Ok(Some(_)));
        messages.push(message.to_vec());
        rest = behind;
    }
    until_over(fuzzing::ports(usize::from(*form), messages))?;
    Ok(accepted)
}

/// One byte, and what stands behind it.
fn behind(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = vec![first];
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
}

fn spdy_seeds() -> Vec<Vec<u8>> {
    let open = |stream: u32, kind: &str, port: &str| {
        fuzzing::blocks(&[(stream, &[("streamtype", kind), ("port", port), ("requestid", "0")])])
    };
    let (error, data, stdin) = (open(1, "error", "80"), open(1, "data", "1"), open(1, "stdin", "1"));
    let hello = b"\0\0\0\x01\x01\0\0\x05hello";
    let ping = b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01";
    let reset = b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05";
    let away = b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0";
    let both = fuzzing::blocks(&[
        (1, &[("streamtype", "error"), ("port", "80"), ("requestid", "0")]),
        (3, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]),
        (5, &[("streamtype", "stdin")]),
        (7, &[("streamtype", "stdout")]),
        (9, &[("streamtype", "stderr")]),
        (11, &[("streamtype", "resize")]),
    ]);
    let said =
        b"\0\0\0\x03\x01\0\0\x05hello\0\0\0\x05\0\0\0\x02hi\0\0\0\x0b\0\0\0\x19{\"Width\":80,\"Height\":24}";
    vec![
        behind(0xff, &[&error, hello, ping, reset, away]),
        behind(0xff, &[&data, hello, hello]),
        behind(7, &[&stdin, hello]),
        behind(1, &[hello, ping]),
        behind(0xff, &[&both, said]),
        behind(0xfc, &[&both, said, reset]),
    ]
}

fn spdy(input: &[u8]) -> Result<bool, String> {
    let Some((length, rest)) = pieces(input) else { return Ok(false) };
    let cut = fuzzing::frames(rest.chunks(length));
    same("frames however they arrive", &cut, &fuzzing::frames([rest].into_iter()))?;
    mark(&format!("{:?} {}", cut.refused, cut.read.len()));
    Ok(!cut.read.is_empty())
}

fn served(input: &[u8]) -> Result<bool, String> {
    let Some((length, rest)) = pieces(input) else { return Ok(false) };
    let mut answered = 0;
    for way in [None, Some(length)] {
        let (mut near, far) = tokio::io::duplex(1 << 10);
        let wanted = StdStreams { stdin: true, stdout: true, stderr: length & 1 == 0, tty: length & 2 == 0 };
        let serving = async {
            match way {
                None => fuzzing::forward(far).await,
                Some(version) => fuzzing::remote(far, version, wanted).await,
            }
        };
        let client = async {
            let (mut heard, mut said) = tokio::io::split(&mut near);
            let says = async {
                for piece in rest.chunks(length) {
                    if said.write_all(piece).await.is_err() {
                        break;
                    }
                }
                said.shutdown().await.ok();
            };
            let hears = async {
                let mut answer = Vec::new();
                heard.read_to_end(&mut answer).await.ok();
                answer.len()
            };
            answered = answered.max(tokio::join!(says, hears).1);
        };
        until_over(async {
            tokio::join!(serving, client);
        })?;
    }
    mark(&format!("{:b}", answered));
    Ok(answered > 0)
}

fn shim_seeds() -> Vec<Vec<u8>> {
    // Of version 2 bodies were recorded, one a line, of version 1 frames.
    let golden = include_str!("../../../../worker/src/shim/protocol/golden/v2.json").lines();
    let bodies =
        golden.map(|line| line.trim().trim_end_matches(',').as_bytes()).filter(|line| line.len() > 2);
    let v2 = bodies.map(|body| {
        let length = u32::try_from(body.len()).unwrap_or(0).to_le_bytes();
        behind(0xff, &[&length, &[2, 0], body])
    });
    let octets = |hex: &str| -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    };
    let frames = include_str!("../../../../worker/src/shim/protocol/golden/v1.hex").lines();
    let v1 = frames.filter_map(|line| line.split_once(' ')).map(|(_, hex)| behind(0xff, &[&octets(hex)]));
    v2.chain(v1).collect()
}

fn shim(input: &[u8]) -> Result<bool, String> {
    let Some((length, rest)) = pieces(input) else { return Ok(false) };
    let cut = worker::shim(rest.chunks(length));
    same("messages however they arrive", &cut, &worker::shim([rest].into_iter()))?;
    for said in &cut {
        mark(said);
    }
    // As a body: the frame's header is behind it.
    for version in [1, 2] {
        for (read, again) in worker::shim_again(version, rest.get(6..).unwrap_or_default()) {
            same("a body written and read again", &again, &read)?;
        }
    }
    Ok(cut.iter().any(|said| said.contains("Ok(")))
}
