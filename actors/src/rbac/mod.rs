//! Role-based access control: what rules allow, whether rules cover others, and the roles that every cluster has. Pure; which rules
//! somebody holds is found by the index in [`crate::State::grants`], and who asks for what is the business of `api/`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

mod cover;
pub mod defaults;
mod rule;
pub(crate) mod upkeep;

pub use cover::{compacted, uncovered};
pub use rule::PolicyRule;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
