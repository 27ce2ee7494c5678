//! Several channels in one WebSocket: each message is the channel's number and bytes of it. The forms are those of
//! Kubernetes' `remotecommand`: `v5.channel.k8s.io`, `v4.channel.k8s.io`, `channel.k8s.io`, and both older ones in base64
//! for browsers, where the number is a digit.

use axum::extract::ws::Message;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::Deserialize;

use crate::streams::FromClient;

/// Input of the process.
pub(super) const STDIN: u8 = 0;
/// Its output.
pub(super) const STDOUT: u8 = 1;
/// What it says of errors.
pub(super) const STDERR: u8 = 2;
/// How it ended.
pub(super) const STATUS: u8 = 3;
/// The size of the client's terminal.
const RESIZE: u8 = 4;
/// Says that another channel has ended; since version 5.
const CLOSE: u8 = 255;

/// How messages are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Its name in the handshake.
    pub(super) name: &'static str,
    /// The end is told as a Status, also the good one.
    pub(super) status: bool,
    /// Channels can end one by one.
    closes: bool,
    base64: bool,
}

/// The best first.
pub(super) const FORMS: [Form; 5] = [
    Form { name: "v5.channel.k8s.io", status: true, closes: true, base64: false },
    Form { name: "v4.channel.k8s.io", status: true, closes: false, base64: false },
    Form { name: "v4.base64.channel.k8s.io", status: true, closes: false, base64: true },
    PLAIN,
    Form { name: "base64.channel.k8s.io", status: false, closes: false, base64: true },
];
/// That of clients which name none.
pub(super) const PLAIN: Form = Form { name: "channel.k8s.io", status: false, closes: false, base64: false };

/// Why a message means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message without a channel")]
    Empty,
    #[error("channel {0} is not the client's to write to")]
    Channel(u8),
    #[error("not base64")]
    Base64,
    #[error("not the size of a terminal")]
    Size,
}

/// `{"Width":80,"Height":24}`.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

impl Form {
    /// What a client's message says; nothing, if it says nothing.
    pub(super) fn read(self, message: Bytes) -> Result<Option<FromClient>, Malformed> {
        let (channel, payload) = self.open(message)?;
        match channel {
            // An empty message is what some clients begin with. It is no end.
            STDIN => Ok((!payload.is_empty()).then_some(FromClient::Data(payload))),
            RESIZE => {
                let size: Size = serde_json::from_slice(&payload).map_err(|_| Malformed::Size)?;
                Ok(Some(FromClient::Resize { columns: size.width, rows: size.height }))
            }
            CLOSE if self.closes => Ok((payload.as_ref() == [STDIN]).then_some(FromClient::Eof)),
            // Nothing can be said on these, and kubectl's beginnings are empty.
            STDOUT | STDERR | STATUS if payload.is_empty() => Ok(None),
            other => Err(Malformed::Channel(other)),
        }
    }

    /// The channel of a client's message, and what it says on it.
    pub(super) fn open(self, message: Bytes) -> Result<(u8, Bytes), Malformed> {
        let mut payload = message;
        if payload.is_empty() {
            return Err(Malformed::Empty);
        }
        let first = payload.split_to(1)[0];
        if !self.base64 {
            return Ok((first, payload));
        }
        let payload = BASE64.decode(&payload).map_err(|_| Malformed::Base64)?;
        Ok((first.wrapping_sub(b'0'), payload.into()))
    }

    /// A message to the client, as the WebSocket has it.
    pub(super) fn message(self, channel: u8, payload: &[u8]) -> Message {
        let message = self.write(channel, payload);
        match self.base64 {
            // Base64 behind a digit.
            true => Message::Text(String::from_utf8_lossy(&message).as_ref().into()),
            false => Message::Binary(message.into()),
        }
    }

    /// A message to the client.
    fn write(self, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + payload.len());
        if self.base64 {
            message.push(b'0'.wrapping_add(channel));
            message.extend_from_slice(BASE64.encode(payload).as_bytes());
        } else {
            message.push(channel);
            message.extend_from_slice(payload);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const V5: Form = FORMS[0];
    const V4: Form = FORMS[1];
    const TEXT: Form = FORMS[2];

    fn read(form: Form, message: &[u8]) -> Result<Option<FromClient>, Malformed> {
        form.read(Bytes::copy_from_slice(message))
    }

    #[test]
    fn a_clients_messages_are_read_as_kubernetes_reads_them() {
        let data = |text: &str| Ok(Some(FromClient::Data(Bytes::copy_from_slice(text.as_bytes()))));
        assert_eq!(read(V5, b"\0hello"), data("hello"));
        assert_eq!(read(V5, b"\0"), Ok(None), "no input, and no end of it");
        assert_eq!(read(V5, &[255, 0]), Ok(Some(FromClient::Eof)));
        assert_eq!(read(V5, &[255, 1]), Ok(None), "only the input's end is of interest");
        assert_eq!(read(V4, &[255, 0]), Err(Malformed::Channel(255)), "it came with version 5");
        let size = FromClient::Resize { columns: 80, rows: 24 };
        assert_eq!(read(V5, b"\x04{\"Width\":80,\"Height\":24}\n"), Ok(Some(size.clone())));
        assert_eq!(read(V5, b"\x04{\"Width\":-1}"), Err(Malformed::Size));
        assert_eq!(read(V5, b"\x01"), Ok(None));
        assert_eq!(read(V5, b"\x01x"), Err(Malformed::Channel(1)));
        assert_eq!(read(V5, b""), Err(Malformed::Empty));
        assert_eq!(read(TEXT, b"0aGVsbG8="), data("hello"));
        assert_eq!(read(TEXT, b"4eyJXaWR0aCI6ODAsIkhlaWdodCI6MjR9"), Ok(Some(size)));
        assert_eq!(read(TEXT, b"0a"), Err(Malformed::Base64));
        assert_eq!(read(TEXT, b"\0aGVsbG8="), Err(Malformed::Channel(208)));
    }

    #[test]
    fn messages_to_the_client() {
        assert_eq!(V5.write(STDOUT, b"out"), b"\x01out");
        assert_eq!(TEXT.write(STDERR, b"err"), b"2ZXJy");
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..512)) {
            for form in FORMS {
                read(form, &message).ok();
            }
        }

        #[test]
        fn what_is_written_as_input_is_read_as_it(input in proptest::collection::vec(any::<u8>(), 1..512)) {
            for form in FORMS {
                let read = read(form, &form.write(STDIN, &input)).unwrap();
                prop_assert_eq!(read, Some(FromClient::Data(input.clone().into())));
            }
        }
    }
}
