//! `digest`: killed, checked by `sha256sum`, run again.
#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::{finish, output, spawn, text};
use sha2::{Digest, Sha256};

const FILES: usize = 600;
/// Enough files that a process is killed before it is done.
const FILE_BYTES: u64 = if cfg!(debug_assertions) { 64 << 10 } else { 2 << 20 };
const KILLS: usize = 5;
/// Files that a process may begin before it is killed.
const FILES_PER_LIFE: usize = 60;

fn digest(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_digest"));
    command.current_dir(directory).args(["tree", "--out", "MANIFEST", "--log", "log", "--jobs", "2"]);
    command
}

/// The result of `sha256sum -c` for the manifest.
fn sha256sum(directory: &Path) -> Output {
    output(Command::new("sha256sum").args(["--check", "--quiet", "--strict", "MANIFEST"]).current_dir(directory))
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The files that each process has begun to read, process by process.
fn processes(directory: &Path) -> Vec<Vec<String>> {
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let mut processes: Vec<(String, Vec<String>)> = Vec::new();
    for line in log.lines() {
        let (process, name) = line.split_once(' ').unwrap();
        match processes.last_mut() {
            Some((last, names)) if last == process => names.push(name.to_owned()),
            _ => processes.push((process.to_owned(), vec![name.to_owned()])),
        }
    }
    processes.into_iter().map(|(_, names)| names).collect()
}

/// The number before `unit` in a program's output.
fn number(text: &str, before: &str, after: &str) -> usize {
    let from = text.find(before).unwrap_or_else(|| panic!("no `{before}` in: {text}")) + before.len();
    let to = from + text[from..].find(after).unwrap_or_else(|| panic!("no `{after}` in: {text}"));
    text[from..to].parse().unwrap()
}

#[test]
fn a_killed_digest_hashes_no_finished_file_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for number in 0..FILES {
        let path = directory.join(format!("tree/{:02}/{number:04}", number % 20));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = File::create(path).unwrap();
        writeln!(file, "{number}").unwrap();
        file.set_len(FILE_BYTES).unwrap();
    }

    let mut begun = 0;
    // The number of results in the journal at the start of each process.
    let mut recorded = vec![0];
    for life in 0..KILLS {
        let mut child = spawn(&mut digest(directory));
        while processes(directory).iter().map(Vec::len).sum::<usize>() < begun + FILES_PER_LIFE {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed: {:?}", finish(child));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        let output = finish(child);
        assert!(output.status.code().is_none(), "it ended before it was killed: {output:?}");
        begun = processes(directory).iter().map(Vec::len).sum();
        if life > 0 {
            recorded.push(number(&text(&output.stderr), "resuming: ", &format!(" of {FILES} files")));
        }
    }
    let last = output(&mut digest(directory));
    let stdout = succeeded(&last);
    recorded.push(number(&text(&last.stderr), "resuming: ", &format!(" of {FILES} files")));

    let processes = processes(directory);
    assert_eq!(processes.len(), KILLS + 1);
    for (life, names) in processes.iter().enumerate() {
        let names: BTreeSet<_> = names.iter().collect();
        assert_eq!(names.len(), processes[life].len(), "life {life} read a file twice");
        // Files that a process has begun without a recorded result are read again, and no others.
        let gained = recorded.get(life + 1).copied().unwrap_or(FILES) - recorded[life];
        let later: BTreeSet<_> = processes[life + 1..].iter().flatten().collect();
        assert_eq!(names.intersection(&later).count(), names.len() - gained, "after life {life}");
        assert!(gained > 0, "life {life} got nothing done");
    }
    let hashed = processes.last().unwrap().len();
    assert_eq!(number(&stdout, "; ", " hashed now"), hashed);
    assert_eq!(number(&stdout, "hashed now, ", " taken"), FILES - hashed);
    assert_eq!(hashed, FILES - recorded.last().unwrap());

    succeeded(&sha256sum(directory));
    assert_eq!(fs::read_to_string(directory.join("MANIFEST")).unwrap().lines().count(), FILES);
}

#[test]
fn the_manifest_equals_the_output_of_sha256sum() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    // Each file with its name as written in the manifest.
    let names: [(&[u8], &[u8]); 8] = [
        (b"a name", b"  tree/a name"),
        (b"back\\slash", b"  tree/back\\\\slash"),
        (b"new\nline", b"  tree/new\\nline"),
        (b"not \xff UTF-8", b"  tree/not \xff UTF-8"),
        (b"plain", b"  tree/plain"),
        (b"return\r", b"  tree/return\\r"),
        (b"sub", b""),
        (b"sub/\xc3\xa9", b"  tree/sub/\xc3\xa9"),
    ];
    fs::create_dir_all(tree.join("sub")).unwrap();
    std::os::unix::fs::symlink("plain", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("..", tree.join("sub/loop")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap());
    let mut expected = Vec::new();
    for (name, line) in names.iter().filter(|(_, line)| !line.is_empty()) {
        fs::write(tree.join(OsStr::from_bytes(name)), name).unwrap();
        if line.contains(&b'\\') {
            expected.push(b'\\');
        }
        expected.extend(Sha256::digest(name).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
        expected.extend_from_slice(line);
        expected.push(b'\n');
    }
    succeeded(&output(&mut digest(directory.path())));
    let manifest = fs::read(directory.path().join("MANIFEST")).unwrap();
    assert_eq!(text(&manifest), text(&expected));
    assert_eq!(manifest, expected);
    succeeded(&sha256sum(directory.path()));
}

#[test]
fn an_unchanged_tree_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join("tree")).unwrap();
    fs::write(directory.join("tree/a"), "a").unwrap();
    assert!(succeeded(&output(&mut digest(directory))).contains("1 hashed now"));
    assert!(succeeded(&output(&mut digest(directory))).contains("up to date"));
    assert!(succeeded(&output(digest(directory).arg("--again"))).contains("1 hashed now"));

    fs::write(directory.join("tree/b"), "b").unwrap();
    assert!(succeeded(&output(&mut digest(directory))).contains("2 hashed now"));
    fs::write(directory.join("MANIFEST"), "damaged").unwrap();
    assert!(succeeded(&output(&mut digest(directory))).contains("2 hashed now"));
    succeeded(&sha256sum(directory));
}

#[test]
fn a_manifest_and_a_database_in_the_tree_are_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "a").unwrap();
    let digest = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digest"));
        output(command.current_dir(&directory).args([".", "--out", "MANIFEST"]))
    };
    assert!(succeeded(&digest()).contains("1 hashed now"));
    assert!(succeeded(&digest()).contains("up to date"));
    succeeded(&sha256sum(directory.path()));
}

#[test]
fn a_file_that_vanishes_is_reported_and_the_others_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    kill_at_the_first_file(directory);
    let begun = processes(directory).concat();
    let vanished = (0..FILES).map(|number| number.to_string()).find(|name| !begun.contains(name)).unwrap();
    fs::remove_file(directory.join("tree").join(&vanished)).unwrap();

    let output = output(&mut digest(directory));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains(&format!("tree/{vanished}: No such file")), "{output:?}");
    assert!(text(&output.stdout).contains("1 that could not be hashed"), "{output:?}");
    succeeded(&sha256sum(directory));
    assert_eq!(fs::read_to_string(directory.join("MANIFEST")).unwrap().lines().count(), FILES - 1);
}

#[test]
fn an_unfinished_run_of_another_directory_is_not_mixed_up_with() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    kill_at_the_first_file(directory);

    fs::create_dir(directory.join("other")).unwrap();
    let mut other = Command::new(env!("CARGO_BIN_EXE_digest"));
    let refused = output(other.current_dir(directory).args(["other", "--out", "MANIFEST"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("MANIFEST.db holds an unfinished run"), "{refused:?}");
    succeeded(&output(&mut digest(directory)));
    succeeded(&sha256sum(directory));
}

/// Makes a tree of files named by numbers, and leaves an unfinished run for it.
fn kill_at_the_first_file(directory: &Path) {
    fs::create_dir(directory.join("tree")).unwrap();
    for number in 0..FILES {
        File::create(directory.join(format!("tree/{number}"))).unwrap().set_len(FILE_BYTES).unwrap();
    }
    let mut child = spawn(&mut digest(directory));
    while processes(directory).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed: {:?}", finish(child));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!finish(child).status.success(), "it ended before it was killed");
}
