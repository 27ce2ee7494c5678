//! What comes in that should not: nonsense, strangers, too much.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use kontiki_chaos_tests::Raw;
use kontiki_pki::{Ca, Identity, Subject};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Bit, Doing};
use crate::client::{Rest, Sent};

const PATIENCE: Duration = Duration::from_secs(3);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What a person at a terminal, a broken client and an enemy send.
const NONSENSE: [&str; 8] = [
    "GET / HTTP/1.1\r\n\r\n",
    "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: k\r\ncontent-length: 4\r\n\r\n{\"a\"",
    "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: k\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "PUT /apis/apps/v1/namespaces/default/deployments/../../../x HTTP/1.1\r\nhost: k\r\ncontent-length: 2\r\n\r\n{}",
    "GET /api/v1/pods?limit=-1&continue=%ff%fe&resourceVersion=18446744073709551616 HTTP/1.1\r\nhost: k\r\n\r\n",
    "GET /api/v1/pods?labelSelector=((((,,!= HTTP/1.1\r\nhost: k\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{ff}\u{9}\u{4}\u{0}\u{0}\u{0}\u{1}",
    "\u{0}\u{1}\u{2}\u{3}",
];

impl Doing<'_> {
    /// Broken requests inside and outside of TLS. Proof: the server answered them with an error or hung up.
    pub(super) fn bad_input(&self, requests: u32) -> Bit {
        let identity = self.field.cluster.identity()?;
        let addresses: Vec<String> =
            self.field.cluster.controllers().map(|host| host.address.clone()).collect();
        let mut rng = StdRng::seed_from_u64(self.field.seed ^ self.hold as u64);
        let refused = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for n in 0..requests as usize {
            let (identity, address) = (identity.clone(), addresses[n % addresses.len()].clone());
            let (refused, bytes) = (refused.clone(), rng.random::<[u8; 32]>());
            tasks.push(self.field.runtime.spawn(async move {
                let sent = match n % 3 {
                    0 => naked(&address, &bytes).await,
                    1 => naked(&address, NONSENSE[n % NONSENSE.len()].as_bytes()).await,
                    _ => wrapped(&identity, &address, NONSENSE[n % NONSENSE.len()].as_bytes()).await,
                };
                refused.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
            }));
        }
        self.field.runtime.block_on(async { futures_util::future::join_all(tasks).await });
        Ok(refused.load(Ordering::Relaxed) > 0)
    }

    /// An administrator of another cluster calls. Proof: a controller that answers others lets him in nowhere.
    pub(super) fn stranger(&self) -> Bit {
        let ca = Ca::create("another-cluster")?;
        let subject = Subject::User { name: "mallory".into(), groups: vec!["system:masters".into()] };
        let pair = ca.issue(&subject, Duration::from_secs(600))?;
        // He knows the cluster's CA, and has a certificate of his own.
        let own = self.field.cluster.identity()?;
        let config = kontiki_chaos_tests::stranger(own.ca_cert_pem(), &pair.cert_pem, &pair.key_pem)?;
        let addresses: Vec<String> =
            self.field.cluster.controllers().map(|host| host.address.clone()).collect();
        let calling = self.field.runtime.spawn(async move {
            let (mut refused, mut let_in) = (0, 0);
            for address in addresses {
                let call = async {
                    let mut raw = Raw::connect(config.clone(), &own, &address).await?;
                    let head = format!("GET {MAPS} HTTP/1.1\r\nhost: k\r\nconnection: close\r\n\r\n");
                    raw.write(head.as_bytes()).await?;
                    raw.answer().await
                };
                match timeout(PATIENCE, call).await {
                    Ok(Ok(answer)) if answer.code < 400 => let_in += 1,
                    Ok(_) => refused += 1,
                    Err(_) => {}
                }
            }
            (refused, let_in)
        });
        let (refused, let_in) = self.field.runtime.block_on(calling)?;
        if let_in > 0 {
            self.field.broken("G1", format!("{let_in} controllers let a stranger in"));
        }
        Ok(refused > 0)
    }

    /// So many writes and reads at once. Proof: some were refused or waited long; or at least all were sent at once.
    pub(super) fn overload(&self, requests: u32) -> Bit {
        let identity = self.field.cluster.identity()?;
        let addresses: Vec<String> = self.hosts_to_load();
        let sent = Arc::new(AtomicU64::new(0));
        let hold = self.hold;
        let mut tasks = Vec::new();
        let each = requests as usize / addresses.len().max(1);
        for address in addresses {
            let (identity, sent) = (identity.clone(), sent.clone());
            tasks.push(self.field.runtime.spawn(async move {
                let Ok(rest) = Rest::connect(&identity, &address).await else { return };
                let calls = (0..each).map(|n| {
                    let (rest, sent) = (&rest, &sent);
                    async move {
                        // Objects of its own: what registers are checked for must not depend on who else writes.
                        let body = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"name": format!("load-{hold}-{}", n % 50)}, "data": {"n": n.to_string()}});
                        let answer = match n % 3 {
                            0 => rest.send(Method::GET, MAPS, None).await,
                            _ => rest.send(Method::POST, MAPS, Some(&body)).await,
                        };
                        sent.fetch_add(u64::from(!matches!(answer, Sent::Not)), Ordering::Relaxed);
                    }
                });
                futures_util::future::join_all(calls).await;
            }));
        }
        self.field.runtime.block_on(async { futures_util::future::join_all(tasks).await });
        Ok(sent.load(Ordering::Relaxed) > u64::from(requests) / 2)
    }

    fn hosts_to_load(&self) -> Vec<String> {
        let meant: Vec<String> = self.controllers().map(|host| host.address.clone()).collect();
        let all = || self.field.cluster.controllers().map(|host| host.address.clone()).collect();
        if meant.is_empty() { all() } else { meant }
    }
}

/// Bytes without TLS, until the server hangs up.
async fn naked(address: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        let mut end = Vec::new();
        // A reset is an answer, too.
        let _ = stream.read_to_end(&mut end).await;
        Ok(())
    };
    timeout(PATIENCE, talk).await?
}

/// Bytes inside TLS.
async fn wrapped(identity: &Identity, address: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let talk = async {
        let mut raw = Raw::connect(identity.client_config(), identity, address).await?;
        raw.write(bytes).await?;
        let _ = timeout(PATIENCE / 2, raw.answer()).await;
        Ok(())
    };
    timeout(PATIENCE, talk).await?
}
