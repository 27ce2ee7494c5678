//! Profiles become filters. One filter knows two outcomes, so a profile with more of them becomes several: the kernel asks all
//! of them and takes the strictest answer.

use std::collections::{BTreeMap, BTreeSet};

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::{Action, Condition, Profile, Rule, Test, table};
use crate::runtime::SyscallFilter;

const ARCH: TargetArch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
/// The first instructions of every filter, which end what is of another architecture.
const PROLOGUE: usize = 3;

/// By system call, the rules of which one must hold; no rule holds always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters of a profile, in the order in which they are to be installed.
pub(super) fn filters(profile: &Profile) -> Result<Vec<SyscallFilter>, String> {
    let mut filters = Vec::new();
    let rules = || profile.rules.iter().filter(|rule| rule.action != profile.otherwise);
    let actions: BTreeSet<Action> =
        rules().map(|rule| rule.action).filter(|it| *it != Action::Allow).collect();
    for action in actions {
        let held = collect(rules().filter(|rule| rule.action == action))?;
        filters.push(filter(held, Action::Allow, action)?);
    }
    if profile.otherwise != Action::Allow {
        // Last, for it may forbid the installing of filters. What other filters decide passes here.
        filters.push(filter(collect(rules())?, profile.otherwise, Action::Allow)?);
    }
    Ok(filters)
}

fn collect<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<Rules, String> {
    let mut always = BTreeSet::new();
    let mut all = Rules::new();
    for rule in rules {
        // Profiles name the calls of all architectures.
        for number in rule.names.iter().filter_map(|name| table::number(name)) {
            let of_call = all.entry(number).or_default();
            if rule.conditions.is_empty() {
                always.insert(number);
            } else {
                let conditions = rule.conditions.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
                of_call.push(SeccompRule::new(conditions).map_err(|source| source.to_string())?);
            }
        }
    }
    for number in always {
        all.insert(number, Vec::new());
    }
    Ok(all)
}

fn condition(condition: &Condition) -> Result<SeccompCondition, String> {
    let test = match condition.test {
        Test::Ne => SeccompCmpOp::Ne,
        Test::Lt => SeccompCmpOp::Lt,
        Test::Le => SeccompCmpOp::Le,
        Test::Eq => SeccompCmpOp::Eq,
        Test::Ge => SeccompCmpOp::Ge,
        Test::Gt => SeccompCmpOp::Gt,
        Test::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    SeccompCondition::new(condition.index, SeccompCmpArgLen::Qword, test, condition.value)
        .map_err(|source| source.to_string())
}

fn filter(rules: Rules, otherwise: Action, held: Action) -> Result<SyscallFilter, String> {
    let program: Result<BpfProgram, _> =
        SeccompFilter::new(rules, action(otherwise), action(held), ARCH).and_then(TryInto::try_into);
    let mut program = program.map_err(|source| source.to_string())?;
    program.splice(PROLOGUE..PROLOGUE, other_tables());
    let mut bytes = Vec::with_capacity(program.len() * SyscallFilter::INSTRUCTION_BYTES);
    for sock_filter { code, jt, jf, k } in program {
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(&[jt, jf]);
        bytes.extend_from_slice(&k.to_ne_bytes());
    }
    Ok(SyscallFilter(bytes))
}

/// The same machine may have a second table of system calls (x32), whose numbers no rule would meet.
fn other_tables() -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let refusal = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: refusal },
    ]
}

fn action(action: Action) -> SeccompAction {
    match action {
        Action::Allow => SeccompAction::Allow,
        Action::Log => SeccompAction::Log,
        Action::Errno(errno) => SeccompAction::Errno(errno.into()),
        Action::Trap => SeccompAction::Trap,
        Action::KillThread => SeccompAction::KillThread,
        Action::KillProcess => SeccompAction::KillProcess,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

    /// What the kernel would answer to a call: each filter is run, as the kernel runs it, and the strictest answer counts.
    fn answer(filters: &[SyscallFilter], number: i64, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&u32::try_from(number).unwrap().to_ne_bytes());
        let arch: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };
        data.extend_from_slice(&arch.to_ne_bytes());
        data.extend_from_slice(&0_u64.to_ne_bytes());
        arguments.iter().for_each(|it| data.extend_from_slice(&it.to_ne_bytes()));
        let word = |at: u32| u32::from_ne_bytes(data[at as usize..at as usize + 4].try_into().unwrap());
        let run = |filter: &SyscallFilter| {
            let program: Vec<_> = filter.0.chunks(SyscallFilter::INSTRUCTION_BYTES).collect();
            let (mut at, mut a) = (0, 0);
            loop {
                let i = program[at];
                let (code, jt, jf) = (u16::from_ne_bytes([i[0], i[1]]), i[2], i[3]);
                let k = u32::from_ne_bytes(i[4..8].try_into().unwrap());
                at += 1;
                let jump = |held: bool| usize::from(if held { jt } else { jf });
                match code {
                    0x20 => a = word(k),
                    0x05 => at += k as usize,
                    0x15 => at += jump(a == k),
                    0x25 => at += jump(a > k),
                    0x35 => at += jump(a >= k),
                    0x54 => a &= k,
                    0x06 => return k,
                    other => panic!("{other:#x} is no instruction of these filters"),
                }
            }
        };
        // As a signed number the strictest action is the smallest; of the same action the last that was installed counts.
        let answers = filters.iter().rev().map(run);
        answers.min_by_key(|it| (it & 0xffff_0000).cast_signed()).unwrap_or(ALLOW)
    }

    fn rule(names: &[&str], action: Action, conditions: Vec<Condition>) -> Rule {
        Rule { names: names.iter().map(|name| (*name).to_owned()).collect(), action, conditions }
    }

    #[test]
    fn several_outcomes_hold_at_once() {
        let on = |index, test, value| Condition { index, test, value };
        let profile = Profile {
            otherwise: Action::Errno(1),
            rules: vec![
                rule(&["read", "no_such_call"], Action::Allow, vec![]),
                rule(&["socket"], Action::Allow, vec![on(0, Test::Eq, 1)]),
                rule(&["socket"], Action::Allow, vec![on(0, Test::Eq, 2), on(2, Test::Masked(0xf0), 0x10)]),
                rule(&["write"], Action::KillProcess, vec![on(2, Test::Gt, 1 << 40)]),
                rule(&["write"], Action::Allow, vec![]),
                rule(&["clone3"], Action::Errno(38), vec![]),
                rule(&["mount"], Action::Errno(1), vec![]),
            ],
        };
        let filters = filters(&profile).unwrap();
        assert_eq!(filters.len(), 3);
        let told = |number, a, c| answer(&filters, number, [a, 0, c, 0, 0, 0]);
        assert_eq!(told(libc::SYS_read, 9, 9), ALLOW);
        assert_eq!(told(libc::SYS_mount, 0, 0), ERRNO | 1);
        assert_eq!(told(libc::SYS_unshare, 0, 0), ERRNO | 1, "for which there is no rule");
        assert_eq!(told(libc::SYS_clone3, 0, 0), ERRNO | 38);
        assert_eq!(told(libc::SYS_socket, 1, 0), ALLOW);
        assert_eq!(told(libc::SYS_socket, 1 << 32 | 1, 0), ERRNO | 1, "all of an argument counts");
        assert_eq!(told(libc::SYS_socket, 2, 0x1f), ALLOW);
        assert_eq!(told(libc::SYS_socket, 2, 0x20), ERRNO | 1, "all conditions of a rule count");
        assert_eq!(told(libc::SYS_write, 0, 1 << 40), ALLOW);
        assert_eq!(told(libc::SYS_write, 0, (1 << 40) + 1), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn what_is_forbidden_by_name_is_not_to_be_had_under_another_number() {
        let rules = vec![rule(&["unshare"], Action::Errno(1), vec![])];
        let filters = filters(&Profile { otherwise: Action::Allow, rules }).unwrap();
        let told = |number| answer(&filters, number, [0; 6]);
        assert_eq!((told(libc::SYS_read), told(libc::SYS_unshare)), (ALLOW, ERRNO | 1));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(told(libc::SYS_unshare | 0x4000_0000), ERRNO | libc::ENOSYS.unsigned_abs());
        }
    }

    #[test]
    fn the_runtimes_own_profile_keeps_namespaces_out_and_lets_threads_be() {
        let filters = super::super::runtime_default(&[]).unwrap();
        let told = |number, a| answer(&filters, number, [a, 0, 0, 0, 0, 0]);
        const THREAD: u64 = 0x003d_0f00;
        assert_eq!(told(libc::SYS_clone, THREAD), ALLOW);
        for flag in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWCGROUP,
        ] {
            assert_eq!(
                told(libc::SYS_clone, THREAD | u64::from(flag.unsigned_abs())),
                ERRNO | 1,
                "{flag:#x}"
            );
        }
        assert_eq!(told(libc::SYS_clone3, 0), ERRNO | 38, "so that the C library takes clone");
        assert_eq!((told(libc::SYS_socket, 2), told(libc::SYS_socket, 40)), (ALLOW, ERRNO | 1));
        assert_eq!((told(libc::SYS_personality, 8), told(libc::SYS_personality, 4)), (ALLOW, ERRNO | 1));
        assert_eq!((told(libc::SYS_execve, 0), told(libc::SYS_mount, 0)), (ALLOW, ERRNO | 1));
        let admin = super::super::runtime_default(&["CAP_SYS_ADMIN".to_owned()]).unwrap();
        assert_eq!(answer(&admin, libc::SYS_mount, [0; 6]), ALLOW);
        assert_eq!(answer(&admin, libc::SYS_clone3, [0; 6]), ALLOW);
    }
}
