//! `kubectl scale` from 0 to 50.

use std::time::Instant;

use kontiki_chaos_tests::{Cluster, eventually};

use super::figures::Figures;

/// The deployment that is scaled.
pub(crate) const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: kontiki.local/web:1
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

fn running(cluster: &Cluster) -> anyhow::Result<usize> {
    let pods = cluster.kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "--field-selector=status.phase=Running",
        "-o",
        "name",
    ])?;
    Ok(pods.lines().count())
}

/// Scales up and down.
pub(crate) fn measure(cluster: &Cluster, n: usize) -> anyhow::Result<()> {
    cluster.apply(&WEB.replace("REPLICAS", "0"))?;
    let mut figures = Figures::default();
    for _ in 0..n {
        let started = Instant::now();
        cluster.kubectl(&["scale", "deployment", "web", "--replicas=50"])?;
        eventually("50 pods running", || match running(cluster) {
            Ok(50) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        figures.add(started.elapsed());
        cluster.kubectl(&["scale", "deployment", "web", "--replicas=0"])?;
        eventually("no pod left", || match cluster.kubectl(&["get", "pods", "-o", "name"]) {
            Ok(pods) if pods.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    figures.print("kubectl scale 0 -> 50, all Running, five workers", "<= 3 s");
    Ok(())
}
