//! A local cluster's CA, the identities of its processes, and the kubeconfig.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use kontiki_pki::{Ca, DEFAULT_LIFETIME, Identity, Subject};

use super::plan::Plan;
use crate::cli::access::{KUBECONFIG_FILE, NamedContext};
use crate::cli::run::{ca_dir, controller::write_kubeconfig, enrolment, has_identity, identity_dir};

/// A process's data directory.
pub(super) fn home(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

/// The cluster's CA: the one that is kept, or a new one for a new cluster.
pub(super) fn authority(dir: &Path, known: bool) -> anyhow::Result<Ca> {
    let ca_dir = ca_dir(dir);
    if ca_dir.join("ca.key").exists() {
        return Ca::open(&ca_dir).context("the cluster's CA");
    }
    if known {
        bail!(
            "the CA of this cluster is gone from {}: restore it from any controller's folder ca/",
            ca_dir.display()
        );
    }
    let ca = Ca::create(&format!("local-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]))?;
    ca.store(&ca_dir)?;
    Ok(ca)
}

/// Gives every process of a cluster that has not begun its identity, and every worker at any time. A controller that lacks
/// its own later has lost its disk: it must come back under a new number, which only the cluster can give.
pub(super) fn identities(dir: &Path, plan: &Plan, ca: &Ca) -> anyhow::Result<()> {
    for (id, planned) in (1..).zip(&plan.controllers) {
        let home = home(dir, &planned.name);
        if plan.begun || has_identity(&home) {
            continue;
        }
        ca.store(&ca_dir(&home))?;
        let addresses = vec![planned.address.ip().to_string()];
        if id > 1 {
            let others = plan.controllers.iter().filter(|other| other.name != planned.name);
            enrolment::note(&home, others.map(|other| other.address.to_string()).collect())?;
        }
        issue(ca, &home, Subject::Controller { id, name: planned.name.clone(), addresses })?;
    }
    for planned in &plan.workers {
        let home = home(dir, &planned.name);
        if !has_identity(&home) {
            issue(ca, &home, Subject::Worker { name: planned.name.clone() })?;
        }
    }
    Ok(())
}

fn issue(ca: &Ca, home: &Path, subject: Subject) -> anyhow::Result<()> {
    let pair = ca.issue(&subject, DEFAULT_LIFETIME)?;
    Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?.store(&identity_dir(home))?;
    Ok(())
}

/// Writes the kubeconfig: the shared address first, then one context per controller.
pub(super) fn kubeconfig(dir: &Path, plan: &Plan, ca: &Ca) -> anyhow::Result<()> {
    let front = NamedContext { name: "kontiki".into(), server: plan.front.to_string() };
    let each = plan.controllers.iter().map(|planned| NamedContext {
        name: format!("kontiki-{}", planned.name),
        server: planned.address.to_string(),
    });
    let contexts: Vec<NamedContext> = std::iter::once(front).chain(each).collect();
    write_kubeconfig(&dir.join(KUBECONFIG_FILE), &contexts, ca)
}
