//! The file that says which issuers' tokens are believed: read when a controller starts, and again when it changes.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use kontiki_api::oidc::{Authenticators, Configuration};

/// How often it is looked whether the file has changed. It counts once it has been the same twice: whoever writes it is not done before.
const LOOK: Duration = Duration::from_secs(2);
/// How long the issuers of a new configuration have to bring their keys; then the former one counts on, and it is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody writes more than this.
const LIMIT: u64 = 1 << 20;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct AuthenticationFile {
    /// Where it is.
    pub path: PathBuf,
    /// What was in it.
    pub text: String,
}

impl AuthenticationFile {
    /// Reads a file, within bounds.
    pub(crate) fn read(path: PathBuf) -> io::Result<AuthenticationFile> {
        Ok(AuthenticationFile { text: text_of(&path)?, path })
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it has more than {LIMIT} bytes")));
    }
    Ok(text)
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing is new, or somebody writes.
    Nothing,
    /// It cannot be used, and that will not change by itself.
    Unusable(String),
    /// It cannot be used now.
    NotNow(String),
    Loaded,
}

/// Follows the file for as long as the controller runs.
pub(super) async fn follow(file: AuthenticationFile, authenticators: Arc<Authenticators>) {
    let mut follower = Follower { last: file.text.clone(), counts: file.text, path: file.path };
    let mut told = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let seen = follower.look(&authenticators, PATIENCE).await;
        let path = follower.path.display();
        let why = match seen {
            Seen::Nothing => continue,
            Seen::Loaded => {
                tracing::info!(file = %path, "the authentication configuration was read anew");
                authenticators.count_reload(true, now_s());
                told.clear();
                continue;
            }
            Seen::Unusable(why) | Seen::NotNow(why) => why,
        };
        // Not each time that it is tried.
        if told != why {
            tracing::error!(file = %path, error = why, "the authentication configuration cannot be used: the former one counts on");
            authenticators.count_reload(false, now_s());
            told = why;
        }
    }
}

struct Follower {
    path: PathBuf,
    /// What was in the file the last time.
    last: String,
    /// What was in it when it was used, or found to be of no use.
    counts: String,
}

impl Follower {
    async fn look(&mut self, authenticators: &Authenticators, patience: Duration) -> Seen {
        let path = self.path.clone();
        let text = match tokio::task::spawn_blocking(move || text_of(&path)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return Seen::NotNow(format!("cannot read it: {error}")),
            Err(error) => return Seen::NotNow(format!("cannot read it: {error}")),
        };
        let steady = std::mem::replace(&mut self.last, text) == self.last;
        if !steady || self.last == self.counts {
            return Seen::Nothing;
        }
        let read = Configuration::read(&self.last)
            .and_then(|configuration| authenticators.admits(&configuration).map(|()| configuration));
        let seen = match read {
            Err(why) => Seen::Unusable(why.to_string()),
            Ok(configuration) => match authenticators.replace(configuration, patience).await {
                Err(why) => return Seen::NotNow(why),
                Ok(()) => Seen::Loaded,
            },
        };
        self.counts.clone_from(&self.last);
        seen
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_api::oidc::Timings;

    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

    /// An issuer that is not there.
    fn unreachable(name: &str) -> String {
        format!(
            "{HEAD}jwt: [{{issuer: {{url: 'https://127.0.0.1:1/{name}', audiences: [a]}}, claimMappings: {{username: {{claim: sub, prefix: x}}}}}}]\n"
        )
    }

    #[tokio::test]
    async fn a_file_counts_when_it_is_whole_and_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authentication.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&unreachable("a"));
        let file = AuthenticationFile::read(path.clone()).unwrap();
        let first = Configuration::read(&file.text).unwrap();
        let timings = Timings { retry: Duration::from_millis(10), ..Timings::default() };
        let authenticators = Authenticators::start(first, timings);
        let mut follower = Follower { last: file.text.clone(), counts: file.text, path: file.path };
        let patience = Duration::from_millis(50);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing, "as it was");

        // Whoever writes it is not done before it stays the same.
        write(&HEAD[..20]);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        write(HEAD);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Loaded, "without any issuer");
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);

        // What cannot be used is tried once; what may be used later, each time.
        write(&format!("{HEAD}jwks: []\n"));
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        let Seen::Unusable(why) = follower.look(&authenticators, patience).await else { panic!() };
        assert!(why.contains("jwks"), "{why}");
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        write(&format!("{HEAD}anonymous: {{enabled: false}}\n"));
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        let Seen::Unusable(why) = follower.look(&authenticators, patience).await else { panic!() };
        assert!(why.contains("changed from initial configuration file"), "{why}");
        write(&unreachable("b"));
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        for _ in 0..2 {
            let Seen::NotNow(why) = follower.look(&authenticators, patience).await else { panic!() };
            assert!(why.contains("https://127.0.0.1:1/b"), "{why}");
        }
        std::fs::remove_file(&path).unwrap();
        let Seen::NotNow(why) = follower.look(&authenticators, patience).await else { panic!() };
        assert!(why.contains("cannot read it"), "{why}");
        write(HEAD);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Nothing);
        assert_eq!(follower.look(&authenticators, patience).await, Seen::Loaded, "gone back");
    }

    #[test]
    fn a_file_that_has_no_end_is_not_read() {
        let refused = AuthenticationFile::read("/dev/zero".into()).unwrap_err();
        assert!(refused.to_string().contains("more than"), "{refused}");
    }
}
