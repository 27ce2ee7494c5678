//! Pod security: what pods of a namespace may have of the machine that they run on.
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/>
//!
//! ```text
//!   labels of the namespace -> policy.rs: the standards that it enforces, warns of and audits
//!   configuration.rs: what counts without labels, and who is exempt
//!   pod and standard -> checks/: what it violates, in Kubernetes' words
//!   admit.rs: whether the turn makes the pod, whoever asks for it
//! ```
//!
//! What is enforced is decided in the turn that makes a pod or changes it, on the labels as they are then. Warnings and what is audited are
//! the API's, by the same checks.

mod admit;
mod checks;
mod configuration;
mod pod;
mod policy;
mod standard;

pub(crate) use admit::{admit, admit_configuration};
pub use checks::{Violation, violations};
pub use configuration::Configuration;
pub use pod::{Pod, significant_change};
pub use policy::{Policy, WrongLabel};
pub use standard::{Level, Standard, Version};

/// What violations are called together, with their details: `privileged (container "a" must not ...), host namespaces (hostPID=true)`.
pub fn details(violations: &[Violation]) -> String {
    let one = |violation: &Violation| format!("{} ({})", violation.reason, violation.detail);
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The same in short: `privileged, host namespaces`.
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason.as_str()).collect::<Vec<_>>().join(", ")
}
