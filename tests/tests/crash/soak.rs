//! Lets a mix of runs go on for a while, in a process whose memory, rows and files must not grow.

use super::blocking;
use super::child::{Child, command};
use super::place::{Kind, Place};

/// How long, unless the program is started by hand.
const SECONDS: &str = "40";

fn soak(kind: Kind) {
    let place = Place::new(kind);
    let mut child = Child::spawn(command(env!("CARGO_BIN_EXE_soak"), [place.url(), "--seconds", SECONDS]));
    let status = child.end();
    println!("{:#?}", child.said);
    assert!(status.success(), "grown {:?}, left {:?}", child.said("grown"), child.said("left"));
}

case! {
    #[threads]
    async fn nothing_grows_in_a_file() {
        blocking(|| soak(Kind::Sqlite));
    }
}

case! {
    #[postgres]
    async fn nothing_grows_in_a_database() {
        blocking(|| soak(Kind::Postgres));
    }
}
