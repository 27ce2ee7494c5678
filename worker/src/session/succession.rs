//! Whether a leader that is silent leads still: asked of the other controllers while the session with it goes on. It may be busy with more than it
//! can do, and a session that is given up and begun anew costs it a handshake, a turn and all that the worker runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kontiki_proto::worker::from_worker::What as Out;
use kontiki_proto::worker::sessions_client::SessionsClient;
use kontiki_proto::worker::to_worker::What as In;
use kontiki_proto::worker::{FromWorker, Hello, ToWorker};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::dial::Dial;

/// Who leads, as another controller knows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// The one that is asked about, in the same term.
    Still,
    /// The one at this address.
    Other(String),
}

/// A question to the other controllers.
pub(super) struct Question {
    /// Before it is asked: all workers of a leader find it silent at the same moment.
    pub(super) pause: Duration,
    pub(super) dial: Arc<dyn Dial>,
    /// Whom to ask, one after another.
    pub(super) others: Vec<String>,
    /// Says who asks. Whoever leads takes it for a greeting.
    pub(super) hello: Hello,
    /// Whom it is about, and in which term it led.
    pub(super) leader: String,
    pub(super) term: u64,
    /// How long to wait for each connection, and for each answer.
    pub(super) connection: Duration,
    pub(super) answer: Duration,
}

impl Question {
    /// Asks until one of them knows somebody who leads. None: nobody does.
    pub(super) fn ask(self) -> BoxFuture<'static, Option<Leads>> {
        Box::pin(async move {
            tokio::time::sleep(self.pause).await;
            for address in &self.others {
                match timeout(self.answer, self.first_word(address)).await {
                    Ok(Some(word)) => match self.leads(address, word) {
                        None => {}
                        known => return known,
                    },
                    _ => tracing::debug!(%address, "it does not say who leads"),
                }
            }
            None
        })
    }

    async fn first_word(&self, address: &str) -> Option<ToWorker> {
        // Kept to the end: a stream that ends is a worker that leaves.
        let (out, rest) = mpsc::channel(1);
        out.send(FromWorker { what: Some(Out::Hello(self.hello.clone())) }).await.ok()?;
        let mut client = SessionsClient::new(self.dial.channel(address, self.connection));
        let mut incoming = client.session(ReceiverStream::new(rest)).await.ok()?.into_inner();
        incoming.message().await.ok()?
    }

    fn leads(&self, address: &str, word: ToWorker) -> Option<Leads> {
        let Some(In::Redirect(redirect)) = word.what else {
            // Nobody else welcomes a worker.
            return (word.term >= self.term).then(|| Leads::Other(address.to_owned()));
        };
        match redirect.leader_address {
            leader if leader.is_empty() => None,
            leader if leader == self.leader && word.term <= self.term => Some(Leads::Still),
            leader => Some(Leads::Other(leader)),
        }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_proto::worker::{Redirect, Welcome};
    use tonic::transport::Channel;

    use super::*;

    struct Nowhere;

    impl Dial for Nowhere {
        fn channel(&self, _: &str, _: Duration) -> Channel {
            unreachable!("nobody is called")
        }
    }

    fn heard(term: u64, what: In) -> Option<Leads> {
        let question = Question {
            pause: Duration::ZERO,
            dial: Arc::new(Nowhere),
            others: Vec::new(),
            hello: Hello::default(),
            leader: "c1:1".to_owned(),
            term: 5,
            connection: Duration::ZERO,
            answer: Duration::ZERO,
        };
        question.leads("c2:1", ToWorker { term, sequence: 1, what: Some(what) })
    }

    fn sent_to(term: u64, leader: &str) -> Option<Leads> {
        heard(term, In::Redirect(Redirect { leader_address: leader.to_owned(), ..Redirect::default() }))
    }

    #[test]
    fn it_leads_still_only_in_its_own_term() {
        assert_eq!(sent_to(5, "c1:1"), Some(Leads::Still));
        assert_eq!(sent_to(4, "c1:1"), Some(Leads::Still), "who lags behind knows of no other");
        assert_eq!(
            sent_to(6, "c1:1"),
            Some(Leads::Other("c1:1".to_owned())),
            "its sessions ended with the term"
        );
        assert_eq!(sent_to(6, "c3:1"), Some(Leads::Other("c3:1".to_owned())));
        assert_eq!(sent_to(6, ""), None, "an election goes on");
    }

    #[test]
    fn who_welcomes_leads_unless_it_is_of_the_past() {
        assert_eq!(heard(6, In::Welcome(Welcome::default())), Some(Leads::Other("c2:1".to_owned())));
        assert_eq!(heard(4, In::Welcome(Welcome::default())), None);
    }
}
