//! Connections that can be held: what is sent goes on later, as when a cut heals and TCP sends again what was not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What was held does not come all at once, but packet by packet.
const GAP: Duration = Duration::from_millis(2);

/// The two directions of all connections from one controller to an address.
struct Link {
    local: SocketAddr,
    there: watch::Sender<bool>,
    back: watch::Sender<bool>,
}

/// All connections between the controllers of a test.
#[derive(Default)]
pub(crate) struct Relays {
    links: Mutex<BTreeMap<(u64, SocketAddr), Link>>,
}

impl Relays {
    /// The address at which a controller reaches another's.
    pub(crate) fn way(&self, runtime: &Handle, from: u64, to: SocketAddr) -> SocketAddr {
        let mut links = self.links.lock().unwrap();
        let link = links.entry((from, to)).or_insert_with(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let link = Link {
                local: listener.local_addr().unwrap(),
                there: watch::Sender::new(false),
                back: watch::Sender::new(false),
            };
            runtime.spawn(serve(listener, to, link.there.subscribe(), link.back.subscribe()));
            link
        });
        link.local
    }

    /// Holds what others answer a controller, or lets it go.
    pub(crate) fn hold_answers_to(&self, id: u64, held: bool) {
        for ((from, _), link) in &*self.links.lock().unwrap() {
            if *from == id {
                link.back.send_replace(held);
            }
        }
    }

    /// Holds what a controller asks others, or lets it go.
    pub(crate) fn hold_questions_of(&self, id: u64, held: bool) {
        for ((from, _), link) in &*self.links.lock().unwrap() {
            if *from == id {
                link.there.send_replace(held);
            }
        }
    }

    /// Holds what others ask a controller, and what it answers, or lets it go.
    pub(crate) fn hold_questions_to(&self, address: SocketAddr, held: bool) {
        for ((_, to), link) in &*self.links.lock().unwrap() {
            if *to == address {
                link.there.send_replace(held);
                link.back.send_replace(held);
            }
        }
    }
}

async fn serve(
    listener: TcpListener,
    to: SocketAddr,
    there: watch::Receiver<bool>,
    back: watch::Receiver<bool>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((inbound, _)) = listener.accept().await {
        let (there, back) = (there.clone(), back.clone());
        tokio::spawn(async move {
            let Ok(outbound) = TcpStream::connect(to).await else { return };
            let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
            let (in_read, in_write) = inbound.into_split();
            let (out_read, out_write) = outbound.into_split();
            tokio::select! {
                () = pass(in_read, out_write, there) => {}
                () = pass(out_read, in_write, back) => {}
            }
        });
    }
}

/// Passes on what comes, in the pieces in which it came.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
) {
    let pieces: Arc<Mutex<VecDeque<Vec<u8>>>> = Arc::default();
    let (more, mut came) = watch::channel(());
    let read = pieces.clone();
    let reading = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(bytes) = from.read(&mut buffer).await {
            if bytes == 0 {
                return;
            }
            read.lock().unwrap().push_back(buffer[..bytes].to_vec());
            more.send_replace(());
        }
    };
    let writing = async move {
        while came.changed().await.is_ok() {
            let waited = *held.borrow();
            if held.wait_for(|held| !held).await.is_err() {
                return;
            }
            loop {
                let Some(piece) = pieces.lock().unwrap().pop_front() else { break };
                if to.write_all(&piece).await.is_err() {
                    return;
                }
                if waited {
                    tokio::time::sleep(GAP).await;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
