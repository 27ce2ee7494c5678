//! Priority and fairness of requests, as far as it is state: the objects that every cluster has, and their upkeep. How requests are held
//! up by them is the business of the API (`api/src/flow/`).

pub mod defaults;
pub(crate) mod upkeep;

/// An annotation: `true` lets newer versions change what the object says, `false` leaves it as it is.
pub(crate) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
