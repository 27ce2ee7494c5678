//! Where an object stands: kind, namespace, name. Ordered as lists are.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// An object's unique id, for ever different even when the name returns.
pub type Uid = CompactString;

/// Kind, namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: CompactString,
    /// The name.
    pub name: CompactString,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The stored form: code, namespace, 0, name. Sorts as the key does.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 + self.namespace.len() + self.name.len());
        out.extend_from_slice(&self.kind.code().to_be_bytes());
        out.extend_from_slice(self.namespace.as_bytes());
        out.push(0);
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    /// Reads the stored form; none when it is not one of this version.
    pub fn from_bytes(bytes: &[u8]) -> Option<ObjectKey> {
        let (code, rest) = bytes.split_at_checked(2)?;
        let kind = Kind::from_code(u16::from_be_bytes([code[0], code[1]]))?;
        let zero = rest.iter().position(|b| *b == 0)?;
        let namespace = std::str::from_utf8(&rest[..zero]).ok()?;
        let name = std::str::from_utf8(&rest[zero + 1..]).ok()?;
        Some(ObjectKey::new(kind, namespace, name))
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {:?}", self.kind.resource_name(), self.name)
        } else {
            write!(f, "{} {:?}", self.kind.resource_name(), format_args!("{}/{}", self.namespace, self.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_keeps_order_and_value() {
        let a = ObjectKey::new(Kind::POD, "a", "z");
        let b = ObjectKey::new(Kind::POD, "ab", "a");
        assert!(a < b && a.to_bytes() < b.to_bytes());
        assert_eq!(ObjectKey::from_bytes(&a.to_bytes()), Some(a));
        assert_eq!(ObjectKey::from_bytes(&[0]), None);
        assert_eq!(ObjectKey::from_bytes(&[255, 255, 0]), None);
    }
}
