//! What files a configMap, secret, downwardAPI or projected volume has.

use super::files::{File, Payload, check_path};
use crate::pod::dependency::Kind;
use crate::pod::document::{Container, DownwardApi, FilesFrom, Volume};
use crate::pod::env::Sources;

/// What Kubernetes gives files whose mode nobody named.
const DEFAULT_MODE: u32 = 0o644;

/// The bytes that one volume may take, as the API allows one object.
const BYTES_MAX: usize = 8 << 20;

/// Names the volumes by which pods reach the API, which the server adds to every pod.
const API_ACCESS: &str = "kube-api-access-";

/// The volume's files; nothing if it is of another type.
pub(super) fn of(sources: Sources<'_>, volume: &Volume) -> Result<Option<Payload>, String> {
    let mut payload = Payload::new();
    if let Some(from) = &volume.config_map {
        keys(sources, Kind::ConfigMap, &from.name, from, None, &mut payload)?;
    } else if let Some(from) = &volume.secret {
        let name = if from.secret_name.is_empty() { &from.name } else { &from.secret_name };
        keys(sources, Kind::Secret, name, from, None, &mut payload)?;
    } else if let Some(from) = &volume.downward_api {
        downward(sources, from, None, &mut payload)?;
    } else if let Some(projected) = &volume.projected {
        for source in &projected.sources {
            let mode = projected.default_mode;
            if let Some(from) = &source.config_map {
                let optional = from.optional || volume.name.starts_with(API_ACCESS);
                let from = FilesFrom { optional, ..from.clone() };
                keys(sources, Kind::ConfigMap, &from.name, &from, mode, &mut payload)?;
            }
            if let Some(from) = &source.secret {
                keys(sources, Kind::Secret, &from.name, from, mode, &mut payload)?;
            }
            if let Some(from) = &source.downward_api {
                downward(sources, from, mode, &mut payload)?;
            }
            // Pods have no tokens yet. The volume that every pod gets stays without; one that was asked for is refused.
            if source.service_account_token.is_some() && !volume.name.starts_with(API_ACCESS) {
                return Err("projected serviceAccountToken is not supported on this worker".to_owned());
            }
        }
    } else {
        return Ok(None);
    }
    if payload.values().map(|file| file.content.len()).sum::<usize>() > BYTES_MAX {
        return Err(format!("its files take more than {BYTES_MAX} bytes"));
    }
    Ok(Some(payload))
}

fn keys(
    sources: Sources<'_>,
    kind: Kind,
    name: &str,
    from: &FilesFrom,
    mode: Option<u32>,
    payload: &mut Payload,
) -> Result<(), String> {
    let Some(data) = sources.dependencies.get(kind, name) else {
        return if from.optional { Ok(()) } else { Err(format!("{} \"{name}\" not found", kind.lower())) };
    };
    let default_mode = from.default_mode.or(mode).unwrap_or(DEFAULT_MODE);
    let mut put = |path: &str, content: &Vec<u8>, mode: Option<u32>| -> Result<(), String> {
        check_path(path)?;
        payload
            .insert(path.to_owned(), File { content: content.clone(), mode: mode.unwrap_or(default_mode) });
        Ok(())
    };
    if from.items.is_empty() {
        return data.iter().try_for_each(|(key, content)| put(key, content, None));
    }
    for item in &from.items {
        match data.get(&item.key) {
            Some(content) => put(&item.path, content, item.mode)?,
            None if from.optional => {}
            None => return Err(format!("references non-existent {} key: {}", kind.lower(), item.key)),
        }
    }
    Ok(())
}

fn downward(
    sources: Sources<'_>,
    from: &DownwardApi,
    mode: Option<u32>,
    payload: &mut Payload,
) -> Result<(), String> {
    let default_mode = from.default_mode.or(mode).unwrap_or(DEFAULT_MODE);
    for item in &from.items {
        check_path(&item.path)?;
        let text = if let Some(field) = &item.field_ref {
            sources.field(field)?
        } else if let Some(resource) = &item.resource_field_ref {
            sources.resource(&Container::default(), resource)?
        } else {
            return Err(format!("downwardAPI item {} names neither a field nor a resource", item.path));
        };
        let file = File { content: text.into_bytes(), mode: item.mode.unwrap_or(default_mode) };
        payload.insert(item.path.clone(), file);
    }
    Ok(())
}
