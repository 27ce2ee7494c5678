//! Public keys of others, and whether they signed a message, by the algorithms of RFC 7518 that have a public key. There are none here with
//! a shared secret, and none without any key: what is not in the list cannot be asked for.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Bits of an RSA key that is used: shorter ones are broken, and longer ones take long.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an RSA key's exponent; nearly all have three.
const EXPONENT_BYTES: usize = 4;

/// How a message is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningAlgorithm {
    name: &'static str,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rsa(Hash, Padding),
    Ec(Curve),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Pkcs1,
    Pss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl SigningAlgorithm {
    /// All that are known, as RFC 7518 names them: the same as Kubernetes takes for tokens of OpenID Connect.
    pub const ALL: [SigningAlgorithm; 9] = [
        SigningAlgorithm { name: "RS256", by: By::Rsa(Hash::Sha256, Padding::Pkcs1) },
        SigningAlgorithm { name: "RS384", by: By::Rsa(Hash::Sha384, Padding::Pkcs1) },
        SigningAlgorithm { name: "RS512", by: By::Rsa(Hash::Sha512, Padding::Pkcs1) },
        SigningAlgorithm { name: "PS256", by: By::Rsa(Hash::Sha256, Padding::Pss) },
        SigningAlgorithm { name: "PS384", by: By::Rsa(Hash::Sha384, Padding::Pss) },
        SigningAlgorithm { name: "PS512", by: By::Rsa(Hash::Sha512, Padding::Pss) },
        SigningAlgorithm { name: "ES256", by: By::Ec(Curve::P256) },
        SigningAlgorithm { name: "ES384", by: By::Ec(Curve::P384) },
        SigningAlgorithm { name: "ES512", by: By::Ec(Curve::P521) },
    ];

    /// The one of a name; none for `none`, those with a shared secret (`HS256` and so on), and all others.
    pub fn of(name: &str) -> Option<SigningAlgorithm> {
        SigningAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl Hash {
    fn rsa(self, padding: Padding) -> &'static RsaParameters {
        match (padding, self) {
            (Padding::Pkcs1, Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            (Padding::Pkcs1, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            (Padding::Pkcs1, Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            (Padding::Pss, Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
            (Padding::Pss, Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
            (Padding::Pss, Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
        }
    }
}

impl Curve {
    fn of(name: &str) -> Option<Curve> {
        match name {
            "P-256" => Some(Curve::P256),
            "P-384" => Some(Curve::P384),
            "P-521" => Some(Curve::P521),
            _ => None,
        }
    }

    /// Bytes of a coordinate.
    fn coordinate(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// A public key of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point: 4, then both coordinates.
    Ec(Curve, Vec<u8>),
}

impl VerifyingKey {
    /// One of RSA, by its modulus and its exponent, big end first.
    ///
    /// # Errors
    /// It is too short or too long, in words.
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<VerifyingKey, String> {
        let stripped = |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().skip_while(|b| *b == 0).collect() };
        let (n, e) = (stripped(n), stripped(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(format!("an RSA key of {bits} bits: {least} to {most} are taken"));
        }
        if e.is_empty() || e.len() > EXPONENT_BYTES {
            return Err(format!(
                "an RSA key with an exponent of {} bytes: 1 to {EXPONENT_BYTES} are taken",
                e.len()
            ));
        }
        Ok(VerifyingKey(Shape::Rsa { n, e }))
    }

    /// One of an elliptic curve, by the curve's name (`P-256`, `P-384`, `P-521`) and the point's coordinates, big end first.
    ///
    /// # Errors
    /// The curve is not known, or a coordinate is longer than those of the curve.
    pub fn ec(curve: &str, x: &[u8], y: &[u8]) -> Result<VerifyingKey, String> {
        let known = Curve::of(curve).ok_or_else(|| format!("the curve {curve:?} is not known"))?;
        let length = known.coordinate();
        let mut point = vec![4];
        for coordinate in [x, y] {
            // Some leave zeros at the beginning away.
            let missing = length.checked_sub(coordinate.len());
            let missing =
                missing.ok_or_else(|| format!("a coordinate is too long for a point of {curve}"))?;
            point.resize(point.len() + missing, 0);
            point.extend_from_slice(coordinate);
        }
        Ok(VerifyingKey(Shape::Ec(known, point)))
    }

    /// Whether this key signed a message by this algorithm. A key of another kind than the algorithm's did not.
    pub fn verifies(&self, algorithm: SigningAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.0, algorithm.by) {
            (Shape::Rsa { n, e }, By::Rsa(hash, padding)) => {
                RsaPublicKeyComponents { n, e }.verify(hash.rsa(padding), message, signature).is_ok()
            }
            (Shape::Ec(own, point), By::Ec(curve)) if *own == curve => {
                UnparsedPublicKey::new(curve.algorithm(), point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
            ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
            RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
        },
    };

    use super::*;

    const MESSAGE: &[u8] = b"words";

    /// The signatures of one key by all algorithms that it can do.
    struct Signed {
        key: VerifyingKey,
        signatures: Vec<(&'static str, Vec<u8>)>,
    }

    /// The two numbers of a public key as PKCS#1 writes it: with a zero before what would be negative.
    fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
        // A sequence (30 82 ....) of two numbers (02 82 .... and 02 ..).
        let length = usize::from(der[6]) << 8 | usize::from(der[7]);
        let (n, rest) = der[8..].split_at(length);
        assert_eq!((der[4], n[0], rest[0]), (2, 0, 2));
        (n, &rest[2..])
    }

    fn rsa() -> Signed {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let (n, e) = numbers(pair.public_key().as_ref());
        let key = VerifyingKey::rsa(n, e).unwrap();
        let sign = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
            signature
        };
        let signatures = vec![
            ("RS256", sign(&RSA_PKCS1_SHA256)),
            ("RS384", sign(&RSA_PKCS1_SHA384)),
            ("RS512", sign(&RSA_PKCS1_SHA512)),
            ("PS256", sign(&RSA_PSS_SHA256)),
            ("PS384", sign(&RSA_PSS_SHA384)),
            ("PS512", sign(&RSA_PSS_SHA512)),
        ];
        Signed { key, signatures }
    }

    fn ec() -> Vec<Signed> {
        let curves = [
            ("ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            ("ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            ("ES512", "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        let signed = curves.map(|(name, curve, algorithm)| {
            let pair = EcdsaKeyPair::generate(algorithm).unwrap();
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let stripped: Vec<u8> = x.iter().copied().skip_while(|b| *b == 0).collect();
            let key = VerifyingKey::ec(curve, &stripped, y).unwrap();
            let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
            Signed { key, signatures: vec![(name, signature)] }
        });
        signed.into()
    }

    #[test]
    fn a_signature_holds_for_its_key_its_algorithm_and_its_message_alone() {
        let mut all = ec();
        all.push(rsa());
        let named: Vec<&str> = all.iter().flat_map(|s| &s.signatures).map(|(name, _)| *name).collect();
        assert_eq!(named.len(), SigningAlgorithm::ALL.len());
        for (at, signed) in all.iter().enumerate() {
            for (name, signature) in &signed.signatures {
                for algorithm in SigningAlgorithm::ALL {
                    for (other, key) in all.iter().map(|signed| &signed.key).enumerate() {
                        let own = other == at && algorithm.name() == *name;
                        let said = key.verifies(algorithm, MESSAGE, signature);
                        assert_eq!(said, own, "{name} by key {at}, asked of key {other} as {algorithm:?}");
                    }
                }
                let algorithm = SigningAlgorithm::of(name).unwrap();
                assert!(!signed.key.verifies(algorithm, b"other words", signature), "{name}");
                for at in [0, signature.len() / 2, signature.len() - 1] {
                    let mut broken = signature.clone();
                    broken[at] ^= 1;
                    assert!(!signed.key.verifies(algorithm, MESSAGE, &broken), "{name}, byte {at}");
                }
                assert!(!signed.key.verifies(algorithm, MESSAGE, &signature[1..]), "{name}");
                assert!(!signed.key.verifies(algorithm, MESSAGE, &[]), "{name}");
            }
        }
    }

    #[test]
    fn there_is_no_algorithm_without_a_public_key() {
        for name in ["none", "None", "", "HS256", "HS384", "HS512", "RS1", "rs256", "EdDSA", "A128KW"] {
            assert_eq!(SigningAlgorithm::of(name), None, "{name}");
        }
    }

    #[test]
    fn keys_that_are_none_are_refused_in_words() {
        let modulus = [0xff; 256];
        VerifyingKey::rsa(&modulus, &[1, 0, 1]).unwrap();
        for (n, e, why) in [
            (&modulus[..128], &[1, 0, 1][..], "an RSA key of 1024 bits"),
            (&[0x7f; 255][..], &[1, 0, 1], "an RSA key of 2039 bits"),
            (&[1; 1025][..], &[1, 0, 1], "an RSA key of 8193 bits"),
            (&[0; 256][..], &[1, 0, 1], "an RSA key of 0 bits"),
            (&modulus[..], &[0], "an exponent of 0 bytes"),
            (&modulus[..], &[1; 5], "an exponent of 5 bytes"),
        ] {
            let refused = VerifyingKey::rsa(n, e).unwrap_err();
            assert!(refused.contains(why), "{refused:?} instead of {why:?}");
        }
        assert!(VerifyingKey::ec("secp256k1", &[1], &[1]).unwrap_err().contains("secp256k1"));
        assert!(VerifyingKey::ec("P-256", &[1; 33], &[1; 32]).unwrap_err().contains("too long"));
        // What is no point of its curve verifies nothing.
        let nowhere = VerifyingKey::ec("P-256", &[1; 32], &[1; 32]).unwrap();
        assert!(!nowhere.verifies(SigningAlgorithm::of("ES256").unwrap(), MESSAGE, &[1; 64]));
    }
}
