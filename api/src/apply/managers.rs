//! Who owns what of an object: `metadata.managedFields`, read and written.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::set::{Set, SetError};
use crate::resource::fields::text;

/// Of updates, so many managers are told apart; what the oldest own goes to [`ANCIENT`].
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Bytes of a manager's name.
pub(crate) const NAME_LIMIT: usize = 128;

/// How somebody came to own a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying it.
    Apply,
    /// By writing it in any other way.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Somebody who owns fields. Who applies is the same whatever the version; who updates is told apart by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// Empty for who applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Manager {
        let version = if operation == Operation::Apply { "" } else { api_version };
        Manager {
            name: if name.is_empty() { "unknown" } else { name }.to_owned(),
            operation,
            api_version: version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As in messages: `"kubectl" using apps/v1`.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

/// What somebody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: Set,
    /// The version that the paths are of.
    pub(super) api_version: String,
    /// When this last changed, RFC 3339.
    pub(super) time: Option<String>,
}

/// Everybody who owns fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managers(pub(super) BTreeMap<Manager, Owned>);

/// A list that is no `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ManagersError {
    #[error("managedFields must be a list of objects")]
    Shape,
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("fieldsType must be `FieldsV1`")]
    FieldsType,
    #[error("a manager's name must be printable and no longer than {NAME_LIMIT} bytes")]
    Name,
    #[error(transparent)]
    Set(#[from] SetError),
}

impl Managers {
    /// Reads `metadata.managedFields`.
    pub(super) fn read(list: &Value) -> Result<Managers, ManagersError> {
        if list.is_null() {
            return Ok(Managers::default());
        }
        let mut out = Managers::default();
        for entry in list.as_array().ok_or(ManagersError::Shape)? {
            if !entry.is_object() {
                return Err(ManagersError::Shape);
            }
            let operation = match text(entry, "operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(ManagersError::Operation),
            };
            let (name, api_version) = (text(entry, "manager"), text(entry, "apiVersion"));
            if api_version.is_empty() {
                return Err(ManagersError::ApiVersion);
            }
            if text(entry, "fieldsType") != "FieldsV1" {
                return Err(ManagersError::FieldsType);
            }
            if name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
                return Err(ManagersError::Name);
            }
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => Set::default(),
                Some(fields) => Set::from_fields(fields)?,
            };
            let version = if operation == Operation::Apply { "" } else { api_version };
            let manager = Manager {
                name: name.to_owned(),
                operation,
                api_version: version.to_owned(),
                subresource: text(entry, "subresource").to_owned(),
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            out.0.insert(manager, Owned { set, api_version: api_version.to_owned(), time });
        }
        Ok(out)
    }

    /// As `metadata.managedFields`; none if nobody owns anything. Who applies stands first, then who changed something first.
    pub(super) fn write(&self) -> Option<Value> {
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, x), (b, y)| {
            let names =
                || (&a.name, &x.api_version, &a.subresource).cmp(&(&b.name, &y.api_version, &b.subresource));
            // Times are all of one form, whole seconds of UTC: their text is in their order.
            a.operation.cmp(&b.operation).then_with(|| x.time.cmp(&y.time)).then_with(names)
        });
        let list: Vec<Value> = entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect();
        (!list.is_empty()).then_some(Value::Array(list))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the number of those who own by updates bounded: what the oldest own is put together.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Manager> =
            self.0.keys().filter(|manager| manager.operation == Operation::Update).cloned().collect();
        let Some(mut surplus) = updaters.len().checked_sub(MAX_UPDATERS).filter(|n| *n > 0) else { return };
        updaters.sort_by_cached_key(|manager| (self.0[manager].time.clone(), manager.clone()));
        // The first of a version makes place for the bucket of that version, each further one saves a place.
        let mut firsts: HashMap<String, Manager> = HashMap::new();
        for manager in updaters {
            if surplus == 0 {
                break;
            }
            let version = self.0[&manager].api_version.clone();
            let Some(first) = firsts.get(&version) else {
                firsts.insert(version, manager);
                continue;
            };
            let bucket = Manager::new(ANCIENT, Operation::Update, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if let Some(owned) = self.0.remove(&manager)
                && let Some(into) = self.0.get_mut(&bucket)
            {
                into.set = std::mem::take(&mut into.set).union(owned.set);
                into.time = owned.time;
            }
            surplus -= 1;
        }
    }

    /// Whether both say the same but for the times.
    pub(super) fn same_but_times(&self, other: &Managers) -> bool {
        let same = |((a, x), (b, y)): ((&Manager, &Owned), (&Manager, &Owned))| {
            a == b && x.set == y.set && x.api_version == y.api_version
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            out.insert(key.to_owned(), value.into());
        }
    };
    put("manager", &manager.name);
    put("operation", manager.operation.name());
    put("apiVersion", &owned.api_version);
    put("time", owned.time.as_deref().unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &manager.subresource);
    out.insert("fieldsV1".into(), owned.set.to_fields());
    Value::Object(out)
}

/// Whether a client that sends this list wants all owners forgotten: it is empty, or holds one empty entry.
pub(super) fn resets(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => *only == json!({}),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(manager: &str, operation: &str, time: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {format!("f:{field}"): {}}}})
    }

    #[test]
    fn a_list_survives_the_way_there_and_back_in_its_order() {
        let list = json!([
            entry("z", "Apply", "2026-01-02T00:00:00Z", "a"),
            entry("c", "Update", "2026-01-01T00:00:00Z", "b"),
            entry("a", "Update", "2026-01-03T00:00:00Z", "c"),
        ]);
        assert_eq!(Managers::read(&list).unwrap().write().unwrap(), list);
        let mut turned = list.as_array().unwrap().clone();
        turned.reverse();
        assert_eq!(Managers::read(&Value::Array(turned)).unwrap().write().unwrap(), list);
        assert_eq!(Managers::default().write(), None);
    }

    #[test]
    fn what_is_no_list_of_managers_is_refused() {
        let with = |key: &str, value: Value| {
            let mut one = entry("m", "Apply", "2026-01-02T00:00:00Z", "a");
            one[key] = value;
            Managers::read(&json!([one]))
        };
        assert_eq!(with("operation", "Delete".into()), Err(ManagersError::Operation));
        assert_eq!(with("apiVersion", "".into()), Err(ManagersError::ApiVersion));
        assert_eq!(with("fieldsType", "FieldsV2".into()), Err(ManagersError::FieldsType));
        assert_eq!(with("manager", "x".repeat(129).into()), Err(ManagersError::Name));
        assert!(with("fieldsV1", json!({"x": {}})).is_err());
        assert_eq!(Managers::read(&json!([1])), Err(ManagersError::Shape));
    }

    #[test]
    fn the_oldest_updaters_are_put_together() {
        let many = |count: usize| {
            let list = (0..count).map(|at| {
                entry(
                    &format!("m{at:02}"),
                    "Update",
                    &format!("2026-01-01T00:00:{at:02}Z"),
                    &format!("k{at}"),
                )
            });
            let mut managers = Managers::read(&list.collect()).unwrap();
            managers.cap();
            managers.write().unwrap()
        };
        assert_eq!(many(10).as_array().unwrap().len(), 10);
        let capped = many(12);
        assert_eq!(capped.as_array().unwrap().len(), 10);
        let ancient = &capped[0];
        assert_eq!(
            (&ancient["manager"], &ancient["time"]),
            (&json!(ANCIENT), &json!("2026-01-01T00:00:02Z"))
        );
        assert_eq!(ancient["fieldsV1"], json!({"f:data": {"f:k0": {}, "f:k1": {}, "f:k2": {}}}));
    }
}
