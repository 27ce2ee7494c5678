//! The numbers of controllers. A number is never given twice, not even after its controller was removed: the ConfigMap
//! `kontiki-controllers` counts on, and keeps which name got which number.

use kontiki_actors::{Kind, Object, Rejection, State};
use kontiki_api::Backend;
use serde_json::{Value, json};
use tonic::Status;

use super::objects;

const NAME: &str = "kontiki-controllers";
const NEXT: &str = "next-id";
/// Several newcomers may ask at once; each round at least one of them gets its number.
const TRIES: usize = 16;
/// No controller is written to have this number or a higher one: nobody has made so many, and after the last number no other could be given.
const END: u64 = 1 << 32;

/// Gives a controller's name the next number. A name that has one gets another only when it is replaced.
pub(super) async fn next(
    backend: &dyn Backend,
    members: &[(u64, String)],
    name: &str,
    replace: bool,
) -> Result<u64, Status> {
    for _ in 0..TRIES {
        let view = objects::view(backend).await?;
        let kept = kept(&view);
        let data = kept.map(|object| object.document.rest_value()["data"].clone()).unwrap_or(Value::Null);
        let number = assign(&data, members, name, replace).map_err(Status::already_exists)?;
        let mut data = if data.is_object() { data } else { json!({}) };
        data[NEXT] = number.saturating_add(1).to_string().into();
        data[format!("name.{name}")] = number.to_string().into();
        let written = match kept {
            None => {
                let object =
                    json!({ "metadata": { "name": NAME, "namespace": objects::NAMESPACE }, "data": data });
                objects::create(backend, objects::key(Kind::CONFIG_MAP, NAME), object).await?
            }
            Some(old) => {
                let mut object = old.document.to_value();
                object["data"] = data;
                objects::update(backend, old, object).await?
            }
        };
        match written {
            Ok(()) => return Ok(number),
            Err(Rejection::Conflict(..) | Rejection::AlreadyExists(_) | Rejection::NotFound(_)) => {}
            Err(other) => {
                return Err(Status::failed_precondition(format!("no number can be given: {other}")));
            }
        }
    }
    Err(Status::unavailable("too many controllers join at once: try again"))
}

fn kept(view: &State) -> Option<&Object> {
    view.get(&objects::key(Kind::CONFIG_MAP, NAME)).map(AsRef::as_ref)
}

/// The number for a name: above all that were ever given and all that are in use.
fn assign(data: &Value, members: &[(u64, String)], name: &str, replace: bool) -> Result<u64, String> {
    let number = |value: &Value| value.as_str()?.parse::<u64>().ok().filter(|number| *number < END);
    let known = number(&data[format!("name.{name}")]);
    let member = members.iter().find(|(_, other)| other == name).map(|(id, _)| *id);
    if let Some(id) = member.or(known).filter(|_| !replace) {
        return Err(format!(
            "there is a controller {name} already (id {id}): choose another name, or if that machine is lost, join with --replace"
        ));
    }
    // Whoever may write the ConfigMap may set the next number back: what names have is not given again.
    let named = data.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("name."));
    let given = named.filter_map(|(_, value)| number(value));
    let highest = members.iter().map(|(id, _)| *id).chain(given).max().unwrap_or(0);
    let above = highest.checked_add(1).ok_or("there are no numbers left for controllers")?;
    Ok(number(&data[NEXT]).unwrap_or(0).max(above))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn members(ids: &[u64]) -> Vec<(u64, String)> {
        ids.iter().map(|id| (*id, format!("c{id}"))).collect()
    }

    #[test]
    fn a_number_is_never_given_twice() {
        assert_eq!(assign(&Value::Null, &members(&[1, 2, 3]), "new", false), Ok(4));
        // 4 and 5 were given before and are gone.
        assert_eq!(assign(&json!({ "next-id": "6" }), &members(&[1, 2]), "new", false), Ok(6));
        assert_eq!(assign(&json!({ "next-id": "nonsense" }), &members(&[7]), "new", false), Ok(8));
    }

    #[test]
    fn what_others_write_of_numbers_stops_no_joins_and_gives_none_twice() {
        let max = u64::MAX.to_string();
        for data in [json!({ "next-id": max }), json!({ "next-id": "5", "name.c9": max })] {
            assert!(assign(&data, &members(&[1, 2]), "new", false).is_ok_and(|id| id < 10), "{data}");
        }
        let data = json!({ "next-id": "1", "name.c4": "4" });
        assert_eq!(assign(&data, &members(&[1]), "new", false), Ok(5));
        assert!(assign(&Value::Null, &[(u64::MAX, "c".into())], "new", false).is_err());
    }

    #[test]
    fn a_used_name_is_given_again_only_to_replace() {
        let error = assign(&Value::Null, &members(&[1, 2]), "c2", false).unwrap_err();
        assert!(error.contains("controller c2 already (id 2)") && error.contains("--replace"), "{error}");
        assert_eq!(assign(&Value::Null, &members(&[1, 2]), "c2", true), Ok(3));
        // Joined but not a member yet: the name is taken all the same.
        let data = json!({ "next-id": "5", "name.c4": "4" });
        assert!(assign(&data, &members(&[1]), "c4", false).is_err());
        assert_eq!(assign(&data, &members(&[1]), "c4", true), Ok(5));
    }
}
