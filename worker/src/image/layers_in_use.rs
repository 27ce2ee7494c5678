//! Layers stay while somebody needs them, whoever else comes, goes or dies meanwhile.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::ImageError;
use super::layered_as_flat::{keep, manifest};
use super::overlay;
use super::root::FILES;
use super::store::Store;
use super::usage::Hold;

/// Names the store to the process that is to be killed.
const KILLED: &str = "KONTIKI_TEST_KILLED_STORE";

fn store(dir: &Path) -> Option<Store> {
    let store = Store::open(dir).unwrap();
    if !store.has_layers().unwrap() {
        eprintln!("skipped: no layers can be mounted here");
        return None;
    }
    Some(store)
}

fn layer(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, name.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

fn layers_of(store: &Store) -> usize {
    std::fs::read_dir(store.layers().dir()).unwrap().count()
}

/// As if nobody had used any layer for long.
fn clear(store: &Store) {
    let _lock = store.lock().unwrap();
    store.clear_leftovers(Duration::ZERO).unwrap();
}

#[test]
fn many_who_unpack_one_layer_at_a_time_have_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(first) = store(&dir.path().join("images")) else { return };
    let second = Store::open(dir.path().join("images")).unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let store = if number % 2 == 0 { &first } else { &second };
            let packed = dir.path().join(number.to_string());
            std::fs::create_dir(&packed).unwrap();
            scope.spawn(move || {
                let own = format!("own-{number}");
                let image = keep(store, manifest(&packed, &[layer("base"), layer("both"), layer(&own)]));
                let root = store.root(&image.unwrap());
                assert!(["base", "both", &own].iter().all(|name| root.find(Path::new(name)).is_some()));
                clear(store);
            });
        }
    });
    assert_eq!((first.list().len(), layers_of(&first)), (4, 2 + 4));
    assert_eq!(first.prune(true).unwrap().images.len(), 4);
    assert_eq!(layers_of(&first), 0);
}

#[test]
fn the_layers_of_a_load_that_goes_on_stay() {
    let dir = tempfile::tempdir().unwrap();
    let Some(store) = store(&dir.path().join("images")) else { return };
    let first = keep(&store, manifest(dir.path(), &[layer("base")])).unwrap();
    let next = manifest(dir.path(), &[layer("base"), layer("own")]);
    let loading = store.begin().unwrap();
    let reserved = store.reserve(&loading, &next.digest, &next.config.rootfs.diff_ids).unwrap();
    assert_eq!((reserved.has(0), reserved.has(1)), (true, false));
    assert!(store.remove(&first.digest).unwrap());
    clear(&store);
    assert!(reserved.has(0), "what it counts on is there");
    drop(loading);
    clear(&store);
    assert_eq!(layers_of(&store), 0);
}

#[test]
fn the_layers_of_a_container_stay_also_if_the_index_loses_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let Some(first) = store(&images) else { return };
    let image = keep(&first, manifest(dir.path(), &[layer("base"), layer("own")])).unwrap();
    let hold = Hold::of(&first.root(&image)).unwrap();
    std::fs::remove_file(images.join("layered/index.json")).unwrap();
    let second = Store::open(&images).unwrap();
    clear(&second);
    assert_eq!((second.list(), layers_of(&second)), (Vec::new(), 2));
    drop(hold);
    clear(&Store::open(&images).unwrap());
    assert_eq!(layers_of(&second), 0);
}

#[test]
fn a_process_that_is_killed_while_it_unpacks_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let Some(first) = store(&images) else { return };
    let image = keep(&first, manifest(dir.path(), &[layer("base")])).unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "image::layers_in_use::unpacks_until_it_is_killed", "--ignored", "--nocapture"])
        .env(KILLED, &images)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(killed.stdout.take().unwrap()).lines().map(Result::unwrap);
    let place = said.into_iter().find_map(|line| Some(line.split_once("unpacks to ")?.1.to_owned()));
    let place = PathBuf::from(place.unwrap());
    assert!(place.join(FILES).join("half").exists());
    Store::open(&images).unwrap();
    assert!(place.exists(), "it lives");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let second = Store::open(&images).unwrap();
    assert!(!place.exists());
    assert_eq!((second.list(), layers_of(&second)), (vec![image], 1));
}

/// Not a test: what the one above kills.
#[test]
#[ignore = "it never ends"]
fn unpacks_until_it_is_killed() {
    let Some(images) = std::env::var_os(KILLED) else { return };
    // Also if the test fails before that.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let store = Store::open(images).unwrap();
    let below = store.list().remove(0).chain;
    let loading = store.begin().unwrap();
    let new = loading.dir().join("layer");
    std::fs::create_dir_all(new.join(FILES)).unwrap();
    let place = Path::new("../..").join(loading.name()).join("layer");
    let never = |merged: &Path| -> Result<(), ImageError> {
        std::fs::write(merged.join("half"), b"half").unwrap();
        std::fs::remove_file(merged.join("base")).unwrap();
        println!("unpacks to {}", new.display());
        loop {
            std::thread::park();
        }
    };
    overlay::upon(store.layers().dir(), &below, &place, never).unwrap()
}
