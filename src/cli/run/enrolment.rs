//! A controller that is not a member yet makes itself one: it asks the others to add it as a learner and then, when it has
//! caught up, to give it a vote. The data directory remembers that this is still to be done, so that a crash in between
//! is made up for at the next start, and a controller that was removed later does not come back by itself.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kontiki_pki::{DialOptions, Dialer, Identity};
use kontiki_proto::cluster::cluster_client::ClusterClient;
use kontiki_proto::cluster::{AddMemberRequest, Empty, Member, PromoteRequest};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tonic::Status;

/// One call. A promotion waits for the learner to catch up.
const CALL: Duration = Duration::from_secs(130);
const PAUSE: Duration = Duration::from_millis(50);
/// After so many attempts the reason is worth a line in the log.
const QUIET: u32 = 60;

/// What is still to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Enrolment {
    /// Controllers to ask, host:port.
    servers: Vec<String>,
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("enrolment.json")
}

/// Notes that the controller of this data directory has to become a member, before it gets its identity: one that has an identity and
/// no note is done with it. The note is on the disk when this returns.
pub(crate) fn note(data_dir: &Path, servers: Vec<String>) -> anyhow::Result<()> {
    let file = file(data_dir);
    let written = || -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
        let temporary = file.with_extension("new");
        let mut new = File::create(&temporary)?;
        new.write_all(&serde_json::to_vec(&Enrolment { servers })?)?;
        new.sync_all()?;
        fs::rename(&temporary, &file)?;
        File::open(data_dir)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}

/// Forgets the note of a controller that did not get its identity.
pub(crate) fn forget(data_dir: &Path) {
    // What stays behind is written anew when it joins.
    let _ = fs::remove_file(file(data_dir));
}

/// What is still to be done in this data directory.
pub(crate) fn pending(data_dir: &Path) -> Option<Enrolment> {
    serde_json::from_slice(&fs::read(file(data_dir)).ok()?).ok()
}

/// Asks until this controller votes.
pub(super) async fn enrol(enrolment: Enrolment, member: Member, identity: Identity, data_dir: PathBuf) {
    let dialer = Dialer::new(&identity);
    let servers: Vec<&String> =
        enrolment.servers.iter().filter(|server| **server != member.address).collect();
    let mut attempt = 0_u32;
    loop {
        for server in &servers {
            let channel =
                dialer.channel(server, identity.controller_server_name(None), DialOptions::default());
            let asked = timeout(CALL, ask(ClusterClient::new(channel), &member)).await;
            let outcome = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
            match outcome {
                Ok(()) => {
                    tracing::info!("this controller is a voting member");
                    // What stays behind would only ask again for what is already so.
                    forget(&data_dir);
                    return;
                }
                Err(status) if attempt % QUIET == QUIET - 1 => {
                    tracing::warn!(
                        server,
                        reason = status.message(),
                        "this controller is not a voting member yet"
                    );
                }
                Err(status) => tracing::debug!(server, reason = status.message(), "not a voting member yet"),
            }
        }
        attempt += 1;
        sleep(PAUSE * attempt.min(20)).await;
    }
}

async fn ask(mut client: ClusterClient<tonic::transport::Channel>, own: &Member) -> Result<(), Status> {
    let members = client.members(Empty {}).await?.into_inner().members;
    let known = members.iter().find(|m| m.id == own.id);
    if known.is_none_or(|m| m.address != own.address || m.zone != own.zone) {
        client.add_member(AddMemberRequest { member: Some(own.clone()) }).await?;
    }
    if !known.is_some_and(|m| m.voter) {
        client.promote(PromoteRequest { id: own.id }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_data_directory_that_is_made_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let data_dir = place.path().join("data");
        note(&data_dir, vec!["a:1".into()]).unwrap();
        assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_noted_last_is_to_be_done_until_it_is_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let data_dir = place.path().join("data");
        assert!(pending(&data_dir).is_none());
        note(&data_dir, vec!["a:1".into()]).unwrap();
        note(&data_dir, vec!["a:1".into(), "b:1".into()]).unwrap();
        assert_eq!(pending(&data_dir).unwrap().servers, ["a:1", "b:1"]);
        forget(&data_dir);
        assert!(pending(&data_dir).is_none());
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 0, "nothing is left behind");
    }
}
