//! A SQLite file of the lower layer of an overlay file system, as a container has it from its image: a process that opens it
//! for writing gets a copy of it. The copy has another inode number, at once or once the layers are mounted again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use workflow_harness::disk::Disk;

use super::child::{Child, command};

/// The lower layer, and the overlay. The fields are unmounted in this order.
struct Layers {
    overlay: Option<Disk>,
    /// A file system of its own for the upper layer. `None` if both layers are on one.
    _upper: Option<Disk>,
    directory: TempDir,
}

impl Layers {
    /// The lower layer has a store with the run `a`.
    fn new(two_file_systems: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        for name in ["lower", "above", "merged"] {
            fs::create_dir(at(name)).expect("the directory is created");
        }
        let upper = two_file_systems.then(|| Disk::mount(&at("above"), "64m").expect("the disk is mounted"));
        for name in ["above/upper", "above/work"] {
            fs::create_dir(at(name)).expect("the directory is created");
        }
        let mut before = keeps(&at("lower"), &at("warnings"));
        starts(&mut before, "a");
        before.close();
        before.end_well();
        let mut layers = Layers { overlay: None, _upper: upper, directory };
        layers.mount();
        layers
    }

    /// Mounts the overlay, after it was unmounted if it was mounted.
    fn mount(&mut self) {
        self.overlay = None;
        let [lower, upper, work] = ["lower", "above/upper", "above/work"].map(|name| self.at(name));
        let overlay = Disk::overlay(&lower, &upper, &work, &self.at("merged"));
        self.overlay = Some(overlay.expect("the overlay is mounted"));
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A process that has opened the store in a directory.
fn keeps(directory: &Path, warnings: &Path) -> Child {
    let url = format!("sqlite:{}", directory.join("workflow.db").display());
    let mut child = Child::spawn(command(env!("CARGO_BIN_EXE_keeps"), [url, warnings.display().to_string()]));
    child.wait_for("open");
    child
}

/// Starts a run, and waits until it has ended.
fn starts(child: &mut Child, id: &str) {
    child.send(id);
    assert_eq!(child.wait_for("answer"), id);
    loop {
        child.send(&format!("?{id}"));
        let asked: Value = serde_json::from_str(&child.wait_for("waiting")).expect("it is JSON");
        if asked["reasons"][0]["reason"] == "ended" {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn runs(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("the database opens");
    let mut runs = connection.prepare("SELECT id FROM runs ORDER BY id").expect("the file has runs");
    let ids = runs.query_map((), |row| row.get(0)).expect("the table is readable");
    ids.collect::<Result<_, _>>().expect("each id is text")
}

case! {
    #[overlay]
    async fn a_file_that_is_copied_to_the_upper_layer_is_the_same_store_until_it_is_replaced() {
        for two_file_systems in [true, false] {
            let mut layers = Layers::new(two_file_systems);
            let (file, copy) = (layers.at("merged/workflow.db"), layers.at("merged/copy.db"));
            let below = fs::read(layers.at("lower/workflow.db")).expect("the file is readable");
            assert!(!layers.at("above/upper/workflow.db").exists(), "nothing is copied yet");
            let mut child = keeps(&layers.at("merged"), &layers.at("warnings"));
            for id in ["b", "c"] {
                starts(&mut child, id);
            }
            assert!(layers.at("above/upper/workflow.db").exists(), "the file is copied");
            assert_eq!(runs(&file), ["a", "b", "c"]);
            child.close();
            child.end_well();

            layers.mount();
            let mut child = keeps(&layers.at("merged"), &layers.at("warnings"));
            starts(&mut child, "d");
            assert_eq!(runs(&file), ["a", "b", "c", "d"]);
            assert_eq!(fs::read_to_string(layers.at("warnings")).expect("the file of warnings exists"), "");
            assert!(fs::read(layers.at("lower/workflow.db")).expect("the file is readable") == below);

            Connection::open(&file)
                .expect("the file opens")
                .execute(&format!("VACUUM INTO '{}'", copy.display()), ())
                .expect("the copy is made");
            fs::rename(&copy, &file).expect("the file is replaced");
            child.send("lost");
            assert_eq!(child.wait_for("answer"), "store_replaced");
            child.kill();
        }
    }
}
