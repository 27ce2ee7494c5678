//! Programs that drive a cluster by a client library, and ask for what no client can do.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use crate::Cluster;

/// What a program's line begins with that asks for something.
const ASKS: &str = "> ";

/// Runs a program on the cluster that `KUBECONFIG` names to it; it must end with status 0.
///
/// A line of its output that begins with `> ` asks for something, and is answered by a line of its input:
///
/// - `leader`: the address of the leading controller's API;
/// - `kill the leader`: kills the leading controller, and answers its name;
/// - `start what is missing`: starts all that was killed.
///
/// All other lines are passed on.
pub fn drive(cluster: &Cluster, mut program: Command) -> anyhow::Result<()> {
    program.env("KUBECONFIG", cluster.kubeconfig()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().with_context(|| format!("starting {program:?}"))?;
    let served = serve(cluster, &mut child);
    if served.is_err() {
        // It waits for an answer that will not come.
        child.kill()?;
    }
    let status = child.wait()?;
    served?;
    if !status.success() {
        bail!("{program:?} failed: {status}");
    }
    Ok(())
}

fn serve(cluster: &Cluster, child: &mut Child) -> anyhow::Result<()> {
    let mut answers = child.stdin.take().context("no input")?;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        match line.strip_prefix(ASKS) {
            Some(request) => {
                writeln!(answers, "{}", answer(cluster, request).with_context(|| line.clone())?)?;
            }
            None => println!("{line}"),
        }
    }
    Ok(())
}

fn answer(cluster: &Cluster, request: &str) -> anyhow::Result<String> {
    match request {
        "leader" => cluster.leader_address(),
        "kill the leader" => {
            let leader = cluster.leader()?;
            cluster.kill(&leader)?;
            Ok(leader)
        }
        "start what is missing" => {
            cluster.up()?;
            Ok("started".to_string())
        }
        _ => bail!("nobody knows how"),
    }
}
