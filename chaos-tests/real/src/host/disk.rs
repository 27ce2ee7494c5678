//! A host's own disk: a small ext4 in a file. So it can be full, frozen, or lose its power without any other host noticing.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::ground::command;

/// Sparse: it costs what is written. Controllers keep 64 MiB free.
const BYTES: u64 = 384 << 20;
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: what is not on the disk now never comes there. By Perl, which every
/// Debian has, because there is no command for ext4. Its argument
/// stands in a variable: Perl writes it back, and refuses to with a constant.
const SHUT_DOWN: &str =
    "open(my $d, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); ioctl($d, 0x8004587d, $how) or die $!";

/// A disk.
pub struct Disk {
    image: PathBuf,
    point: PathBuf,
}

impl Disk {
    /// Makes one and mounts it.
    pub fn make(root: &Path, name: &str) -> anyhow::Result<Disk> {
        let disk = Disk { image: root.join(format!("{name}.img")), point: root.join(name) };
        File::create(&disk.image)?.set_len(BYTES)?;
        fs::create_dir_all(&disk.point)?;
        let image = disk.image.to_string_lossy().into_owned();
        command::run(&["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1", &image])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> anyhow::Result<()> {
        let (image, point) = (self.image.to_string_lossy(), self.point.to_string_lossy());
        command::run(&["mount", "-o", "loop,noatime", &image, &point]).map(drop)
    }

    /// Takes its power away: nothing that was not synced comes back. Its writers get errors until it is plugged in.
    pub fn cut_power(&self) -> anyhow::Result<()> {
        command::run(&["perl", "-e", SHUT_DOWN, &self.point.to_string_lossy()]).map(drop)
    }

    /// Plugs it in again. Nobody may use it.
    pub fn plug_in(&self) -> anyhow::Result<()> {
        command::run(&["umount", &self.point.to_string_lossy()])?;
        self.mount()
    }

    /// No byte comes to it and nobody is told, until it is thawed.
    pub fn freeze(&self) -> anyhow::Result<()> {
        command::run(&["fsfreeze", "-f", &self.point.to_string_lossy()]).map(drop)
    }

    /// Goes on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        command::run(&["fsfreeze", "-u", &self.point.to_string_lossy()]).map(drop)
    }

    fn filler(&self) -> PathBuf {
        self.point.join("filler")
    }

    /// Fills it to the last byte. Answers how many bytes went in.
    pub fn fill(&self) -> anyhow::Result<u64> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler())?;
        let free = rustix::fs::statvfs(&self.point)?;
        let bytes = free.f_bavail * free.f_frsize;
        let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        let block = [0_u8; 4096];
        while file.write_all(&block).is_ok() {}
        Ok(file.metadata().context("the filler")?.len())
    }

    /// What is free, in bytes.
    pub fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.point).map_or(0, |free| free.f_bavail * free.f_frsize)
    }

    /// Frees it.
    pub fn empty(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("the filler")
    }
}

/// Removes everything in a data directory, not itself: it may be a mount point. It is gone for good: a power cut brings nothing back.
pub fn wipe(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "lost+found" || name == "filler") {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    rustix::fs::syncfs(File::open(dir)?).context("syncing the removal")
}
