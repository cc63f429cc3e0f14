//! What commands print, and in which form.

use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::global::Global;
pub(super) use super::global::{Color, Format, Times};
use super::json;
use super::report::{Outcome, Stop};
use super::table::{self, Cell, Style};
use crate::error::{Code, Error};
use crate::model::rfc3339;
use crate::steering::text::safe;
use crate::steering::time;

/// A column of a list: the name for `--columns`, and whether it is shown without that.
pub(super) struct Column {
    pub name: &'static str,
    pub is_default: bool,
}

/// A column that is shown unless others are asked for.
pub(super) const fn shown(name: &'static str) -> Column {
    Column { name, is_default: true }
}

/// A column that is only shown if it is asked for.
pub(super) const fn hidden(name: &'static str) -> Column {
    Column { name, is_default: false }
}

/// A row of a list, in each form.
pub(super) struct Row {
    pub id: String,
    pub json: Value,
    /// In the order of the columns.
    pub cells: Vec<Cell>,
}

/// The standard output, in the form that was asked for.
pub(super) struct Output {
    format: Format,
    columns: Vec<String>,
    times: Times,
    style: Style,
    is_terminal: bool,
    buffer: Vec<u8>,
}

const BUFFER_BYTES: usize = 64 << 10;

impl Output {
    pub fn new(global: &Global) -> Output {
        let is_terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match global.color {
            Color::Auto => is_terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        let width = if is_terminal { terminal_width() } else { None };
        Output {
            format: global.output,
            columns: global.columns.clone(),
            times: global.time.unwrap_or(if is_terminal { Times::Relative } else { Times::Iso }),
            style: Style { width, color, raw: global.raw },
            is_terminal,
            buffer: Vec::new(),
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_raw(&self) -> bool {
        self.style.raw
    }

    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub fn has_color(&self) -> bool {
        self.style.color
    }

    pub fn times(&self) -> Times {
        self.times
    }

    /// A time, as tables show it.
    pub fn time(&self, time: SystemTime) -> String {
        match self.times {
            Times::Iso => rfc3339::format(time),
            Times::Relative => time::relative(time, SystemTime::now()),
        }
    }

    pub fn optional_time(&self, time: Option<SystemTime>) -> String {
        time.map_or_else(String::new, |time| self.time(time))
    }

    /// A text that may have control characters.
    pub fn text(&self, text: &str) -> String {
        if self.style.raw { text.to_owned() } else { safe(text).into_owned() }
    }

    /// Prints a line that has no control characters of others.
    pub fn line(&mut self, line: impl AsRef<str>) -> Outcome<()> {
        self.write(line.as_ref())?;
        self.write("\n")
    }

    pub fn write(&mut self, text: &str) -> Outcome<()> {
        self.bytes(text.as_bytes())
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Prints a document.
    pub fn document(&mut self, fields: Value) -> Outcome<()> {
        let pretty = self.format == Format::Json;
        self.line(json::text(&json::with_schema(fields), pretty))
    }

    /// Prints a list, under its name in JSON, with other fields of that document.
    pub fn list(&mut self, name: &str, columns: &[Column], rows: Vec<Row>, more: Map<String, Value>) -> Outcome<()> {
        match self.format {
            Format::Table => self.table(columns, rows),
            Format::Ids => rows.iter().try_for_each(|row| self.line(safe(&row.id))),
            Format::Jsonl => rows.into_iter().try_for_each(|row| self.document(row.json)),
            Format::Json => {
                let items = rows.into_iter().map(|row| row.json).collect();
                let mut document = Map::from_iter([(name.to_owned(), Value::Array(items))]);
                document.extend(more);
                self.document(Value::Object(document))
            }
        }
    }

    fn table(&mut self, columns: &[Column], rows: Vec<Row>) -> Outcome<()> {
        let wanted = self.wanted(columns)?;
        if rows.is_empty() {
            eprintln!("nothing found");
            return Ok(());
        }
        let headers: Vec<String> = wanted.iter().map(|at| columns[*at].name.replace('_', " ").to_uppercase()).collect();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let cells = |row: &Row| wanted.iter().map(|at| row.cells.get(*at).cloned().unwrap_or_default()).collect();
        let rows: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
        table::lines(&headers, &rows, self.style).into_iter().try_for_each(|line| self.line(line))
    }

    /// The columns to show, by their places.
    fn wanted(&self, columns: &[Column]) -> Outcome<Vec<usize>> {
        if self.columns.is_empty() {
            return Ok((0..columns.len()).filter(|at| columns[*at].is_default).collect());
        }
        let find = |name: &String| {
            let found = columns.iter().position(|column| column.name == name);
            found.ok_or_else(|| {
                let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
                let error = Error::coded(Code::InvalidName, format!("there is no column `{}`", safe(name)));
                Stop::usage(error.expected(names.join(", ")))
            })
        };
        self.columns.iter().map(find).collect()
    }

    /// Prints what is buffered.
    pub fn flush(&mut self) -> Outcome<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.buffer).and_then(|()| stdout.flush());
        self.buffer.clear();
        Ok(written?)
    }

    /// Takes what was printed since the last flush.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(not(unix))]
fn terminal_width() -> Option<usize> {
    None
}
