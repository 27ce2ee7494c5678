//! What a local cluster consists of, kept in `cluster.json` so that the next `up` goes on with the same.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const FILE: &str = "cluster.json";
/// Ports are looked for from the front port on, so that they lie outside the range that the kernel gives to clients.
const PORTS_TRIED: u16 = 2000;
/// More than this on one machine is a typing error.
const CONTROLLERS_MAX: u16 = 9;
const WORKERS_MAX: u16 = 100;

/// A local cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Plan {
    format: u32,
    pub(super) cluster_id: String,
    /// The address that all controllers share, so that a killed one does not take kubectl's address with it.
    pub(super) front: SocketAddr,
    /// The consensus has begun: from now on new controllers join it and none begins another.
    pub(super) begun: bool,
    pub(super) controllers: Vec<Planned>,
    pub(super) workers: Vec<Planned>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) address: SocketAddr,
}

/// What was asked for; what was not, is as it was or the default.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) controllers: Option<u16>,
    pub(super) workers: Option<u16>,
    pub(super) zones: Option<u16>,
    pub(super) port: Option<u16>,
}

impl Plan {
    /// The plan that a data directory holds.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Option<Plan>> {
        let file = path(dir);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let plan: Plan =
            serde_json::from_str(&text).map_err(|e| anyhow!("{} is damaged: {e}", file.display()))?;
        if plan.format != FORMAT {
            bail!(
                "{} has format {}, and this build knows {FORMAT}: use the build that wrote it",
                file.display(),
                plan.format
            );
        }
        Ok(Some(plan))
    }

    /// Writes the plan, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (file, new) = (path(dir), dir.join("cluster.json.new"));
        let failed = || format!("cannot write {}", file.display());
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(failed)?;
        fs::File::open(&new).and_then(|f| f.sync_all()).with_context(failed)?;
        fs::rename(&new, &file).with_context(failed)
    }

    /// The plan for what is wanted: the known processes stay as they are, missing ones are added.
    pub(super) fn make(known: Option<Plan>, wanted: Wanted, cluster_id: &str) -> anyhow::Result<Plan> {
        let mut plan = match known {
            Some(plan) => plan,
            None => {
                let port = wanted.port.unwrap_or(DEFAULT_PORT);
                let front = if port == 0 { free_port(0, &[])? } else { port };
                Plan {
                    format: FORMAT,
                    cluster_id: cluster_id.to_owned(),
                    front: local(front),
                    begun: false,
                    controllers: Vec::new(),
                    workers: Vec::new(),
                }
            }
        };
        if let Some(port) = wanted.port.filter(|port| *port != 0 && *port != plan.front.port()) {
            bail!(
                "this cluster's port is {}, not {port}: leave --port out, or begin another cluster with --data-dir",
                plan.front.port()
            );
        }
        let controllers = count("controllers", wanted.controllers, plan.controllers.len(), CONTROLLERS_MAX)?;
        let workers = count("workers", wanted.workers, plan.workers.len(), WORKERS_MAX)?;
        let zones = wanted.zones.unwrap_or(3).clamp(1, 26);
        for number in plan.controllers.len()..controllers {
            let planned = plan.next("c", number, zones, plan.front.port().saturating_add(1))?;
            plan.controllers.push(planned);
        }
        for number in plan.workers.len()..workers {
            let planned = plan.next("w", number, zones, plan.front.port().saturating_add(101))?;
            plan.workers.push(planned);
        }
        Ok(plan)
    }

    fn next(&self, prefix: &str, number: usize, zones: u16, first_port: u16) -> anyhow::Result<Planned> {
        let taken: Vec<u16> = self.processes().map(|p| p.address.port()).chain([self.front.port()]).collect();
        let zone = char::from(b'a' + u8::try_from(number % usize::from(zones))?);
        Ok(Planned {
            name: format!("{prefix}{}", number + 1),
            zone: zone.to_string(),
            address: local(free_port(first_port, &taken)?),
        })
    }

    /// The part of the plan with these processes.
    pub(super) fn only(&self, names: &[&str]) -> Plan {
        let mut part = self.clone();
        part.controllers.retain(|planned| names.contains(&planned.name.as_str()));
        part.workers.retain(|planned| names.contains(&planned.name.as_str()));
        part
    }

    /// Every process of the plan.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Planned> {
        self.controllers.iter().chain(&self.workers)
    }
}

/// Kubernetes' own.
pub(super) const DEFAULT_PORT: u16 = 6443;

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn count(what: &str, wanted: Option<u16>, known: usize, max: u16) -> anyhow::Result<usize> {
    let wanted = match wanted {
        Some(wanted) => usize::from(wanted),
        None if known > 0 => known,
        None => 3,
    };
    if wanted > usize::from(max) {
        bail!("{wanted} {what} are too many for one machine: at most {max}");
    }
    if wanted < known {
        bail!(
            "this cluster has {known} {what}: `up` does not take any away (kontiki members remove, kubectl drain and delete node)"
        );
    }
    if what == "controllers" && wanted == 0 {
        bail!("a cluster has at least one controller");
    }
    Ok(wanted)
}

/// Whether nobody listens there.
pub(super) fn is_free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// A free port from `first` on; with 0 from anywhere below the kernel's range, so that no client of some other program
/// can sit on it when the cluster is started again.
fn free_port(first: u16, taken: &[u16]) -> anyhow::Result<u16> {
    let anywhere = || 20_000 + u16::try_from(std::process::id() % 50).unwrap_or(0) * 250;
    let first = if first == 0 { anywhere() } else { first };
    let last = first.saturating_add(PORTS_TRIED);
    let found = (first..last).find(|port| !taken.contains(port) && is_free(local(*port)).is_ok());
    found.ok_or_else(|| anyhow!("no port from {first} to {last} is free"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(controllers: u16, workers: u16) -> Wanted {
        Wanted { controllers: Some(controllers), workers: Some(workers), zones: None, port: Some(0) }
    }

    #[test]
    fn zones_go_round_and_ports_differ() {
        let plan = Plan::make(None, wanted(3, 4), "x").unwrap();
        let names: Vec<String> = plan.processes().map(|p| format!("{}/{}", p.name, p.zone)).collect();
        assert_eq!(names, ["c1/a", "c2/b", "c3/c", "w1/a", "w2/b", "w3/c", "w4/a"]);
        let mut ports: Vec<u16> =
            plan.processes().map(|p| p.address.port()).chain([plan.front.port()]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn a_known_cluster_stays_as_it_is_and_grows() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::make(None, wanted(1, 1), "x").unwrap();
        plan.write(dir.path()).unwrap();
        let known = Plan::read(dir.path()).unwrap();
        assert_eq!(known.as_ref(), Some(&plan));
        assert_eq!(Plan::make(known.clone(), Wanted::default(), "y").unwrap(), plan);
        let grown = Plan::make(known.clone(), wanted(1, 2), "x").unwrap();
        assert_eq!((&grown.workers[0], grown.workers.len()), (&plan.workers[0], 2));
        let error = Plan::make(known.clone(), wanted(1, 0), "x").unwrap_err().to_string();
        assert!(error.contains("has 1 workers"), "{error}");
        let other = Wanted { port: Some(plan.front.port() ^ 1), ..Wanted::default() };
        assert!(Plan::make(known, other, "x").unwrap_err().to_string().contains("port"));
    }

    #[test]
    fn nothing_and_nonsense_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Plan::read(dir.path()).unwrap(), None);
        fs::write(path(dir.path()), "{").unwrap();
        assert!(Plan::read(dir.path()).unwrap_err().to_string().contains("is damaged"));
    }
}
