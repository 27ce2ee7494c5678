//! Join tokens: what an administrator hands to a newcomer.
//!
//! `kontiki1.<role c|w>.<CA fingerprint, 64 hex>.<id, 16 hex>.<secret, 64 hex>`. The fingerprint lets the newcomer know
//! the right cluster before it trusts it; the id finds the token's record; the secret proves the right to join. The
//! cluster keeps only the secret's hash.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Role, TokenError, names};

const VERSION: &str = "kontiki1";
const FINGERPRINT_DIGITS: usize = 64;
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// A join token. `Display` gives the whole text, to be shown once to who asked for it; `Debug` never shows the secret.
#[derive(Clone)]
pub struct JoinToken {
    role: Role,
    ca_fingerprint: String,
    id: String,
    secret: String,
}

impl JoinToken {
    /// Makes a new token for a controller or worker of the cluster whose CA has this fingerprint.
    pub fn generate(role: Role, ca_fingerprint: &str) -> Result<JoinToken, TokenError> {
        if role == Role::User {
            return Err(TokenError::NotForUsers);
        }
        let ca_fingerprint = hex_part("CA fingerprint", ca_fingerprint, FINGERPRINT_DIGITS)?;
        let id = names::hex(&rand::random::<[u8; ID_DIGITS / 2]>());
        let secret = names::hex(&rand::random::<[u8; SECRET_DIGITS / 2]>());
        Ok(JoinToken { role, ca_fingerprint, id, secret })
    }

    /// What its bearer may become.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The fingerprint of the cluster's CA.
    pub fn ca_fingerprint(&self) -> &str {
        &self.ca_fingerprint
    }

    /// The name of its record; not a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The SHA-256 of the secret in hexadecimal: this is what the cluster keeps.
    pub fn hash(&self) -> String {
        names::hex(&Sha256::digest(self.secret.as_bytes()))
    }

    /// Whether the secret is the one with this hash, in a time that does not tell how much of it is right.
    pub fn matches(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let text = text.trim();
        if !text.starts_with("kontiki1.") {
            return Err(TokenError::Version);
        }
        // One more than there can be, so that a text of a million dots is not collected.
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        let [_, role, ca, id, secret] = parts[..] else { return Err(TokenError::Parts(parts.len())) };
        let role = match role {
            "c" => Role::Controller,
            "w" => Role::Worker,
            _ => return Err(TokenError::Role),
        };
        Ok(JoinToken {
            role,
            ca_fingerprint: hex_part("CA fingerprint", ca, FINGERPRINT_DIGITS)?,
            id: hex_part("id", id, ID_DIGITS)?,
            secret: hex_part("secret", secret, SECRET_DIGITS)?,
        })
    }
}

fn hex_part(part: &'static str, text: &str, digits: usize) -> Result<String, TokenError> {
    if text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Err(TokenError::Hex { part, digits })
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.role == Role::Controller { "c" } else { "w" };
        write!(f, "{VERSION}.{role}.{}.{}.{}", self.ca_fingerprint, self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({:?} {})", self.role, self.id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token() -> JoinToken {
        JoinToken::generate(Role::Worker, &"ab".repeat(32)).unwrap()
    }

    #[test]
    fn its_text_says_the_same_again() {
        let token = token();
        let read: JoinToken = format!("{token}\n").parse().unwrap();
        assert_eq!(read.to_string(), token.to_string());
        assert_eq!((read.role(), read.id()), (Role::Worker, token.id()));
        assert!(read.matches(&token.hash()));
        assert!(!self::token().matches(&token.hash()));
        assert!(!token.matches(""));
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        let good = token().to_string();
        let cases = [
            ("".to_owned(), TokenError::Version),
            (good.replace("kontiki1", "kontiki2"), TokenError::Version),
            ("kontiki1.w".to_owned(), TokenError::Parts(2)),
            (format!("{good}.x"), TokenError::Parts(6)),
            (good.replace(".w.", ".u."), TokenError::Role),
            (good.replace("abab", "ABAB"), TokenError::Hex { part: "CA fingerprint", digits: 64 }),
            (good[..good.len() - 1].to_owned(), TokenError::Hex { part: "secret", digits: 64 }),
        ];
        for (text, expected) in cases {
            let error = text.parse::<JoinToken>().unwrap_err();
            assert_eq!(error, expected, "{text}");
        }
        assert_eq!(JoinToken::generate(Role::User, &"ab".repeat(32)).unwrap_err(), TokenError::NotForUsers);
    }

    #[test]
    fn the_secret_is_not_in_debug() {
        let token = token();
        let shown = format!("{token:?} {:?}", Some(&token));
        let text = token.to_string();
        let secret = text.rsplit('.').next().unwrap();
        assert!(!shown.contains(secret) && shown.contains(token.id()));
    }
}
