//! One leader in each term. Reigns of different terms may overlap: a deposed leader learns of it late.

use std::collections::BTreeMap;

use super::{Check, Evidence, Verdict};

/// A1.
pub(crate) struct Leaders;

impl Check for Leaders {
    fn name(&self) -> &'static str {
        "leaders"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["A1"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        let reigns = &evidence.run.reigns;
        let mut leaders: BTreeMap<u64, u32> = BTreeMap::new();
        for reign in reigns {
            let first = *leaders.entry(reign.term).or_insert(reign.controller);
            if first != reign.controller {
                let words =
                    format!("controllers {first} and {} both led in term {}", reign.controller, reign.term);
                return Verdict::violated("A1", Some(reign.from_ns), words);
            }
        }
        Verdict::Pass { examined: reigns.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::build::Build, history::Reign};

    #[test]
    fn two_leaders_in_a_term_are_found() {
        let reign = |controller, term| Reign { controller, term, from_ns: 10 * term, until_ns: None };
        let mut run = Build::new().run;
        run.reigns = vec![reign(0, 1), reign(1, 2), reign(1, 2), reign(0, 3)];
        assert_eq!(Leaders.check(&run), Verdict::Pass { examined: 4 });
        run.reigns.push(reign(2, 2));
        assert!(matches!(Leaders.check(&run), Verdict::Violated { invariant, .. } if invariant == "A1"));
    }
}
