//! Who is who. The cluster's certificate authority, the certificates that it signs, the TLS in which every connection
//! runs, and the tokens by which newcomers get their first certificate.
//!
//! ```text
//!   Ca ──issue / sign_csr──> certificate ──> Identity ──> server_config ──> serve ──> requests that carry a `Peer`
//!                                               └───────> client_config ──> Dialer ──> tonic channels
//!   JoinToken ──> pinned Dialer ──> Cluster.Join ──> Identity
//!   Ca ──derive──> AccountKeys ──> tokens of service accounts
//!   keys of others ──> VerifyingKey ──> whether they signed it
//! ```
//!
//! There is one way to connect to the cluster and one way to accept: TLS 1.3, verified anew on each connection against the cluster's
//! CA. A certificate names its cluster, role and name in a URI; a controller is dialed by its identity and not by
//! its address, so an address that was given to another process cannot stand in for it.
//!
//! Not for: who may do what (the caller of `serve` decides by the `Peer`), storing tokens, or revocation.

mod accept;
mod account_keys;
mod ca;
mod dialer;
mod error;
mod files;
mod gulp;
mod identity;
mod listener;
mod names;
mod peer;
mod request;
mod subject;
mod tls;
mod token;
pub mod trust;
mod verifying;

pub use accept::{ALPN, PeerAddr, serve};
pub use account_keys::{AccountKeys, AccountPublicKey};
pub use ca::{Ca, DEFAULT_LIFETIME, KeyPairPem};
pub use dialer::{DialOptions, Dialer};
pub use error::{Error, Refusal, TokenError};
pub use identity::Identity;
pub use listener::bind;
pub use peer::{Peer, Role};
pub use request::SigningRequest;
pub use subject::Subject;
pub use tls::{install_crypto, pinned_client_config, unverified_client_config};
pub use token::JoinToken;
pub use verifying::{SigningAlgorithm, VerifyingKey};
