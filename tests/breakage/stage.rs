//! What the scenes share: clusters one after another, and how to speak to them.

use std::{
    future::Future,
    ops::Deref,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard},
};

use http::Method;
use kontiki_chaos_tests::{Client, Cluster, Plan, eventually, example_image, identity};
use kontiki_pki::{Ca, Identity};
use serde_json::{Value, json};

/// One cluster at a time: they measure patience against time.
static TURN: Mutex<()> = Mutex::new(());

/// A cluster whose turn it is.
pub(crate) struct Stage {
    cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Stage {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Stage {
    pub(crate) fn of(controllers: usize, workers: usize) -> Stage {
        Stage::with(controllers, workers, &[])
    }

    pub(crate) fn with(controllers: usize, workers: usize, environment: &[(&str, &str)]) -> Stage {
        kontiki_pki::install_crypto();
        // A scene that failed has cleaned up after itself.
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let image = (workers > 0).then(|| example_image().unwrap());
        let plan = Plan { controllers, workers, image, environment, ..Plan::of(binary()) };
        Stage { cluster: Cluster::start(plan).unwrap(), _turn: turn }
    }

    /// Its administrator's certificate.
    pub(crate) fn admin(&self) -> Identity {
        identity(&self.kubeconfig()).unwrap()
    }

    /// Its CA.
    pub(crate) fn ca(&self) -> Ca {
        Ca::open(&self.dir().join("ca")).unwrap()
    }

    /// The certificate of one of its processes.
    pub(crate) fn identity_of(&self, name: &str) -> Identity {
        Identity::load(&self.dir().join(name).join("identity")).unwrap()
    }

    /// A controller's or worker's own words in the status.
    pub(crate) fn process(&self, name: &str) -> Option<Value> {
        let status = self.status().ok()?;
        let lists =
            ["controllers", "workers"].into_iter().filter_map(|list| status[list].as_array().cloned());
        lists.flatten().find(|process| process["name"] == name)
    }

    pub(crate) fn address_of(&self, name: &str) -> String {
        self.process(name).unwrap()["address"].as_str().unwrap().to_owned()
    }

    /// The addresses of all its controllers, as `--server` takes them.
    pub(crate) fn servers(&self) -> String {
        let status = self.status().unwrap();
        let list = status["controllers"].as_array().unwrap();
        let addresses: Vec<&str> = list.iter().filter_map(|c| c["address"].as_str()).collect();
        addresses.join(",")
    }

    pub(crate) fn token(&self, role: &str, ttl: &str) -> String {
        self.kontiki(&["token", "create", "--role", role, "--ttl", ttl]).unwrap().trim().to_owned()
    }

    /// Waits until a log says this.
    pub(crate) fn logs(&self, name: &str, words: &str) {
        eventually(&format!("the log of {name} says {words:?}"), || {
            let log = self.log(name);
            if log.contains(words) { Ok(()) } else { Err(tail(&log)) }
        });
    }

    /// Waits until one of the controllers leads and the status holds.
    pub(crate) fn settles(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let status = self.status().map_err(|e| format!("{e:#}"))?;
            let list = status["controllers"].as_array().cloned().unwrap_or_default();
            let leads = list.iter().filter(|c| c["role"] == "leader").count() == 1;
            if leads && holds(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Writes a ConfigMap until that is acknowledged.
    pub(crate) fn write(&self, address: &str, name: &str) {
        let admin = self.admin();
        let body = json!({"metadata": {"name": name}, "data": {"text": "x".repeat(1000)}});
        run(async {
            let mut last = String::new();
            for _ in 0..300 {
                match post(&admin, address, &body).await {
                    // A try before this one may have been done although its answer was lost.
                    Ok(201 | 409) => return,
                    Ok(code) => last = format!("{code}"),
                    Err(error) => last = format!("{error:#}"),
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            panic!("{name} was not written: {last}");
        });
    }

    /// The names of the ConfigMaps in the default namespace, read through one controller.
    pub(crate) fn written(&self, address: &str) -> Result<Vec<String>, String> {
        let admin = self.admin();
        run(async {
            let list = async {
                let client = Client::connect(&admin, address).await?;
                client.expect(Method::GET, MAPS, None).await
            };
            let list = list.await.map_err(|error| format!("{error:#}"))?;
            let names = list["items"].as_array().into_iter().flatten();
            Ok(names.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
        })
    }

    /// Waits until everything that was acknowledged is read through this controller.
    pub(crate) fn has_all(&self, address: &str, names: &[String]) {
        eventually(&format!("{address} has everything that was acknowledged"), || {
            let written = self.written(address)?;
            let missing: Vec<&String> = names.iter().filter(|name| !written.contains(name)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("missing {missing:?}")) }
        });
    }
}

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn post(admin: &Identity, address: &str, body: &Value) -> anyhow::Result<u16> {
    let client = Client::connect(admin, address).await?;
    let sent = client.send(Method::POST, MAPS, Some(body));
    Ok(tokio::time::timeout(std::time::Duration::from_secs(10), sent).await??.code)
}

pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_kontiki")
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// Runs the binary to its end; gives whether it succeeded and all that it said.
pub(crate) fn says(args: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(binary()).args(args).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
    (status.success(), text)
}

/// A process that joins from outside of what `up` keeps. Gone when dropped.
pub(crate) struct Guest {
    child: Child,
}

impl Guest {
    pub(crate) fn start(args: &[&str], log: &Path) -> Guest {
        let out = std::fs::File::create(log).unwrap();
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        Guest { child: command.spawn().unwrap() }
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
