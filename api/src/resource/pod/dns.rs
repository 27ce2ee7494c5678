//! Checks of what a pod says about names: its resolver's configuration and its hosts file.

use std::net::IpAddr;

use serde_json::Value;

use crate::resource::{
    field::Errors,
    fields::{items, text},
    names::NameRule,
};

const NAME_SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;
const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn validate(spec: &Value, path: &str, errors: &mut Errors) {
    for (index, alias) in items(spec, "hostAliases") {
        let path = format!("{path}.hostAliases[{index}]");
        address(text(alias, "ip"), &format!("{path}.ip"), errors);
        for name in items(alias, "hostnames").filter_map(|(_, name)| name.as_str()) {
            for wrong in NameRule::Subdomain.check(name) {
                errors.invalid_text(&format!("{path}.hostnames"), name, &wrong);
            }
        }
    }
    let config = &spec["dnsConfig"];
    let path = format!("{path}.dnsConfig");
    let servers = items(config, "nameservers").count();
    if text(spec, "dnsPolicy") == "None" {
        if !config.is_object() {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers == 0 {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&format!("{path}.nameservers"), detail);
        }
    }
    if servers > NAME_SERVERS_MAX {
        let detail = "must not have more than 3 nameservers";
        errors.invalid(&format!("{path}.nameservers"), &config["nameservers"], detail);
    }
    for (index, server) in items(config, "nameservers") {
        address(server.as_str().unwrap_or_default(), &format!("{path}.nameservers[{index}]"), errors);
    }
    let searches: Vec<&str> = items(config, "searches").filter_map(|(_, search)| search.as_str()).collect();
    if searches.len() > SEARCHES_MAX {
        let detail = "must not have more than 32 search paths";
        errors.invalid(&format!("{path}.searches"), &config["searches"], detail);
    }
    if searches.join(" ").len() > SEARCH_BYTES_MAX {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&format!("{path}.searches"), &config["searches"], detail);
    }
    for (index, search) in searches.iter().enumerate() {
        if *search == "." {
            continue;
        }
        for wrong in NameRule::Subdomain.check(search.strip_suffix('.').unwrap_or(search)) {
            errors.invalid_text(&format!("{path}.searches[{index}]"), search, &wrong);
        }
    }
    for (index, option) in items(config, "options") {
        if text(option, "name").is_empty() {
            errors.required(&format!("{path}.options[{index}]"), "must not be empty");
        }
    }
}

fn address(text: &str, path: &str, errors: &mut Errors) {
    if text.parse::<IpAddr>().is_err() {
        errors.invalid_text(path, text, ADDRESS);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        let mut errors = Errors::default();
        validate(&spec, "spec", &mut errors);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn what_kubernetes_takes_is_taken() {
        let config = json!({
            "nameservers": ["1.1.1.1", "::1"], "searches": ["a.example.", ".", "b"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        });
        let aliases = json!([{"ip": "127.0.0.1", "hostnames": ["foo.local"]}]);
        assert_eq!(wrong(json!({"dnsPolicy": "None", "dnsConfig": config, "hostAliases": aliases})), [""; 0]);
    }

    #[test]
    fn what_no_resolver_would_read_is_refused() {
        let told = wrong(json!({
            "dnsConfig": {
                "nameservers": ["1.1.1.1", "1.1.1.1", "1.1.1.1", "dns.example\noptions x"], "searches": ["a b"],
                "options": [{"value": "1"}],
            },
            "hostAliases": [{"ip": "localhost", "hostnames": ["a\n1.2.3.4 b"]}],
        }));
        let fields: Vec<&str> = told.iter().filter_map(|line| line.split(": ").next()).collect();
        assert_eq!(
            fields,
            [
                "spec.hostAliases[0].ip",
                "spec.hostAliases[0].hostnames",
                "spec.dnsConfig.nameservers",
                "spec.dnsConfig.nameservers[3]",
                "spec.dnsConfig.searches[0]",
                "spec.dnsConfig.options[0]",
            ],
            "{told:?}"
        );
        let many: Vec<&str> = vec!["a"; 33];
        assert!(wrong(json!({"dnsConfig": {"searches": many}}))[0].ends_with("more than 32 search paths"));
        let long: Vec<String> = (0..30).map(|_| "a.".repeat(40) + "a").collect();
        assert!(
            wrong(json!({"dnsConfig": {"searches": long}}))[0]
                .contains("must not have more than 2048 characters (including spaces)")
        );
    }

    #[test]
    fn who_brings_a_resolver_of_his_own_must_bring_one() {
        assert_eq!(
            wrong(json!({"dnsPolicy": "None"})),
            ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]
        );
        assert_eq!(
            wrong(json!({"dnsPolicy": "None", "dnsConfig": {"searches": ["a"]}})),
            [
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"
            ]
        );
    }
}
