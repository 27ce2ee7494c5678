//! Where this worker's pods find the API.

use std::sync::{Mutex, PoisonError};

/// The address of a controller, as it advertises it.
#[derive(Debug, Default)]
pub struct ApiAddress(Mutex<String>);

impl ApiAddress {
    /// One that answers: its `host:port`.
    pub fn found(&self, address: &str) {
        address.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The variables by which in-cluster clients find it, as Kubernetes sets them for its Service `kubernetes`; none before a controller is
    /// known.
    pub fn variables(&self) -> Vec<(String, String)> {
        let address = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((bracketed, port)) = address.rsplit_once(':') else { return Vec::new() };
        let host = bracketed.trim_start_matches('[').trim_end_matches(']');
        let url = format!("tcp://{address}");
        let port_named = |what: &str| format!("KUBERNETES_PORT_{port}_TCP{what}");
        [
            ("KUBERNETES_SERVICE_HOST".to_owned(), host),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port),
            ("KUBERNETES_PORT".to_owned(), url.as_str()),
            (port_named(""), url.as_str()),
            (port_named("_PROTO"), "tcp"),
            (port_named("_PORT"), port),
            (port_named("_ADDR"), host),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_a_controller_by_name_or_by_address_of_either_family() {
        let api = ApiAddress::default();
        assert_eq!(api.variables(), []);
        for (address, host) in
            [("c1.example:6443", "c1.example"), ("[fd00::1]:6443", "fd00::1"), ("10.0.0.1:6443", "10.0.0.1")]
        {
            api.found(address);
            let variables = api.variables();
            let of = |name: &str| {
                variables.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
            };
            assert_eq!(of("KUBERNETES_SERVICE_HOST"), Some(host));
            assert_eq!(of("KUBERNETES_SERVICE_PORT"), Some("6443"));
            assert_eq!(of("KUBERNETES_PORT_6443_TCP"), Some(format!("tcp://{address}").as_str()));
        }
    }
}
