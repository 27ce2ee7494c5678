//! Custom kinds: those of CustomResourceDefinitions. A custom kind is its name: group, plural, kind and scope, which no definition may
//! change once it is established. So it means the same in every cluster and process, and needs no table that would have to be in step
//! with the state; what changes of a kind (versions, short names, schema) is looked up in its definition.
//!
//! Names are kept once per process, for as long as it runs, so that a kind stays as small as a number: some 200 bytes for each definition
//! that ever was.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::{Id, Kind, KindInfo, UnknownKind};

/// What stands for all custom kinds where a code is expected; the name follows.
pub(super) const CODE: u16 = u16::MAX;
/// Code, group, plural, kind, scope.
const PARTS: usize = 5;

/// The name of a custom kind.
#[derive(Clone, Copy)]
pub struct Custom(&'static KindInfo);

type Name = (&'static str, &'static str, &'static str, bool);

/// The names of this process. Nothing is decided by it: equal names are equal wherever they are kept.
static NAMES: Mutex<BTreeMap<Name, &'static KindInfo>> = Mutex::new(BTreeMap::new());

impl Custom {
    /// What a stored key of a custom kind begins with.
    pub(crate) const CODE: u16 = CODE;

    pub(super) fn new(group: &str, plural: &str, kind: &str, namespaced: bool) -> Custom {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        // Any lifetime will do to ask.
        let asked: &BTreeMap<(&str, &str, &str, bool), &'static KindInfo> = &names;
        if let Some(known) = asked.get(&(group, plural, kind, namespaced)) {
            return Custom(known);
        }
        let keep = |text: &str| -> &'static str { Box::leak(text.into()) };
        let (group, plural, kind) = (keep(group), keep(plural), keep(kind));
        let info: &'static KindInfo = Box::leak(Box::new(KindInfo {
            code: CODE,
            group,
            version: "",
            kind,
            plural,
            singular: keep(&kind.to_lowercase()),
            short_names: &[],
            namespaced,
            categories: &[],
            generation: true,
            reconcile: None,
        }));
        names.insert((group, plural, kind, namespaced), info);
        Custom(info)
    }

    pub(super) fn info(self) -> &'static KindInfo {
        self.0
    }

    fn name(self) -> Name {
        (self.0.group, self.0.plural, self.0.kind, self.0.namespaced)
    }

    /// Appends the form that stands in stored keys, which sorts as names do: each text with a 0 behind it, the scope.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let (group, plural, kind, namespaced) = self.name();
        for text in [group, plural, kind] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        out.push(u8::from(namespaced));
    }

    /// Reads that form; tells what follows it.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Custom, &[u8])> {
        let mut parts = bytes.splitn(PARTS - 1, |byte| *byte == 0);
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let (group, plural, kind) = (text()?, text()?, text()?);
        let (scope, rest) = parts.next()?.split_first()?;
        let namespaced = match scope {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some((Custom::new(group, plural, kind, namespaced), rest))
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        std::ptr::eq(self.0, other.0) || self.name() == other.name()
    }
}

impl Eq for Custom {}

impl Ord for Custom {
    fn cmp(&self, other: &Custom) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl PartialOrd for Custom {
    fn partial_cmp(&self, other: &Custom) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl From<Custom> for Kind {
    fn from(custom: Custom) -> Kind {
        Kind(Id::Custom(custom))
    }
}

impl Kind {
    pub(crate) fn as_custom(self) -> Option<Custom> {
        match self.0 {
            Id::Custom(custom) => Some(custom),
            Id::BuiltIn(_) => None,
        }
    }
}

/// A code; after that of custom kinds, the name. Formats that do not describe themselves only: what is read depends on what came before.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Id::Custom(custom) = self.0 else { return serializer.serialize_u16(self.code()) };
        let (group, plural, kind, namespaced) = custom.name();
        let mut tuple = serializer.serialize_tuple(PARTS)?;
        tuple.serialize_element(&CODE)?;
        tuple.serialize_element(group)?;
        tuple.serialize_element(plural)?;
        tuple.serialize_element(kind)?;
        tuple.serialize_element(&namespaced)?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_tuple(PARTS, KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the code of a kind")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Kind, A::Error> {
        let end = || A::Error::custom("the name of a kind is cut short");
        let code: u16 = parts.next_element()?.ok_or_else(end)?;
        if code != CODE {
            return Kind::from_code(code).ok_or_else(|| A::Error::custom(UnknownKind(code)));
        }
        let group: String = parts.next_element()?.ok_or_else(end)?;
        let plural: String = parts.next_element()?.ok_or_else(end)?;
        let kind: String = parts.next_element()?.ok_or_else(end)?;
        let namespaced: bool = parts.next_element()?.ok_or_else(end)?;
        Ok(Kind::custom(&group, &plural, &kind, namespaced))
    }
}
