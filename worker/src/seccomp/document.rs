//! Profiles in files, as the OCI runtime specification has them (`linux.seccomp`), which is what other runtimes read too.

use serde::Deserialize;

use super::{Action, Condition, Profile, Rule, Test};

const RULES_MAX: usize = 4096;
const ARGUMENTS: u8 = 6;
const NATIVE: &str = if cfg!(target_arch = "aarch64") { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" };
const NOT_PERMITTED: u16 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Syscall>,
    /// How filters are installed; nothing of it confines less.
    #[serde(default)]
    #[allow(dead_code, reason = "it may be there")]
    flags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscall {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Vec<Argument>,
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    comment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Reads a profile. What is not understood is refused: a rule that is passed over would confine less, or break a program.
pub(super) fn parse(text: &[u8]) -> Result<Profile, String> {
    let document: Document = serde_json::from_slice(text).map_err(|source| source.to_string())?;
    if !document.architectures.is_empty() && !document.architectures.iter().any(|name| name == NATIVE) {
        return Err(format!("it is not for this machine: {NATIVE} is not among its architectures"));
    }
    if document.syscalls.len() > RULES_MAX {
        return Err(format!("it has more than {RULES_MAX} rules"));
    }
    let otherwise = action(&document.default_action, document.default_errno_ret)?;
    let mut rules = Vec::new();
    for syscall in document.syscalls {
        let action = action(&syscall.action, syscall.errno_ret)?;
        let conditions = syscall.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        let twice = (0..ARGUMENTS).any(|index| conditions.iter().filter(|it| it.index == index).count() > 1);
        if twice {
            // As other runtimes read it: each stands for itself.
            rules.extend(conditions.into_iter().map(|condition| Rule {
                names: syscall.names.clone(),
                action,
                conditions: vec![condition],
            }));
        } else {
            rules.push(Rule { names: syscall.names, action, conditions });
        }
    }
    Ok(Profile { otherwise, rules })
}

fn action(name: &str, errno: Option<u16>) -> Result<Action, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(NOT_PERMITTED)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(format!("action {other} is not supported on this worker")),
    })
}

fn condition(argument: &Argument) -> Result<Condition, String> {
    let Argument { index, value, value_two, op } = argument;
    if *index >= ARGUMENTS {
        return Err(format!("a system call has no argument {index}"));
    }
    let (test, value) = match op.as_str() {
        "SCMP_CMP_NE" => (Test::Ne, *value),
        "SCMP_CMP_LT" => (Test::Lt, *value),
        "SCMP_CMP_LE" => (Test::Le, *value),
        "SCMP_CMP_EQ" => (Test::Eq, *value),
        "SCMP_CMP_GE" => (Test::Ge, *value),
        "SCMP_CMP_GT" => (Test::Gt, *value),
        "SCMP_CMP_MASKED_EQ" => (Test::Masked(*value), *value_two),
        other => return Err(format!("comparison {other} does not exist")),
    };
    Ok(Condition { index: *index, test, value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_is_read_as_other_runtimes_read_it() {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": [NATIVE, "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "chown32"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2_114_060_288_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS",
                 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            ],
        });
        let profile = parse(profile.to_string().as_bytes()).unwrap();
        assert_eq!(profile.otherwise, Action::Errno(38));
        let conditions: Vec<_> = profile.rules.iter().map(|rule| rule.conditions.clone()).collect();
        let on = |test, value| vec![Condition { index: 0, test, value }];
        assert_eq!(conditions, [vec![], on(Test::Masked(0x7e02_0000), 0), on(Test::Eq, 1), on(Test::Eq, 2)]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let cause = |json: serde_json::Value| parse(json.to_string().as_bytes()).unwrap_err();
        assert!(cause(json!({"defaultAction": "SCMP_ACT_NOTIFY"})).contains("SCMP_ACT_NOTIFY"));
        assert!(cause(json!({})).contains("defaultAction"));
        let with = |syscall: serde_json::Value| {
            cause(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [syscall]}))
        };
        let argument = |index: u8, op: &str| {
            with(
                json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": index, "value": 1, "op": op}]}),
            )
        };
        assert!(argument(0, "SCMP_CMP_LIKE").contains("SCMP_CMP_LIKE"));
        assert!(argument(6, "SCMP_CMP_EQ").contains("no argument 6"));
        let conditional =
            json!({"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}});
        assert!(with(conditional).contains("includes"), "which only Docker understands");
        let foreign = cause(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS"]}));
        assert!(foreign.contains("not for this machine"), "{foreign}");
    }
}
