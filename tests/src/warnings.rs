//! A `tracing` subscriber that writes warnings to a file.

use std::fmt::{Debug, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

struct Warnings(File);

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}").replace('\n', " ");
        let _ = match field.name() {
            "message" => write!(self.0, "{value} "),
            name => write!(self.0, "{name}={value} "),
        };
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut file = &self.0;
        let _ = file.write_all(format!("{} {}\n", event.metadata().level(), line.0).as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Appends the warnings and errors of this process to a file, one per line.
///
/// # Panics
///
/// If the file cannot be opened, or if this process has a subscriber already.
pub fn write_to(path: &Path) {
    let file = OpenOptions::new().append(true).create(true).open(path).expect("the file of warnings opens");
    tracing::subscriber::set_global_default(Warnings(file)).expect("there is no other subscriber");
}
