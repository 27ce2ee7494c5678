//! What the layer itself saw go wrong while it played.

use super::{Check, Evidence, Verdict};

/// Nothing was.
pub(crate) struct Broken;

impl Check for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["A1", "A2", "A3", "A4", "A5", "A8", "B5", "F6"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Verdict {
        match evidence.run.broken.first() {
            Some(broken) => Verdict::violated(&broken.invariant, Some(broken.at_ns), broken.words.clone()),
            None => Verdict::Pass { examined: 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::build::Build, history};

    #[test]
    fn what_the_layer_saw_is_said() {
        let mut run = Build::new().run;
        assert!(Broken.check(&run).passed());
        run.broken.push(history::Broken { at_ns: 5, invariant: "A1".into(), words: "two leaders".into() });
        assert_eq!(Broken.check(&run), Verdict::violated("A1", Some(5), "two leaders"));
    }
}
