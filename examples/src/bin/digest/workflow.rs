//! The workflow: list the tree, hash each file, write the manifest.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use workflow_runtime::{Error, Result, step, step_info, workflow};

use crate::manifest::{self, hex};
use crate::progress;
use crate::tree::{self, Listing, Name, Problem, Stamp};

/// How many steps the run has outstanding at the same time. It determines the order in which steps are issued, so it
/// must be the same on each replay. The engine limits how many files are read at the same time (`--jobs`).
const WINDOW: usize = 256;
const READ_BYTES: usize = 128 << 10;

/// The argument of a run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// Counts the runs for this manifest.
    pub number: u32,
    /// The directory, absolute.
    pub root: Name,
    /// The directory as it was given: the names in the manifest begin with it.
    pub shown_as: Name,
    /// The manifest, absolute.
    pub out: Name,
    /// The database, absolute.
    pub state: Name,
}

impl Job {
    /// The id of the run. It depends on the manifest and not on the directory, so that two runs never write one
    /// manifest at the same time.
    pub fn run(&self) -> String {
        let out = hex(&Sha256::digest(self.out.as_bytes()));
        format!("digest-{}-{}", &out[..16], self.number)
    }

    /// The files below the root, without those that this program writes.
    fn list(&self) -> std::io::Result<Listing> {
        let (out, state) = (self.out.path(), self.state.path());
        tree::list(&self.root.path(), |path| {
            // This folder has a file for each process that has the database open.
            let is_state =
                ["", "-wal", "-shm", ".lock"].iter().any(|suffix| crate::with_suffix(&state, suffix) == path)
                    || path.starts_with(crate::with_suffix(&state, ".workers"));
            is_state || path == out || path == manifest::temporary(&out)
        })
    }
}

/// The file of `--log`: a line for each file that a step begins to read.
pub struct Log(Option<File>);

impl Log {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open =
            |path: &Path| OpenOptions::new().create(true).append(true).open(path).map_err(|e| crate::named(path, e));
        Ok(Log(path.map(open).transpose()?))
    }

    fn write(&self, name: &Name) -> std::io::Result<()> {
        let Some(mut file) = self.0.as_ref() else { return Ok(()) };
        let mut line = format!("{} ", std::process::id()).into_bytes();
        line.extend(manifest::escaped(name.as_bytes()).1);
        line.push(b'\n');
        file.write_all(&line)
    }
}

/// The result for a file.
#[derive(Clone, Serialize, Deserialize)]
pub enum Outcome {
    Hashed { sha256: String, stamp: Stamp },
    Problem(String),
}

/// A file and its result.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    name: Name,
    outcome: Outcome,
}

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Files that were found.
    pub examined: usize,
    /// Files in the manifest.
    pub files: usize,
    /// The sum of their sizes in bytes.
    pub bytes: u64,
    pub problems: Vec<Problem>,
    /// The fingerprint of the names, sizes and times of the files in the manifest.
    tree: String,
    /// The SHA-256 of the manifest.
    manifest: String,
}

#[workflow]
pub async fn digest(job: Job) -> Result<Summary> {
    let run = job.run();
    let Listing { files, mut problems } = list(job.clone()).await?;
    progress::of(&run).set_total(files.len());

    let root = job.root.clone();
    let hashing = stream::iter(files.clone().into_iter().enumerate()).map(move |(at, file)| {
        let call = hash(root.clone(), file);
        async move { (at, call.await) }
    });
    let mut hashing = hashing.buffer_unordered(WINDOW);
    let mut outcomes = vec![None; files.len()];
    let mut finished = 0;
    while let Some((at, outcome)) = hashing.next().await {
        // A file whose retries are exhausted becomes a problem in the report; the run continues with the other files.
        outcomes[at] = Some(outcome.unwrap_or_else(|error| Outcome::Problem(error.to_string())));
        finished += 1;
        progress::of(&run).set_finished(finished);
    }

    let entries = files.into_iter().zip(outcomes.into_iter().flatten());
    let entries = entries.map(|(name, outcome)| Entry { name, outcome }).collect();
    let mut summary = write(job.clone(), entries).await?;
    problems.append(&mut summary.problems);
    summary.problems = problems;
    for problem in &mut summary.problems {
        problem.name = job.shown_as.join(&problem.name);
    }
    Ok(summary)
}

/// A step that is a plain `fn` runs on the blocking pool.
#[step]
fn list(job: Job) -> Result<Listing> {
    Ok(job.list()?)
}

#[step(backoff = "50ms..1s")]
fn hash(#[resource] log: &Log, root: Name, file: Name) -> Result<Outcome> {
    let run = step_info().map(|info| info.run).unwrap_or_default();
    let progress = progress::of(&run);
    progress.begin();
    log.write(&file)?;
    let outcome = match read(&root.path().join(file.path()), |bytes| progress.read(bytes)) {
        Ok((sha256, stamp)) => Outcome::Hashed { sha256, stamp },
        // A retry would not help. Any other error is returned, and the engine retries the step.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Outcome::Problem(error.to_string())
        }
        Err(error) => return Err(error.into()),
    };
    progress.hashed();
    Ok(outcome)
}

/// Hashes a file; an error if it changes meanwhile.
fn read(path: &Path, mut progress: impl FnMut(usize)) -> std::io::Result<(String, Stamp)> {
    let before = tree::stamp(path)?;
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                progress(count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if Stamp::of(&file.metadata()?)? != before || tree::stamp(path)? != before {
        return Err(std::io::Error::other("it changed while it was read"));
    }
    Ok((hex(&hasher.finalize()), before))
}

/// Writes the manifest. A second execution after a kill writes the same content. The many retries wait for a full disk,
/// for example, because the digests took long.
#[step(retries = 20, backoff = "1s..30s")]
fn write(job: Job, entries: Vec<Entry>) -> Result<Summary> {
    let (root, out) = (job.root.path(), job.out.path());
    let mut text = Vec::new();
    let mut fingerprint = Sha256::new();
    let mut summary = Summary {
        examined: entries.len(),
        files: 0,
        bytes: 0,
        problems: Vec::new(),
        tree: String::new(),
        manifest: String::new(),
    };
    for Entry { name, outcome } in entries {
        let current = tree::stamp(&root.join(name.path()));
        let problem = match (outcome, current) {
            (Outcome::Problem(text), _) => text,
            (Outcome::Hashed { .. }, Err(error)) => error.to_string(),
            (Outcome::Hashed { stamp, .. }, Ok(current)) if current != stamp => {
                "it changed after it was read".to_owned()
            }
            (Outcome::Hashed { sha256, stamp }, Ok(_)) => {
                manifest::push_line(&mut text, &sha256, &job.shown_as.join(&name));
                add(&mut fingerprint, &name, stamp);
                summary.files += 1;
                summary.bytes += stamp.bytes;
                continue;
            }
        };
        summary.problems.push(Problem { name, text: problem });
    }
    manifest::replace(&out, &text).map_err(|error| {
        eprintln!("digest: could not write {}, and will try again: {error}", out.display());
        Error::from(error).context(format!("could not write {}", out.display()))
    })?;
    summary.tree = hex(&fingerprint.finalize());
    summary.manifest = hex(&Sha256::digest(&text));
    Ok(summary)
}

fn add(fingerprint: &mut Sha256, name: &Name, stamp: Stamp) {
    fingerprint.update((name.as_bytes().len() as u64).to_be_bytes());
    fingerprint.update(name.as_bytes());
    fingerprint.update(stamp.to_bytes());
}

impl Summary {
    /// Whether the tree and the manifest have not changed since the run, by the names, sizes and times of the files.
    pub fn is_current(&self, job: &Job) -> Result<bool> {
        let Ok(manifest) = std::fs::read(job.out.path()) else { return Ok(false) };
        let listing = job.list()?;
        let mut fingerprint = Sha256::new();
        for name in &listing.files {
            match tree::stamp(&job.root.path().join(name.path())) {
                Ok(stamp) => add(&mut fingerprint, name, stamp),
                Err(_) => return Ok(false),
            }
        }
        Ok(self.problems.is_empty()
            && listing.problems.is_empty()
            && hex(&Sha256::digest(manifest)) == self.manifest
            && hex(&fingerprint.finalize()) == self.tree)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {}", self.files, indicatif::HumanBytes(self.bytes))?;
        match self.problems.len() {
            0 => Ok(()),
            count => write!(f, ", {count} that could not be hashed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use workflow_runtime::testing::{Builder, TestEngine, explore};

    use super::*;

    /// More than are outstanding at the same time.
    const FILES: usize = WINDOW + 44;

    fn name(text: impl AsRef<str>) -> Name {
        Name::of(text.as_ref()).unwrap()
    }

    fn job() -> Job {
        let (root, shown_as) = (name("/tree"), name("tree"));
        Job { number: 1, root, shown_as, out: name("/manifest"), state: name("/manifest.db") }
    }

    /// A tree of so many files, and a directory that cannot be read. Nothing is on a disk.
    fn engine(files: usize) -> Builder {
        let listing = move |_| {
            let unreadable = Problem { name: name("secret"), text: "permission denied".into() };
            Ok(Listing { files: (0..files).map(|file| name(file.to_string())).collect(), problems: vec![unreadable] })
        };
        let hashed = |(_root, file): (Name, Name)| {
            let sha256 = String::from_utf8_lossy(file.as_bytes()).into_owned();
            Ok(Outcome::Hashed { sha256, stamp: Stamp::default() })
        };
        TestEngine::builder()
            .mock(list, listing)
            .mock(hash, hashed)
            .mock(write, |(_job, entries)| Ok(summary(&entries)))
            .deny_unmocked()
            .deny_unawaited()
    }

    /// Has the digests in the order of the entries in place of the fingerprint.
    fn summary(entries: &[Entry]) -> Summary {
        let (mut digests, mut problems) = (Vec::new(), Vec::new());
        for Entry { name, outcome } in entries {
            match outcome {
                Outcome::Hashed { sha256, .. } => digests.push(sha256.clone()),
                Outcome::Problem(text) => problems.push(Problem { name: name.clone(), text: text.clone() }),
            }
        }
        let (files, tree) = (digests.len(), digests.join(" "));
        Summary { examined: entries.len(), files, bytes: files as u64, problems, tree, manifest: String::new() }
    }

    #[tokio::test]
    async fn neither_a_crash_nor_the_order_of_the_digests_changes_the_manifest() -> Result<()> {
        let summary = explore(digest, job()).engine(|| engine(12)).await?.one()?;
        assert_eq!((summary.examined, summary.files), (12, 12));
        assert_eq!(summary.tree, "0 1 2 3 4 5 6 7 8 9 10 11");
        assert_eq!(summary.problems.len(), 1);
        assert_eq!(summary.problems[0].name.as_bytes(), b"tree/secret");
        Ok(())
    }

    #[tokio::test]
    async fn a_file_that_stays_unreadable_is_a_problem_and_every_other_file_is_in_the_manifest() -> Result<()> {
        let broken = |(_root, file): (Name, Name)| match file.as_bytes() {
            b"7" => Err(Error::new("the disk is broken")),
            _ => Ok(Outcome::Hashed { sha256: "00".into(), stamp: Stamp::default() }),
        };
        let engine = engine(FILES).mock(hash, broken).open().await?;
        let summary = engine.start(digest, job()).await?.await?;
        assert_eq!((summary.examined, summary.files), (FILES, FILES - 1));
        let problems: Vec<_> = summary.problems.iter().map(|problem| problem.name.as_bytes()).collect();
        assert_eq!(problems, [&b"tree/secret"[..], b"tree/7"]);
        assert!(summary.problems[1].text.contains("the disk is broken"), "{}", summary.problems[1].text);
        let attempts = engine.calls(hash).into_iter().filter(|(_, file)| file.as_bytes() == b"7").count();
        assert!(attempts > 1, "it is tried again");
        assert_eq!(engine.calls(hash).len(), FILES - 1 + attempts);
        Ok(())
    }

    // A step that is called outside a run is executed and not recorded.
    #[tokio::test]
    async fn a_file_that_changed_after_it_was_read_is_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Name::of(directory.path().join(name)).unwrap();
        let job = Job { number: 1, root: path(""), shown_as: path(""), out: path("out"), state: path("out.db") };
        let mut entries = Vec::new();
        for name in ["changed", "same"] {
            std::fs::write(path(name).path(), "before").unwrap();
            let (sha256, stamp) = read(&path(name).path(), |_| {}).unwrap();
            entries.push(Entry { name: Name::of(name).unwrap(), outcome: Outcome::Hashed { sha256, stamp } });
        }
        std::fs::write(path("changed").path(), "another length").unwrap();

        let summary = write(job.clone(), entries).await.unwrap();
        assert_eq!((summary.examined, summary.files, summary.bytes), (2, 1, 6));
        assert_eq!(summary.problems.len(), 1);
        assert_eq!(summary.problems[0].name.as_bytes(), b"changed");
        assert!(std::fs::read_to_string(job.out.path()).unwrap().ends_with("same\n"));
    }
}
