//! How a pod's processes find names: its host name, its hosts file and its resolver's configuration, as Kubernetes' node agent
//! writes them.

use super::document::{DnsConfig, Pod};

/// What the machine's operator says about names in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNames {
    /// Who answers for names of the cluster; nobody, if it has no such service.
    pub servers: Vec<String>,
    /// What names of the cluster end with, such as `cluster.local`.
    pub domain: String,
}

/// The kernel's bound for host names.
const HOST_NAME_MAX: usize = 64;
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

const HOSTS: &str = "\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The host name that its containers see: with its domain, if the pod wants that.
pub(super) fn host_name(pod: &Pod, cluster: &ClusterNames) -> Result<String, String> {
    let name = pod.hostname();
    let Some(domain) = domain(pod, cluster).filter(|_| pod.spec.set_hostname_as_fqdn) else {
        return Ok(name.to_owned());
    };
    let full = format!("{name}.{domain}");
    if full.len() > HOST_NAME_MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({HOST_NAME_MAX} \
             characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

fn domain(pod: &Pod, cluster: &ClusterNames) -> Option<String> {
    let subdomain = pod.spec.subdomain.as_str();
    let parts = [subdomain, &pod.metadata.namespace, "svc", &cluster.domain];
    (!subdomain.is_empty())
        .then(|| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("."))
}

/// The hosts file, given the machine's, which pods in the machine's network see.
pub(super) fn hosts(pod: &Pod, machine: &str, cluster: &ClusterNames) -> String {
    let mut text = if pod.spec.host_network {
        format!("# Kubernetes-managed hosts file (host network).\n{}\n", machine.trim_end_matches('\n'))
    } else {
        let name = pod.hostname();
        let full = domain(pod, cluster).map(|domain| format!("{name}.{domain}\t")).unwrap_or_default();
        // It has no address but its loopback's.
        format!("{HOSTS}127.0.0.1\t{full}{name}\n")
    };
    let mut aliases = pod.spec.host_aliases.iter().filter(|alias| is_word(&alias.ip)).peekable();
    if aliases.peek().is_some() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names: Vec<&str> = words(&alias.hostnames).collect();
        text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    text
}

/// The resolver's configuration, given the machine's; and what of it had to be left out.
pub(super) fn resolver(pod: &Pod, machine: &str, cluster: &ClusterNames) -> (String, Vec<String>) {
    let of_machine = Resolver::parse(machine);
    let of_cluster = match pod.spec.dns_policy.as_str() {
        "ClusterFirst" | "" => !pod.spec.host_network,
        policy => policy == "ClusterFirstWithHostNet",
    };
    let mut resolver = if pod.spec.dns_policy == "None" {
        Resolver::default()
    } else if of_cluster && !cluster.servers.is_empty() {
        Resolver::of_cluster(pod, cluster, of_machine)
    } else {
        of_machine
    };
    resolver.add(&pod.spec.dns_config);
    let left_out = resolver.fit();
    (resolver.to_string(), left_out)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let rest = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => resolver.servers.extend(rest.take(1)),
                // The last one counts.
                Some("search" | "domain") => resolver.searches = rest.collect(),
                Some("options") => resolver.options.extend(rest),
                _ => {}
            }
        }
        resolver
    }

    fn of_cluster(pod: &Pod, cluster: &ClusterNames, machine: Resolver) -> Resolver {
        let domain = &cluster.domain;
        let own =
            [format!("{}.svc.{domain}", pod.metadata.namespace), format!("svc.{domain}"), domain.clone()];
        let mut searches = Vec::new();
        add_new(&mut searches, own.into_iter().chain(machine.searches));
        Resolver { servers: cluster.servers.clone(), searches, options: vec!["ndots:5".to_owned()] }
    }

    fn add(&mut self, config: &DnsConfig) {
        add_new(&mut self.servers, words(&config.nameservers).map(str::to_owned));
        add_new(&mut self.searches, words(&config.searches).map(str::to_owned));
        for option in config.options.iter().filter(|option| is_word(&option.name)) {
            let written = match option.value.as_deref() {
                Some(value) if is_word(value) => format!("{}:{value}", option.name),
                _ => option.name.clone(),
            };
            let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
            match self.options.iter_mut().find(|known| name(known) == option.name) {
                Some(known) => *known = written,
                None => self.options.push(written),
            }
        }
    }

    fn fit(&mut self) -> Vec<String> {
        let mut left_out = Vec::new();
        if self.servers.len() > SERVERS_MAX {
            self.servers.truncate(SERVERS_MAX);
            left_out.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                self.servers.join(" ")
            ));
        }
        let all = self.searches.len();
        self.searches.truncate(SEARCHES_MAX);
        while self.searches.join(" ").len() > SEARCH_BYTES_MAX {
            self.searches.pop();
        }
        if self.searches.len() < all {
            left_out.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                self.searches.join(" ")
            ));
        }
        left_out
    }
}

impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

fn add_new(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// What can stand in these files without becoming something else there. The API refuses the rest, but what is stored may be
/// older.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#')
}

fn words(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str).filter(|text| is_word(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(spec: &str) -> Pod {
        let json = format!(r#"{{"metadata":{{"name":"web-0","namespace":"shop"}},"spec":{{{spec}}}}}"#);
        Pod::parse(json.as_bytes()).unwrap()
    }

    fn cluster(servers: &[&str]) -> ClusterNames {
        let servers = servers.iter().map(|it| (*it).to_owned()).collect();
        ClusterNames { servers, domain: "cluster.local".to_owned() }
    }

    const MACHINE: &str = "# a comment\nnameserver 10.0.0.1\nsearch old.example\nnameserver 10.0.0.2\nsearch lan.example\noptions edns0\n";

    fn resolved(spec: &str, servers: &[&str]) -> String {
        resolver(&pod(spec), MACHINE, &cluster(servers)).0
    }

    #[test]
    fn each_policy_asks_whom_it_is_to_ask() {
        let machine = "search lan.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions edns0\n";
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local lan.example\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        const DNS: &[&str] = &["10.96.0.10"];
        assert_eq!(resolved(r#""dnsPolicy":"Default""#, DNS), machine);
        assert_eq!(resolved(r#""dnsPolicy":"ClusterFirst""#, DNS), cluster);
        assert_eq!(resolved(r#""dnsPolicy":"ClusterFirst""#, &[]), machine, "a cluster without the service");
        assert_eq!(resolved(r#""dnsPolicy":"ClusterFirst","hostNetwork":true"#, DNS), machine);
        assert_eq!(resolved(r#""dnsPolicy":"ClusterFirstWithHostNet","hostNetwork":true"#, DNS), cluster);
        let own = r#""dnsPolicy":"None","dnsConfig":{"nameservers":["1.1.1.1"]}"#;
        assert_eq!(resolved(own, DNS), "nameserver 1.1.1.1\n");
    }

    #[test]
    fn what_the_pod_says_is_joined_with_that() {
        let config = r#""dnsConfig":{"nameservers":["10.96.0.10","1.1.1.1"],"searches":["a.example","lan.example"],
            "options":[{"name":"ndots","value":"2"},{"name":"edns0"}]}"#;
        assert_eq!(
            resolved(config, &["10.96.0.10"]),
            "search shop.svc.cluster.local svc.cluster.local cluster.local lan.example a.example\n\
             nameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_told() {
        let searches: Vec<String> = (0..40).map(|n| format!("\"{n}.{}\"", "x".repeat(60))).collect();
        let config = format!(
            r#""dnsConfig":{{"nameservers":["1.1.1.1","1.1.1.2"],"searches":[{}]}}"#,
            searches.join(",")
        );
        let (text, told) = resolver(&pod(&config), MACHINE, &cluster(&[]));
        assert_eq!(text.matches("nameserver").count(), 3);
        let search = text.lines().next().unwrap().strip_prefix("search ").unwrap();
        assert!(search.len() <= SEARCH_BYTES_MAX && search.split(' ').count() <= SEARCHES_MAX);
        assert!(told[0].ends_with("the applied nameserver line is: 10.0.0.1 10.0.0.2 1.1.1.1"), "{told:?}");
        assert!(told[1].starts_with("Search Line limits were exceeded"), "{told:?}");
    }

    #[test]
    fn nothing_becomes_a_line_of_its_own() {
        let config = r#""dnsConfig":{"nameservers":["1.1.1.1\nnameserver 6.6.6.6"],"searches":["a\noptions x"],
            "options":[{"name":"x y"},{"name":"z","value":"1\n2"}]},"hostAliases":[{"ip":"1.2.3.4\n6.6.6.6 evil","hostnames":["a"]},
            {"ip":"1.2.3.4","hostnames":["a\n6.6.6.6","b#c","d"]}]"#;
        let pod = pod(config);
        let (text, _) = resolver(&pod, "", &cluster(&[]));
        assert_eq!(text, "options z\n");
        assert!(hosts(&pod, "", &cluster(&[])).ends_with("\n# Entries added by HostAliases.\n1.2.3.4\td\n"));
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let aliases = r#""hostAliases":[{"ip":"1.2.3.4","hostnames":["a.example","a"]}]"#;
        let tail = "\n# Entries added by HostAliases.\n1.2.3.4\ta.example\ta\n";
        assert_eq!(hosts(&pod(""), "x", &cluster(&[])), format!("{HOSTS}127.0.0.1\tweb-0\n"));
        let named = pod(&format!(r#""hostname":"db","subdomain":"data",{aliases}"#));
        let expected = format!("{HOSTS}127.0.0.1\tdb.data.shop.svc.cluster.local\tdb\n{tail}");
        assert_eq!(hosts(&named, "x", &cluster(&[])), expected);
        let shared = pod(&format!(r#""hostNetwork":true,{aliases}"#));
        let expected =
            format!("# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n{tail}");
        assert_eq!(hosts(&shared, "127.0.0.1 localhost\n", &cluster(&[])), expected);
    }

    #[test]
    fn the_host_name_has_its_domain_where_that_is_wanted() {
        let name = |spec: &str| host_name(&pod(spec), &cluster(&[]));
        assert_eq!(name(r#""subdomain":"data""#).as_deref(), Ok("web-0"));
        assert_eq!(name(r#""setHostnameAsFQDN":true"#).as_deref(), Ok("web-0"));
        let full = r#""subdomain":"data","setHostnameAsFQDN":true"#;
        assert_eq!(name(full).as_deref(), Ok("web-0.data.shop.svc.cluster.local"));
        let long = format!(r#""hostname":"{}",{full}"#, "h".repeat(40));
        assert!(
            name(&long)
                .unwrap_err()
                .contains("is too long (64 characters is the max, 68 characters requested)")
        );
    }
}
