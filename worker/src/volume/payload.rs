//! What files a configMap, secret, downwardAPI or projected volume has.

use super::files::{File, Payload, check_path};
use crate::pod::access::which;
use crate::pod::dependency::Kind;
use crate::pod::document::{Container, DownwardApi, FilesFrom, Pod, TokenSource, Volume};
use crate::pod::env::Sources;

/// What Kubernetes gives files whose mode nobody named.
const DEFAULT_MODE: u32 = 0o644;

/// The bytes that one volume may take, as the API allows one object.
const BYTES_MAX: usize = 8 << 20;

/// The mode of a token that is for one user, or for a group that gets its right later.
const PRIVATE_MODE: u32 = 0o600;

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
                keys(sources, Kind::ConfigMap, &from.name, from, mode, &mut payload)?;
            }
            if let Some(from) = &source.secret {
                keys(sources, Kind::Secret, &from.name, from, mode, &mut payload)?;
            }
            if let Some(from) = &source.downward_api {
                downward(sources, from, mode, &mut payload)?;
            }
            if let Some(from) = &source.service_account_token {
                token(sources, from, mode, &mut payload)?;
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

/// A token of the pod's account. Who may read it is settled as by the kubelet: the one user that all containers run as, or the pod's group,
/// or whoever is in the containers.
fn token(
    sources: Sources<'_>,
    from: &TokenSource,
    mode: Option<u32>,
    payload: &mut Payload,
) -> Result<(), String> {
    check_path(&from.path)?;
    let Some(tokens) = &sources.access.tokens else { return Ok(()) };
    let text = tokens.get(&which(from)).ok_or("failed to fetch token: it was not asked for yet")?;
    let owner = only_user(sources.pod);
    let private = owner.is_some() || sources.pod.spec.security_context.fs_group.is_some();
    let mode = if private { PRIVATE_MODE } else { mode.unwrap_or(DEFAULT_MODE) };
    payload.insert(from.path.clone(), File { content: text.clone().into_bytes(), mode, owner });
    Ok(())
}

/// The user as which all containers of the pod run, by what the pod says of them.
fn only_user(pod: &Pod) -> Option<u32> {
    let pods = pod.spec.security_context.run_as_user;
    let mut users = pod.all_containers().map(|container| container.security_context.run_as_user.or(pods));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
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
        let mode = mode.unwrap_or(default_mode);
        payload.insert(path.to_owned(), File { content: content.clone(), mode, owner: None });
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
        let mode = item.mode.unwrap_or(default_mode);
        let file = File { content: text.into_bytes(), mode, owner: None };
        payload.insert(item.path.clone(), file);
    }
    Ok(())
}
