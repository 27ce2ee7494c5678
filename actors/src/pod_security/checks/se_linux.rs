//! SELinux (baseline): types of containers only, and no user or role.

use serde_json::Value;

use super::{Pod, Texts, Violation, plural, quoted, setters};

const TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of["securityContext"]["seLinuxOptions"][field].as_str().unwrap_or_default()
}

fn check(pod: Pod<'_>, types: &[&str]) -> Option<Violation> {
    let bad_type = |of: &Value| !types.contains(&text(of, "type"));
    let has = |field: &'static str| move |of: &Value| !text(of, field).is_empty();
    let bad = |of: &Value| bad_type(of) || has("user")(of) || has("role")(of);
    let setters = setters(bad(pod.spec), &pod.containers_that(bad))?;
    let all = || std::iter::once(pod.spec).chain(pod.containers());
    let bad_types: Texts<'_> = all().filter(|of| bad_type(of)).map(|of| text(of, "type")).collect();
    let mut told = Vec::new();
    if !bad_types.is_empty() {
        told.push(format!("{} {}", plural("type", bad_types.len()), quoted(bad_types)));
    }
    for field in ["user", "role"] {
        if all().any(has(field)) {
            told.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", told.join("; "));
    Violation::new("seLinuxOptions", detail)
}

pub(super) fn options(pod: Pod<'_>) -> Option<Violation> {
    check(pod, &TYPES[..4])
}

pub(super) fn options_1_31(pod: Pod<'_>) -> Option<Violation> {
    check(pod, &TYPES)
}
