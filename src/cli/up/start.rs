//! Starting what is missing.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::bail;
use kontiki_proto::cluster::{CreateTokenRequest, Role};

use super::plan::{Plan, Planned};
use super::process;
use super::trust::home;
use crate::cli::access::Access;
use crate::cli::image::IMAGES;
use crate::cli::run::has_identity;

/// The processes that this `up` has started.
#[derive(Debug, Default)]
pub(super) struct Started {
    pub(super) children: BTreeMap<String, Child>,
    found: usize,
}

impl Started {
    fn start(&mut self, dir: &Path, name: &str, args: &[String]) -> anyhow::Result<()> {
        let child = process::spawn(dir, name, args)?;
        self.children.insert(name.to_owned(), child);
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.children.keys().map(String::as_str).collect()
    }

    /// What was done, for people.
    pub(super) fn words(&self) -> String {
        match (self.children.len(), self.found) {
            (0, found) => format!("all {found} processes run already"),
            (_, 0) => format!("started {}", self.names().join(", ")),
            (_, found) => format!("started {} ({found} run already)", self.names().join(", ")),
        }
    }
}

/// How long the port of a killed process may stay in use.
const LINGER: Duration = Duration::from_secs(2);

/// The shared address must be this cluster's own: two clusters that share it would mix their clients.
pub(super) fn check_front(dir: &Path, plan: &Plan) -> anyhow::Result<()> {
    if plan.controllers.iter().any(|planned| process::running(dir, &planned.name).is_some()) {
        return Ok(());
    }
    check_free(plan, &Planned { name: "the cluster".into(), zone: String::new(), address: plan.front })
}

/// Waits for a port that is in use: a process that was killed just now holds it until the kernel has taken it apart.
fn freed(address: SocketAddr) -> std::io::Result<()> {
    let started = Instant::now();
    loop {
        match super::plan::is_free(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && started.elapsed() < LINGER => {
                std::thread::sleep(LINGER / 100);
            }
            known => return known,
        }
    }
}

fn check_free(plan: &Plan, planned: &Planned) -> anyhow::Result<()> {
    let Err(error) = freed(planned.address) else { return Ok(()) };
    let port = planned.address.port();
    match error.kind() {
        ErrorKind::AddrInUse if planned.address == plan.front => bail!(
            "port {port} for {} is in use by another process: stop that one (`ss -ltnp 'sport = :{port}'` names it), \
             or begin another cluster with --port and --data-dir",
            planned.name
        ),
        ErrorKind::AddrInUse => bail!(
            "port {port} of {} is in use by another process: stop that one (`ss -ltnp 'sport = :{port}'` names it)",
            planned.name
        ),
        _ => bail!("cannot listen on {} for {}: {error}", planned.address, planned.name),
    }
}

/// Starts the controllers that have an identity and do not run.
pub(super) fn controllers(dir: &Path, plan: &Plan, started: &mut Started) -> anyhow::Result<()> {
    for (index, planned) in plan.controllers.iter().enumerate() {
        if process::running(dir, &planned.name).is_some() {
            started.found += 1;
            continue;
        }
        if !has_identity(&home(dir, &planned.name)) {
            continue;
        }
        check_free(plan, planned)?;
        let mut args = controller_args(dir, plan, planned);
        // Only once in a cluster's life: a first controller that lost its disk must not begin another one.
        if index == 0 && !plan.begun {
            args.push("--bootstrap".into());
        }
        started.start(dir, &planned.name, &args)?;
    }
    Ok(())
}

/// Starts the controllers that have no identity in a cluster that has begun: new ones, and ones that lost their disk.
pub(super) async fn lost_controllers(
    dir: &Path,
    plan: &Plan,
    access: &Access,
    started: &mut Started,
) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for planned in &plan.controllers {
        if has_identity(&home(dir, &planned.name)) || process::running(dir, &planned.name).is_some() {
            continue;
        }
        check_free(plan, planned)?;
        let request = CreateTokenRequest { role: Role::Controller.into(), ttl_seconds: 600 };
        let token = access.call(|mut client| async move { client.create_token(request).await }).await?.token;
        let others = plan.controllers.iter().filter(|other| other.name != planned.name);
        let servers: Vec<String> = others.map(|other| other.address.to_string()).collect();
        let mut args = controller_args(dir, plan, planned);
        args.extend(["--join", &token, "--replace", "--server", &servers.join(",")].map(String::from));
        started.start(dir, &planned.name, &args)?;
        names.push(planned.name.clone());
    }
    Ok(names)
}

fn controller_args(dir: &Path, plan: &Plan, planned: &Planned) -> Vec<String> {
    let address = planned.address.to_string();
    let mut args = vec!["controller".to_owned(), "run".to_owned()];
    let mut flag = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    flag("--name", &planned.name);
    flag("--zone", &planned.zone);
    flag("--data-dir", &home(dir, &planned.name).to_string_lossy());
    flag("--listen", &address);
    flag("--advertise", &address);
    flag("--shared-listen", &plan.front.to_string());
    args
}

/// Starts the workers that do not run; a daemon may run their containers.
pub(super) fn workers(
    dir: &Path,
    plan: &Plan,
    daemon: Option<&str>,
    started: &mut Started,
) -> anyhow::Result<()> {
    let servers: Vec<String> = plan.controllers.iter().map(|planned| planned.address.to_string()).collect();
    for planned in &plan.workers {
        if process::running(dir, &planned.name).is_some() {
            started.found += 1;
            continue;
        }
        check_free(plan, planned)?;
        let mut args = vec!["worker".to_owned(), "run".to_owned()];
        let mut flag = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        flag("--name", &planned.name);
        flag("--zone", &planned.zone);
        flag("--data-dir", &home(dir, &planned.name).to_string_lossy());
        match daemon {
            Some(daemon) => flag("--runtime", daemon),
            None => flag("--images", &dir.join(IMAGES).to_string_lossy()),
        }
        flag("--listen", &planned.address.to_string());
        flag("--server", &servers.join(","));
        started.start(dir, &planned.name, &args)?;
    }
    Ok(())
}
