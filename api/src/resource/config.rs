//! ConfigMaps and Secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{default_text, section, text},
};

const SIZE_LIMIT: usize = 1 << 20;

/// The strategy of config maps.
pub static CONFIG_MAP: Strategy = Strategy {
    validate: |map, errors| {
        let size = keys(map, &["data", "binaryData"], errors);
        if size > SIZE_LIMIT {
            errors.too_long("", SIZE_LIMIT);
        }
        for key in entries(map, "data").map(|(key, _)| key) {
            if map["binaryData"].get(key).is_some() {
                errors.invalid_text(&format!("data[{key}]"), key, "duplicate of key present in binaryData");
            }
        }
    },
    validate_update: |new, old, errors| immutable(new, old, &["data", "binaryData"], errors),
    columns: &[Column::number("Data"), Column::text("Age")],
    cells: |map, now| {
        let count = entries(map, "data").count() + entries(map, "binaryData").count();
        vec![count.into(), age(map, now)]
    },
    ..Strategy::PASSIVE
};

/// The strategy of secrets.
pub static SECRET: Strategy = Strategy {
    default: |secret| {
        // Write-only: plain texts are merged over the data and never stored as such.
        if let Some(texts) = secret.as_object_mut().and_then(|s| s.remove("stringData")) {
            let data = section(secret, "data");
            for (key, value) in texts.as_object().into_iter().flatten() {
                data.insert(key.clone(), STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        }
        if let Some(map) = secret.as_object_mut() {
            default_text(map, "type", "Opaque");
        }
    },
    validate: validate_secret,
    validate_update: |new, old, errors| {
        errors.immutable("type", &new["type"], &old["type"]);
        immutable(new, old, &["data"], errors);
    },
    columns: &[Column::text("Type"), Column::number("Data"), Column::text("Age")],
    cells: |secret, now| {
        vec![text(secret, "type").into(), entries(secret, "data").count().into(), age(secret, now)]
    },
    selectable: &["type"],
    ..Strategy::PASSIVE
};

fn entries<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object[key].as_object().into_iter().flatten()
}

/// Checks keys; returns the bytes of all values.
fn keys(object: &Value, lists: &[&str], errors: &mut Errors) -> usize {
    let mut size = 0;
    for list in lists {
        for (key, value) in entries(object, list) {
            size += key.len() + value.as_str().map_or(0, str::len);
            let fits = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if key.is_empty() || key.len() > 253 || !fits || key == "." || key.starts_with("..") {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.invalid_text(&format!("{list}[{key}]"), key, detail);
            }
        }
    }
    size
}

fn immutable(new: &Value, old: &Value, lists: &[&str], errors: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for list in lists {
        if new[*list] != old[*list] {
            errors.forbidden(list, "field is immutable when `immutable` is set");
        }
    }
}

fn validate_secret(secret: &Value, errors: &mut Errors) {
    // Base64 takes four bytes for three.
    if keys(secret, &["data"], errors) > SIZE_LIMIT / 3 * 4 {
        errors.too_long("data", SIZE_LIMIT);
    }
    let needed: &[&str] = match text(secret, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if secret["data"].get(key).is_none() {
            errors.required(&format!("data[{key}]"), "");
        }
    }
    if text(secret, "type") == "kubernetes.io/basic-auth"
        && ["username", "password"].iter().all(|key| secret["data"].get(key).is_none())
    {
        errors.required("data[username]", "");
        errors.required("data[password]", "");
    }
}
