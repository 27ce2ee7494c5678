//! Who a container's process is: the image's `User`, looked up in the image itself.

use std::io::Read;
use std::path::Path;

use super::ImageError;
use super::root::Root;

const FILE_MAX: u64 = 1 << 20;
const GROUPS_MAX: usize = 64;

/// The ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// Its home directory; empty if unknown.
    pub home: String,
}

/// Looks up `user[:group]` in the image.
pub(super) fn look_up(root: &Root, user: &str) -> Result<Identity, ImageError> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let passwd = read(root, "etc/passwd");
    let user = if user.is_empty() { "0" } else { user };
    let row = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| {
        match user.parse::<u32>() {
            Ok(uid) => row.get(2).and_then(|text| text.parse().ok()) == Some(uid),
            Err(_) => row.first() == Some(&user),
        }
    });
    let field =
        |index: usize| row.as_ref().and_then(|row| row.get(index)).and_then(|text| text.parse::<u32>().ok());
    let uid =
        field(2).or_else(|| user.parse().ok()).ok_or_else(|| ImageError::UnknownUser(user.to_owned()))?;
    let name = row.as_ref().and_then(|row| row.first()).copied().unwrap_or_default();
    let home = row.as_ref().and_then(|row| row.get(5)).copied().unwrap_or_default();

    let groups_file = read(root, "etc/group");
    let groups = groups_file.lines().map(|line| line.split(':').collect::<Vec<_>>()).collect::<Vec<_>>();
    let id_of = |row: &Vec<&str>| row.get(2).and_then(|text| text.parse::<u32>().ok());
    let gid = match group {
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => groups
                .iter()
                .find(|row| row.first() == Some(&group))
                .and_then(id_of)
                .ok_or_else(|| ImageError::UnknownUser(format!("{user}:{group}")))?,
        },
        None => field(3).unwrap_or(0),
    };
    let mine = |row: &&Vec<&str>| {
        !name.is_empty() && row.get(3).is_some_and(|all| all.split(',').any(|it| it == name))
    };
    let groups =
        groups.iter().filter(mine).filter_map(id_of).filter(|it| *it != gid).take(GROUPS_MAX).collect();
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

/// A missing or unreadable file has no users.
fn read(root: &Root, path: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = root.open_file(Path::new(path)) {
        file.take(FILE_MAX).read_to_string(&mut text).ok();
    }
    text
}
