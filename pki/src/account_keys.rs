//! The keys that sign the tokens of service accounts: ECDSA P-256 with SHA-256, `ES256` in the words of RFC 7518.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsBigEndian, EcPrivateKeyBin},
    hkdf,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    },
};

use crate::{Ca, Error, names};

/// What the key is derived for. Another number makes another key.
const PURPOSE: &[u8] = b"kontiki service account tokens 1";
/// A private key of P-256 as RFC 5915 writes it, around its 32 bytes.
const HEAD: [u8; 7] = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
const TAIL: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Of 2^32 candidates, one is no private key of the curve: then the next is taken.
const CANDIDATES: u8 = 8;

/// The keys of a cluster: the first signs, all of them verify. They are derived from the CA's private key, which every controller holds:
/// so they are the same on all of them, survive whatever the cluster survives, and stand in no object and no backup of the state.
pub struct AccountKeys(Vec<AccountKey>);

struct AccountKey {
    id: String,
    pair: EcdsaKeyPair,
}

/// A public key, for those who verify tokens themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountPublicKey<'a> {
    /// Its id, which tokens name.
    pub id: &'a str,
    /// The point's first coordinate, 32 bytes.
    pub x: &'a [u8],
    /// The point's second coordinate, 32 bytes.
    pub y: &'a [u8],
}

impl AccountKeys {
    /// The keys of a CA's cluster.
    ///
    /// # Errors
    /// When the CA's key is not one of P-256.
    pub fn of(ca: &Ca) -> Result<AccountKeys, Error> {
        let unusable = || Error::Certificate("no key for tokens can be derived from the CA's key".to_owned());
        let own = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ca.key_der())
            .map_err(|_| unusable())?;
        let secret: EcPrivateKeyBin<'_> = own.private_key().as_be_bytes().map_err(|_| unusable())?;
        let extracted =
            hkdf::Salt::new(hkdf::HKDF_SHA256, ca.cluster_id().as_bytes()).extract(secret.as_ref());
        let pair = (0..CANDIDATES).find_map(|candidate| {
            let info = [PURPOSE, &[candidate]];
            let mut key = [0; 32];
            extracted.expand(&info, hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
            let der = [&HEAD[..], &key, &TAIL].concat();
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()
        });
        let pair = pair.ok_or_else(unusable)?;
        let id = names::fingerprint(pair.public_key().as_ref());
        Ok(AccountKeys(vec![AccountKey { id, pair }]))
    }

    /// The id of the key that signs.
    pub fn id(&self) -> &str {
        self.0.first().map_or("", |key| key.id.as_str())
    }

    /// Signs a message: 64 bytes. None when the library fails.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.first()?.pair.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }

    /// Whether a signature is that of a key of this id over a message.
    pub fn verify(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        self.0.iter().filter(|key| key.id == id).any(|key| {
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key());
            public.verify(message, signature).is_ok()
        })
    }

    /// All public keys, the one that signs first.
    pub fn public(&self) -> impl Iterator<Item = AccountPublicKey<'_>> {
        self.0.iter().filter_map(|key| {
            // An uncompressed point: 4, then both coordinates.
            let (x, y) = key.pair.public_key().as_ref().get(1..65)?.split_at(32);
            Some(AccountPublicKey { id: &key.id, x, y })
        })
    }
}

impl fmt::Debug for AccountKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_holder_of_the_ca_has_the_same_keys() {
        let ca = Ca::create("kontiki-a").unwrap();
        let (keys, other) = (AccountKeys::of(&ca).unwrap(), Ca::create("kontiki-a").unwrap());
        let joined = Ca::load(ca.cert_pem(), &ca.key_pem()).unwrap();
        let same = AccountKeys::of(&joined).unwrap();
        assert!(keys.public().eq(same.public()));
        let signature = keys.sign(b"words").unwrap();
        assert_eq!(signature.len(), 64);
        assert!(same.verify(keys.id(), b"words", &signature));
        let foreign = AccountKeys::of(&other).unwrap();
        assert_ne!(foreign.id(), keys.id());
        assert!(!foreign.verify(keys.id(), b"words", &signature));
        assert!(!foreign.verify(foreign.id(), b"words", &signature), "another key's, by whatever name");
        assert!(!keys.verify(keys.id(), b"other words", &signature));
        assert!(!keys.verify("", b"words", &signature));
        for at in 0..signature.len() {
            let mut broken = signature.clone();
            broken[at] ^= 1;
            assert!(!keys.verify(keys.id(), b"words", &broken), "byte {at}");
        }
        assert!(!keys.verify(keys.id(), b"words", &signature[..63]));
    }

    #[test]
    fn the_cas_own_key_signs_no_tokens() {
        let ca = Ca::create("kontiki-a").unwrap();
        let keys = AccountKeys::of(&ca).unwrap();
        let own = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ca.key_der()).unwrap();
        let public = keys.public().next().unwrap();
        assert_ne!([&[4], public.x, public.y].concat(), own.public_key().as_ref());
        assert!(!format!("{keys:?}").contains("PRIVATE"));
    }
}
