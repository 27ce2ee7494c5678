//! A client, for tests.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    frame::{Decoder, Frame},
    headers::{Deflate, Inflate},
};

pub(in crate::rest::stream) struct Client {
    connection: DuplexStream,
    decoder: Decoder,
    deflate: Deflate,
    inflate: Inflate,
    next: u32,
    /// What came on each stream, and whether it has ended.
    heard: HashMap<u32, (Vec<u8>, bool)>,
    pub(in crate::rest::stream) pongs: Vec<u32>,
    pub(in crate::rest::stream) resets: Vec<u32>,
}

impl Client {
    pub(in crate::rest::stream) fn new(connection: DuplexStream) -> Client {
        Client {
            connection,
            decoder: Decoder::default(),
            deflate: Deflate::new(),
            inflate: Inflate::new(),
            next: 1,
            heard: HashMap::new(),
            pongs: Vec::new(),
            resets: Vec::new(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        self.connection.write_all(&frame.to_bytes()).await.unwrap();
    }

    pub(in crate::rest::stream) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let (stream, block) = (self.next, self.deflate.write(headers));
        self.next += 2;
        self.send(Frame::Open { stream, fin: false, block }).await;
        stream
    }

    pub(in crate::rest::stream) async fn says(&mut self, stream: u32, words: &str, fin: bool) {
        self.send(Frame::Data { stream, fin, bytes: Bytes::copy_from_slice(words.as_bytes()) }).await;
    }

    pub(in crate::rest::stream) async fn resets(&mut self, stream: u32) {
        self.send(Frame::Reset { stream, status: 5 }).await;
    }

    pub(in crate::rest::stream) async fn pings(&mut self, id: u32) {
        self.send(Frame::Ping(id)).await;
    }

    /// Takes in the answers to all that was sent so far.
    pub(in crate::rest::stream) async fn hears_answers(&mut self) {
        let before = self.pongs.len();
        self.pings(1).await;
        while self.pongs.len() == before {
            assert!(self.hears().await, "the connection ended");
        }
    }

    /// Takes in what comes, once. Whether there is more.
    pub(in crate::rest::stream) async fn hears(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = self.connection.read(&mut buffer).await.unwrap_or(0);
        self.decoder.push(&buffer[..count]);
        while let Some(frame) = self.decoder.next().unwrap() {
            match frame {
                Frame::Data { stream, fin, bytes } => {
                    let (words, ended) = self.heard.entry(stream).or_default();
                    assert!(!*ended, "something came after the end of stream {stream}");
                    words.extend_from_slice(&bytes);
                    *ended = fin;
                }
                Frame::Headers { block } => drop(self.inflate.read(&block).unwrap()),
                Frame::Ping(id) => self.pongs.push(id),
                Frame::Reset { stream, .. } => self.resets.push(stream),
                Frame::Open { .. } | Frame::Reply { .. } | Frame::GoAway => panic!("{frame:?}"),
            }
        }
        count > 0
    }

    /// All that comes on a stream.
    pub(in crate::rest::stream) async fn all_of(&mut self, stream: u32) -> String {
        while !self.heard.get(&stream).is_some_and(|(_, ended)| *ended) {
            assert!(self.hears().await, "the connection ended before stream {stream}: {:?}", self.heard);
        }
        String::from_utf8(self.heard[&stream].0.clone()).unwrap()
    }
}
