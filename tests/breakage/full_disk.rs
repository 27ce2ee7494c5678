//! A disk that fills up, for real: a controller's data on a small file system. Mounting needs root; without it there is nothing to try.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use kontiki_chaos_tests::eventually;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

use crate::stage::Stage;

/// A small file system in place of a controller's folder; gone with it.
struct Small {
    home: PathBuf,
}

impl Small {
    fn mount(home: &Path) -> Option<Small> {
        let aside = home.with_extension("aside");
        fs::rename(home, &aside).unwrap();
        fs::create_dir(home).unwrap();
        if let Err(error) = mount("kontiki", home, "tmpfs", MountFlags::empty(), Some(c"size=200m,mode=700"))
        {
            eprintln!("skipped: no file system can be mounted here ({error})");
            fs::remove_dir(home).unwrap();
            fs::rename(&aside, home).unwrap();
            return None;
        }
        let small = Small { home: home.to_owned() };
        let copied = std::process::Command::new("cp").args(["-a", "-T"]).arg(&aside).arg(home).status();
        assert!(copied.unwrap().success());
        Some(small)
    }

    fn filler(&self) -> PathBuf {
        self.home.join("filler")
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        let block = vec![1_u8; 1 << 20];
        while file.write_all(&block).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Detached: whoever still writes there does not keep it.
        let _ = unmount(&self.home, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_costs_the_leadership_and_nothing_else() {
    let stage = Stage::of(3, 0);
    stage.down().unwrap();
    let Some(small) = Small::mount(&stage.dir().join("c1")) else { return };
    stage.up().unwrap();
    let addresses = ["c1", "c2", "c3"].map(|name| stage.address_of(name));
    let mut names = Vec::new();
    let mut write = |address: &str, name: String| {
        stage.write(address, &name);
        names.push(name);
    };
    for scene in ["leader", "follower"] {
        let led_by = if scene == "leader" { "c1" } else { "c2" };
        eventually("the leadership goes where it is wanted", || {
            let _ = stage.kontiki(&["members", "transfer-leader", led_by]);
            match stage.leader() {
                Ok(leader) if leader == led_by => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        write(&addresses[0], format!("{scene}-before"));
        small.fill();
        for n in 0..10 {
            write(&addresses[1 + n % 2], format!("{scene}-full-{n}"));
        }
        stage.logs("c1", "the disk is full: this controller stores nothing more");
        // Whoever is asked says so.
        stage.settles("another one leads, and the trouble is told", |status| {
            let mut told = status["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut controllers = status["controllers"].as_array().into_iter().flatten();
            told.any(|words| words.contains("the disk of controller c1"))
                && controllers.any(|c| c["role"] == "leader" && c["name"] != "c1")
        });
        small.free();
        // It takes part again, with everything.
        write(&addresses[1], format!("{scene}-after"));
        stage.settles("c1 caught up", |status| {
            let c1 = status["controllers"]
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["name"] == "c1")
                .cloned()
                .unwrap();
            c1["role"] == "follower" && c1["lag"] == 0
        });
    }
    stage.logs("c1", "giving the leadership away");
    stage.logs("c1", "there is room on the disk again");
    for address in &addresses {
        stage.has_all(address, &names);
    }
    // And it may lead again, alone with what it holds.
    eventually("c1 leads again", || {
        let _ = stage.kontiki(&["members", "transfer-leader", "c1"]);
        match stage.leader() {
            Ok(leader) if leader == "c1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    stage.down().unwrap();
    drop(small);
}
