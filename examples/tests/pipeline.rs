//! `pipeline`, killed in the middle of many files.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{kill_at, lines};

const FILES: usize = 300;

#[test]
fn a_killed_pipeline_reads_no_finished_file_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("files")).unwrap();
    for number in 0..FILES {
        fs::write(directory.path().join(format!("files/{number}")), "a word, ".repeat(number)).unwrap();
    }
    let mut pipeline = Command::new(env!("CARGO_BIN_EXE_pipeline"));
    pipeline.current_dir(&directory).arg("files");

    let first = kill_at(&mut pipeline, &format!("20/{FILES} "));
    // Without these files a second reading would fail.
    for line in &first {
        let file = line.split_once(' ').and_then(|(_, rest)| rest.split_once(": ")).map(|(file, _)| file);
        fs::remove_file(Path::new(file.unwrap_or_else(|| panic!("{line}")))).unwrap();
    }
    let second = lines(&mut pipeline);
    assert_eq!(second[..first.len()], first);
    assert_eq!(second.len(), FILES + 1);
    assert_eq!(second[FILES], format!("{} words in total", FILES * (FILES - 1)));
}
