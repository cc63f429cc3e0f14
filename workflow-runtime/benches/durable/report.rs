//! The printed report.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::disk::Disk;
use super::pairs::Pairs;

/// A bar that a case must reach.
#[derive(Clone, Copy)]
pub enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Bar::AtMost(most) => value <= most,
            Bar::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Bar::AtMost(most) => format!("<= {}", figure(most)),
            Bar::AtLeast(least) => format!(">= {}", figure(least)),
        }
    }
}

/// Why a case was not measured: the machine lacks something.
#[derive(Debug)]
pub struct Skipped(pub String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// The figures with their own columns: a ratio alone does not show that a slow sync dominates.
const COLUMNS: [&str; 3] = ["sync_p50_us", "cpu_us", "raw_cpu_us"];

/// A case's result.
pub struct Row {
    case: &'static str,
    unit: &'static str,
    ours: f64,
    raw: Option<f64>,
    ratio: Option<f64>,
    bar: Bar,
    /// Further conditions that were not met.
    missed: Vec<String>,
    noisy: usize,
    more: Map<String, Value>,
}

impl Row {
    /// A row whose ratio must reach a bar.
    pub fn paired(case: &'static str, unit: &'static str, pairs: &Pairs, bar: Bar) -> Self {
        let row = Row::compared(case, unit, pairs.ours, pairs.raw, pairs.ratio, bar).with_noise(pairs);
        row.with("cpu_us", number(pairs.cpu[0]))
            .with("raw_cpu_us", number(pairs.cpu[1]))
            .with("sync_p50_us", micros(pairs.syncs.p50))
            .with("sync_p99_us", micros(pairs.syncs.p99))
    }

    /// The same for a case that was not measured in pairs.
    pub fn compared(case: &'static str, unit: &'static str, ours: f64, raw: f64, ratio: f64, bar: Bar) -> Self {
        Row { raw: Some(raw), ratio: Some(ratio), ..Row::counted(case, unit, ours, bar) }
    }

    /// A row whose figure must reach a bar.
    pub fn counted(case: &'static str, unit: &'static str, ours: f64, bar: Bar) -> Self {
        Row { case, unit, ours, raw: None, ratio: None, bar, missed: Vec::new(), noisy: 0, more: Map::new() }
    }

    /// Adds a figure.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a figure with its own bar.
    pub fn with_bar(mut self, name: &str, value: f64, bar: Bar) -> Self {
        if !bar.holds(value) {
            self.missed.push(format!("{name} {}", bar.text()));
        }
        self.with(name, number(value))
    }

    /// Adds the number of pairs during which the speed of the disk changed.
    pub fn with_noise(mut self, pairs: &Pairs) -> Self {
        self.noisy += pairs.noisy;
        self
    }

    pub fn is_met(&self) -> bool {
        self.bar.holds(self.ratio.unwrap_or(self.ours)) && self.missed.is_empty()
    }

    pub fn json(&self) -> String {
        let mut line = json!({
            "case": self.case,
            "ours": number(self.ours),
            "raw": self.raw.map(number),
            "ratio": self.ratio.map(number),
            "unit": self.unit,
            "bar": self.bar.text(),
            "met": self.is_met(),
            "noisy": self.noisy,
        });
        if let Value::Object(line) = &mut line {
            line.extend(self.more.clone());
        }
        line.to_string()
    }

    fn cells(&self) -> [String; 9] {
        let column = |name: &str| self.more.get(name).map(Value::to_string).unwrap_or_default();
        let has_cpu = self.more.contains_key("cpu_us");
        let cpu = if has_cpu { format!("{} / {}", column("cpu_us"), column("raw_cpu_us")) } else { String::new() };
        let others = self.more.iter().filter(|(name, _)| !COLUMNS.contains(&name.as_str()));
        let mut notes: Vec<String> = others.map(|(name, value)| format!("{name} {value}")).collect();
        notes.extend(self.missed.iter().map(|missed| format!("MISSED {missed}")));
        if self.noisy > 0 {
            notes.push(format!("noisy disk in {} pairs", self.noisy));
        }
        [
            self.case.to_owned(),
            figure(self.ours),
            self.raw.map(figure).unwrap_or_default(),
            self.unit.to_owned(),
            self.ratio.map(figure).unwrap_or_default(),
            column("sync_p50_us"),
            cpu,
            format!("{}{}", self.bar.text(), if self.is_met() { "" } else { " MISSED" }),
            notes.join(", "),
        ]
    }
}

/// A table of all rows, below a line about the disk.
pub fn table(disk: &Disk, rows: &[Row]) -> String {
    let heads =
        ["case", "ours", "raw", "unit", "ratio", "sync p50 us", "cpu us, ours / raw", "bar", "more"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(heads).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 9] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0));
    let mut table = format!("\n{disk}\n\n");
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(table, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    table
}

fn micros(time: std::time::Duration) -> Value {
    number(time.as_secs_f64() * 1e6)
}

/// Rounded to four significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// A rounded number, without a decimal point if it is whole.
pub fn number(value: f64) -> Value {
    let value = rounded(value);
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

fn figure(value: f64) -> String {
    rounded(value).to_string()
}
