//! Where an object stands: kind, namespace, name. Ordered as lists are.

use std::{cmp::Ordering, ops::Deref, sync::Arc};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize};

use crate::kind::{Custom, Kind, UnknownKind};

/// An object's unique id, for ever different even when the name returns.
pub type Uid = CompactString;

/// Why bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Of a newer build.
    #[error(transparent)]
    Newer(#[from] UnknownKind),
    /// Not what [`ObjectKey::to_bytes`] makes.
    #[error("not the key of an object")]
    Foreign,
}

/// Kind, namespace (empty for cluster-scoped kinds) and name. Cheap to clone, and held once by all that have it of one another: an object
/// stands in a dozen maps by its key.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ObjectKey(Arc<Place>);

/// What a key says.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The kind.
    pub kind: Kind,
    /// Empty for cluster-scoped kinds.
    pub namespace: CompactString,
    /// The name.
    pub name: CompactString,
}

impl Deref for ObjectKey {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ObjectKey, D::Error> {
        Place::deserialize(deserializer).map(|place| ObjectKey(Arc::new(place)))
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &ObjectKey) -> Ordering {
        // Mostly it is the very same that is looked for.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &ObjectKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey(Arc::new(Place { kind, namespace: namespace.into(), name: name.into() }))
    }

    /// The stored form: code, namespace, 0, name. Sorts as the key does. The code of a custom kind is followed by its name.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 + self.namespace.len() + self.name.len());
        out.extend_from_slice(&self.kind.code().to_be_bytes());
        if let Some(custom) = self.kind.as_custom() {
            custom.write(&mut out);
        }
        out.extend_from_slice(self.namespace.as_bytes());
        out.push(0);
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When its kind is that of a newer build, or it is not a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<ObjectKey, KeyError> {
        let (code, rest) = bytes.split_at_checked(2).ok_or(KeyError::Foreign)?;
        let (kind, rest) = match u16::from_be_bytes([code[0], code[1]]) {
            Custom::CODE => {
                let (custom, rest) = Custom::read(rest).ok_or(KeyError::Foreign)?;
                (custom.into(), rest)
            }
            code => (Kind::from_code(code).ok_or(UnknownKind(code))?, rest),
        };
        let zero = rest.iter().position(|b| *b == 0).ok_or(KeyError::Foreign)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| KeyError::Foreign);
        Ok(ObjectKey::new(kind, text(&rest[..zero])?, text(&rest[zero + 1..])?))
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
        assert_eq!(ObjectKey::from_bytes(&a.to_bytes()), Ok(a));
        assert_eq!(ObjectKey::from_bytes(&[0]), Err(KeyError::Foreign));
        assert_eq!(ObjectKey::from_bytes(&[0, 3, b'a']), Err(KeyError::Foreign));
        assert_eq!(ObjectKey::from_bytes(&[255, 254, 0]), Err(KeyError::Newer(UnknownKind(u16::MAX - 1))));
    }

    #[test]
    fn keys_of_custom_kinds_keep_order_and_value() {
        let kind = |group, plural, namespaced| Kind::custom(group, plural, "X", namespaced);
        let key = |kind, namespace, name| ObjectKey::new(kind, namespace, name);
        let keys = [
            key(Kind::CUSTOM_RESOURCE_DEFINITION, "", "z"),
            key(kind("a.io", "bs", true), "n", "x"),
            key(kind("a.io", "bs", true), "n", "y"),
            key(kind("a.io", "bsx", false), "", "a"),
            key(kind("a.io", "bsx", true), "m", "a"),
            key(kind("aa.io", "a", true), "a", "a"),
        ];
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1], "{:?} {:?}", pair[0], pair[1]);
            assert!(pair[0].to_bytes() < pair[1].to_bytes(), "{:?} {:?}", pair[0], pair[1]);
        }
        for key in keys {
            assert_eq!(ObjectKey::from_bytes(&key.to_bytes()), Ok(key.clone()));
            let bytes = crate::codec::encode(&key).unwrap();
            assert_eq!(crate::codec::decode::<ObjectKey>(&bytes), Ok(key));
        }
        let bytes = key(kind("a.io", "bs", true), "n", "x").to_bytes();
        for cut in 2..bytes.len() - 3 {
            assert_eq!(ObjectKey::from_bytes(&bytes[..cut]), Err(KeyError::Foreign), "{cut}");
        }
    }
}
