//! What a container's root may do: a default set, what the pod adds to it and takes from it.

use super::ContainerSpec;

const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
const MORE_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// The capabilities of a container (`CAP_...`), or why what it asks for cannot be.
pub(crate) fn capabilities(spec: &ContainerSpec) -> Result<Vec<String>, String> {
    let all = || DEFAULT_CAPABILITIES.iter().chain(MORE_CAPABILITIES).map(|name| (*name).to_owned());
    let plain = |name: &String| name.trim_start_matches("CAP_").to_uppercase();
    if spec.privileged {
        return Ok(all().map(|name| format!("CAP_{name}")).collect());
    }
    let dropped: Vec<String> = spec.drop_capabilities.iter().map(plain).collect();
    let added: Vec<String> = spec.add_capabilities.iter().map(plain).collect();
    if let Some(unknown) = added.iter().find(|name| *name != "ALL" && !all().any(|known| known == **name)) {
        return Err(format!("capability \"{unknown}\" does not exist"));
    }
    let base: Vec<String> = if added.iter().any(|name| name == "ALL") {
        all().collect()
    } else {
        DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
    };
    let drops = |name: &String| dropped.iter().any(|gone| gone == "ALL" || gone == name);
    let mut kept: Vec<String> = base.into_iter().filter(|name| !drops(name)).collect();
    // What is added by name stays even where all are dropped.
    kept.extend(added.into_iter().filter(|name| name != "ALL"));
    kept.sort();
    kept.dedup();
    Ok(kept.into_iter().map(|name| format!("CAP_{name}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(add: &[&str], drop: &[&str]) -> Result<Vec<String>, String> {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        capabilities(&ContainerSpec {
            add_capabilities: names(add),
            drop_capabilities: names(drop),
            ..ContainerSpec::default()
        })
    }

    #[test]
    fn capabilities_are_added_to_and_taken_from_the_default_set() {
        assert_eq!(of(&[], &[]).unwrap().len(), DEFAULT_CAPABILITIES.len());
        assert_eq!(of(&["NET_ADMIN"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(!of(&[], &["CAP_NET_RAW"]).unwrap().contains(&"CAP_NET_RAW".to_owned()));
        assert!(of(&["ALL"], &[]).unwrap().contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(of(&["FLYING"], &[]).unwrap_err().contains("FLYING"));
    }
}
