//! Files that are replaced as a whole: all of them at once, by renaming one symbolic link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink};
use std::path::{Component, Path, PathBuf};

use crate::remove::remove_dir_all;

/// A file's content, mode, and the user that it is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: Option<u32>,
}

/// Files by their path below the volume.
pub(super) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Refuses what would lead out of the volume, or onto the links in it.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b".."));
    let parts = Path::new(path).components();
    if path.is_empty() || path.contains('\0') || !parts.clone().all(plain) || path.ends_with('/') {
        return Err(format!(
            "invalid path \"{path}\": must be relative and stay within the volume, without \"..\""
        ));
    }
    Ok(())
}

/// Makes a folder with this mode, if it is not there. One that nobody may use was not finished by who made it.
pub(super) fn folder(path: &Path, mode: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && metadata.permissions().mode() & 0o7777 != 0 => return Ok(()),
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(format!("{} is not a directory", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => make_unusable(path).map_err(failed)?,
        Err(error) => return Err(failed(error)),
    }
    // Past the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn make_unusable(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o000).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes `payload` the content of a volume. No file is written again when it is so already.
/// With a group, all is the group's, which can read it.
pub(super) fn replace(volume: &Path, payload: &Payload, group: Option<u32>) -> Result<(), String> {
    write(volume, payload, group).map_err(|error| format!("{}: {error}", volume.display()))
}

/// Gives a folder to a group, which can write to it, and to which all that is made in it belongs, too.
pub(super) fn give(folder: &Path, group: u32) -> Result<(), String> {
    let given = || -> std::io::Result<()> {
        chown(folder, None, Some(group))?;
        let mode = fs::metadata(folder)?.permissions().mode();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode & 0o7777 | GROUP_FOLDER | GROUP_WRITES))
    };
    given().map_err(|error| format!("give {} to group {group}: {error}", folder.display()))
}

/// The group reads files and folders, and enters these; what is made in them is the group's.
const GROUP_FILE: u32 = 0o440;
const GROUP_FOLDER: u32 = 0o2550;
const GROUP_WRITES: u32 = 0o660;

/// What a file's mode is once a group has it.
fn mode(file: &File, group: Option<u32>) -> u32 {
    file.mode & 0o777 | group.map_or(0, |_| GROUP_FILE)
}

fn write(volume: &Path, payload: &Payload, group: Option<u32>) -> std::io::Result<()> {
    let current = fs::read_link(volume.join(DATA)).ok();
    let current = current.as_deref();
    let generation = match current {
        Some(current) if same(&volume.join(current), payload, group) => current.to_owned(),
        _ => add(volume, current, payload, group)?,
    };
    // Of the same, too: whoever put it there may have come no further.
    show(volume, &generation, payload)
}

/// Writes the files beside the current ones, and lets them take their place.
fn add(
    volume: &Path,
    current: Option<&Path>,
    payload: &Payload,
    group: Option<u32>,
) -> std::io::Result<PathBuf> {
    let number = |name: &Path| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok();
    let generation = current.and_then(number).map_or(0, |n| n.wrapping_add(1));
    let name = PathBuf::from(format!("..{generation}"));
    let fresh = volume.join(&name);
    if fresh.exists() {
        remove_dir_all(&fresh)?;
    }
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        out.write_all(&file.content)?;
        // Who is not root cannot give files away, and runs no containers.
        let owner = file.owner.filter(|_| rustix::process::geteuid().is_root());
        if owner.is_some() || group.is_some() {
            fchown(&out, owner, group)?;
        }
        out.set_permissions(fs::Permissions::from_mode(mode(file, group)))?;
    }
    if group.is_some() {
        let parents = payload.keys().flat_map(|path| Path::new(path).ancestors().skip(1));
        let folders: BTreeSet<&Path> = parents.collect();
        for folder in folders.into_iter().map(|folder| fresh.join(folder)).chain([volume.to_owned()]) {
            chown(&folder, None, group)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755 | GROUP_FOLDER))?;
        }
    }
    let link = volume.join("..data_new");
    fs::remove_file(&link)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    symlink(&name, &link)?;
    fs::rename(&link, volume.join(DATA))?;
    Ok(name)
}

/// Makes the names by which containers find the current files, and removes all that is not of this generation.
fn show(volume: &Path, generation: &Path, payload: &Payload) -> std::io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &wanted {
        match symlink(Path::new(DATA).join(top), volume.join(top)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let entry_name = file_name.to_string_lossy();
        if entry.file_type()?.is_symlink() {
            if entry_name != DATA && !wanted.contains(entry_name.as_ref()) {
                fs::remove_file(entry.path())?;
            }
        } else if entry_name.starts_with("..") && file_name != generation.as_os_str() {
            remove_dir_all(&entry.path())?;
        }
    }
    Ok(())
}

fn same(dir: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let mut count = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { return false };
        for entry in entries {
            let Ok(entry) = entry else { return false };
            let Ok(metadata) = entry.metadata() else { return false };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    let equal = |(path, file): (&String, &File)| {
        let path = dir.join(path);
        fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().mode() & 0o777 == mode(file, group))
            && fs::read(&path).is_ok_and(|content| content == file.content)
    };
    count == payload.len() && payload.iter().all(equal)
}
