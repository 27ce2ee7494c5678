//! Who is behind a pid: with its time of birth it names one process for ever.

/// Clock ticks from the machine's start to the process's, unless it is dead.
pub fn born(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may itself contain blanks and parentheses.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// Whether the process that is named `pid born` still lives.
pub fn alive(name: &str) -> bool {
    let mut words = name.split_whitespace();
    let (Some(pid), Some(then)) = (words.next(), words.next()) else { return false };
    let (Ok(pid), Ok(then)) = (pid.parse(), then.parse::<u64>()) else { return false };
    born(pid) == Some(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_successor_is_not() {
        let pid = std::process::id();
        let then = born(pid).unwrap();
        assert!(alive(&format!("{pid} {then}")));
        assert!(!alive(&format!("{pid} {}", then + 1)));
        assert!(!alive(""));
    }
}
