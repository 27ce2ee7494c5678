//! Data directories that are damaged, newer, incomplete or somebody else's: the process refuses to start and says what to do.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use kontiki_chaos_tests::eventually;

use crate::stage::Stage;

/// A stopped cluster of three with something written, and a copy of c2's folder to come back to.
struct Bench {
    stage: Stage,
    home: PathBuf,
    copy: PathBuf,
    names: Vec<String>,
}

impl Bench {
    fn new() -> Bench {
        let stage = Stage::of(3, 0);
        let names: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
        let address = stage.address();
        names.iter().for_each(|name| stage.write(&address, name));
        stage.has_all(&stage.address_of("c2"), &names);
        stage.down().unwrap();
        let (home, copy) = (stage.dir().join("c2"), stage.dir().join("copy"));
        copy_dir(&home, &copy);
        Bench { stage, home, copy, names }
    }

    /// Does harm to c2, starts all, and gives what c2 had to say; the others work.
    fn after(&self, harm: impl FnOnce(&Path)) -> String {
        fs::remove_dir_all(&self.home).unwrap();
        copy_dir(&self.copy, &self.home);
        harm(&self.home);
        let before = self.stage.log("c2").len();
        // It may notice that c2 ends, or be ready with the others before.
        let _ = self.stage.up();
        let said = eventually("c2 refuses to start", || {
            let said = self.stage.log("c2").split_off(before);
            let runs = self.stage.process("c2").and_then(|c2| c2["pid"].as_u64()).is_some_and(|pid| pid > 0);
            if said.contains("ERROR") && !runs { Ok(said) } else { Err(said) }
        });
        self.stage.has_all(&self.stage.address_of("c3"), &self.names);
        self.stage.down().unwrap();
        said
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_dir(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(fs::metadata(from).unwrap().mode())).unwrap();
}

fn newest(dir: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files.pop().unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(file, bytes).unwrap();
}

const WAY_OUT: &str = "move the whole data directory away and let this controller join again";

#[test]
fn a_data_directory_that_cannot_be_trusted_is_refused() {
    let bench = Bench::new();
    let raft = |home: &Path| home.join("raft.db");

    let said = bench.after(|home| {
        let wal = newest(&raft(home), "log");
        flip(&wal, fs::metadata(&wal).unwrap().size() as usize / 2);
    });
    assert!(said.contains("raft.db is corrupt") && said.contains("do not repair it"), "{said}");

    let said = bench.after(|home| fs::remove_dir_all(raft(home)).unwrap());
    assert!(said.contains("raft.db is gone") && said.contains(WAY_OUT), "{said}");

    let said = bench.after(|home| {
        fs::remove_dir_all(raft(home)).unwrap();
        fs::remove_dir_all(home.join("state")).unwrap();
    });
    assert!(said.contains("raft.db is gone") && said.contains(WAY_OUT), "{said}");

    let said = bench.after(|home| fs::remove_file(newest(&raft(home), "log")).unwrap());
    assert!(said.contains("raft.db is gone") && said.contains(WAY_OUT), "{said}");

    let said = bench.after(|home| fs::remove_file(raft(home).join("CURRENT")).unwrap());
    assert!(said.contains("raft.db is gone") && said.contains(WAY_OUT), "{said}");

    let said = bench.after(|home| fs::write(home.join("state/CURRENT"), "nonsense").unwrap());
    assert!(said.contains("state is corrupt") && said.contains("nonsense"), "{said}");

    let said = bench.after(|home| flip(&newest(&home.join("state/state-1"), "sst"), 8));
    assert!(said.contains("state-1 is corrupt") && said.contains("do not repair it"), "{said}");

    // The log of another controller, and the whole folder of another one.
    let c1 = bench.stage.dir().join("c1");
    let said = bench.after(|home| {
        fs::remove_dir_all(raft(home)).unwrap();
        copy_dir(&raft(&c1), &raft(home));
    });
    assert!(
        said.contains("belongs to controller 1 of cluster") && said.contains("its own data directory"),
        "{said}"
    );
    let said = bench.after(|home| {
        fs::remove_dir_all(home).unwrap();
        copy_dir(&c1, home);
    });
    assert!(
        said.contains("belongs to controller c1 (id 1)") && said.contains("another --data-dir"),
        "{said}"
    );
}

#[test]
fn a_torn_last_record_is_no_obstacle() {
    let bench = Bench::new();
    let wal = newest(&bench.home.join("raft.db"), "log");
    let file = fs::OpenOptions::new().write(true).open(&wal).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();
    bench.stage.up().unwrap();
    bench.stage.has_all(&bench.stage.address_of("c2"), &bench.names);
}

#[test]
fn a_lost_directory_is_replaced_by_one_command() {
    let bench = Bench::new();
    fs::remove_dir_all(&bench.home).unwrap();
    bench.stage.up().unwrap();
    let status = bench.stage.settles("three voting controllers", |status| {
        let list = status["controllers"].as_array().unwrap();
        list.len() == 3 && list.iter().all(|c| c["role"] == "leader" || c["role"] == "follower")
    });
    assert!(status["controllers"].as_array().unwrap().iter().any(|c| c["name"] == "c2"), "{status}");
    bench.stage.has_all(&bench.stage.address_of("c2"), &bench.names);
}
