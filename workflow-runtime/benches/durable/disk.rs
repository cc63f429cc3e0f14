//! The disk of the databases, and its current speed.

use std::fmt;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Result;

const VARIABLE: &str = "WORKFLOW_BENCH_DIR";
const PAGE: [u8; 4096] = [0x5A; 4096];
/// Pages of the probe's file, which is overwritten repeatedly, as a write-ahead log is.
const PROBE_PAGES: u64 = 1_000;
/// Syncs of one probe.
const PROBE_SYNCS: usize = 500;

/// A directory on a disk, deleted at the end.
pub struct Disk {
    directory: TempDir,
    filesystem: String,
}

/// How long a bare `fdatasync` of one page takes.
#[derive(Clone, Copy)]
pub struct Syncs {
    pub p50: Duration,
    pub p99: Duration,
}

impl Disk {
    pub fn open() -> Result<Self> {
        let base = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        fs::create_dir_all(&base)?;
        let directory = tempfile::Builder::new().prefix("durable-").tempdir_in(&base)?;
        let filesystem = filesystem(&fs::canonicalize(directory.path())?).unwrap_or_else(|| "unknown".to_owned());
        if filesystem == "tmpfs" {
            let base = base.display();
            return Err(
                format!("{base} is on tmpfs, where a sync costs nothing: name a directory with {VARIABLE}").into()
            );
        }
        Ok(Disk { directory, filesystem })
    }

    /// A new directory for one case.
    pub fn directory(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(self.directory.path())?)
    }

    /// Measures bare syncs.
    pub fn probe(&self) -> Result<Syncs> {
        let mut file =
            File::options().create(true).truncate(false).write(true).open(self.directory.path().join("probe"))?;
        if file.metadata()?.len() == 0 {
            (0..PROBE_PAGES).try_for_each(|_| file.write_all(&PAGE))?;
        }
        file.sync_all()?;
        let mut times = Vec::with_capacity(PROBE_SYNCS);
        for page in (0..PROBE_PAGES).cycle().take(PROBE_SYNCS) {
            file.seek(SeekFrom::Start(page * PAGE.len() as u64))?;
            file.write_all(&PAGE)?;
            let start = Instant::now();
            file.sync_data()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(Syncs { p50: times[PROBE_SYNCS / 2], p99: times[PROBE_SYNCS * 99 / 100] })
    }
}

impl Syncs {
    /// The factor by which the syncs have changed: of the median or of the 99th percentile, whichever is larger.
    pub fn moved(self, later: Syncs) -> f64 {
        let factor = |a: Duration, b: Duration| a.max(b).as_secs_f64() / a.min(b).as_secs_f64().max(1e-9);
        factor(self.p50, later.p50).max(factor(self.p99, later.p99))
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        write!(f, "{cores} cores, {}, SQLite {} with WAL and synchronous=FULL", self.filesystem, rusqlite::version())
    }
}

/// The type of the file system of a path, if the system reports it.
pub fn filesystem(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // If two file systems are mounted at one path, the later one hides the other.
    let holds = mounts.filter(|(place, _)| path.starts_with(place));
    holds.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.to_owned())
}
