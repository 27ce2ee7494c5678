//! What can go wrong with keys, certificates and tokens, in words that say the way out.

use std::io;
use std::path::PathBuf;

/// An error in making, reading or keeping keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot stand in a certificate.
    #[error("{what} {value:?} cannot be used: {rule}")]
    Name {
        /// What kind of name.
        what: &'static str,
        /// The name as given.
        value: String,
        /// What it must look like.
        rule: &'static str,
    },
    /// A certificate that cannot be read, or that is not one of ours.
    #[error("certificate refused: {0}")]
    Certificate(String),
    /// A PEM text without the section that was expected in it.
    #[error("no {0} found in the PEM text")]
    Pem(&'static str),
    /// A private key that does not belong to the certificate beside it.
    #[error("the private key does not belong to the certificate: the files were mixed up, join again")]
    KeyMismatch,
    /// The certificate library failed.
    #[error("cannot {action}: {source}")]
    Signing {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// The TLS library refused a key or certificate.
    #[error("cannot use this key and certificate for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A private key that others on this machine can read.
    #[error(
        "{path} has mode {mode:04o} and holds private keys: run `chmod {wanted:o} {path}`, and if others could read it, join again with a new key"
    )]
    TooOpen {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be.
        wanted: u32,
    },
    /// A join token was not usable.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why a text is not a join token. It never repeats the text: that may be a good secret with a small typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as ours do.
    #[error(
        "this is not a Kontiki join token: it must begin with `kontiki1.`; make one with `kontiki token create`"
    )]
    Version,
    /// Parts are missing or too many.
    #[error("the join token has {0} parts instead of 5 (kontiki1.role.ca.id.secret): was it copied in full?")]
    Parts(usize),
    /// The role letter is unknown.
    #[error("the join token's role must be `c` (controller) or `w` (worker)")]
    Role,
    /// A part has a wrong length or a character that is not lowercase hexadecimal.
    #[error("the join token's {part} must be {digits} lowercase hexadecimal digits: was it copied in full?")]
    Hex {
        /// Which part.
        part: &'static str,
        /// How many digits it has.
        digits: usize,
    },
    /// Users do not join.
    #[error("join tokens are for controllers and workers; users get a certificate instead")]
    NotForUsers,
}

/// Why the other end of a connection was refused. It travels inside the TLS library's error to the log line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Signed by a CA that is not this cluster's.
    #[error(
        "its certificate ({who}) is signed by a foreign CA ({issuer}), not by the CA of cluster {cluster}"
    )]
    ForeignCa {
        /// Who it says it is.
        who: String,
        /// The issuer that it names.
        issuer: String,
        /// Our cluster.
        cluster: String,
    },
    /// Signed by our CA, for another cluster.
    #[error("its certificate ({who}) belongs to cluster {theirs}, this is cluster {ours}")]
    OtherCluster {
        /// Who it says it is.
        who: String,
        /// Its cluster.
        theirs: String,
        /// Our cluster.
        ours: String,
    },
    /// Without an identity, or one that cannot be read.
    #[error("its certificate carries no identity of this cluster: {0}")]
    NoIdentity(String),
    /// Outside its time of validity, or not made for this use.
    #[error("its certificate ({who}) is not valid: {cause}")]
    Invalid {
        /// Who it says it is.
        who: String,
        /// The TLS library's reason.
        cause: String,
    },
    /// The server's chain lacks the CA that the join token names.
    #[error(
        "the server does not belong to the cluster of the join token: its CA is not the one with fingerprint {0}"
    )]
    NotPinned(String),
    /// A server that may not take join requests.
    #[error("the server is {0}, and only a controller takes join requests")]
    NotController(String),
}
