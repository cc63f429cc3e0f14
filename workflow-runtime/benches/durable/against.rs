//! Compares two commits: this program and the saved one of another commit run alternately.
//!
//! `--save FILE` copies this program. `--against FILE` executes each case with both programs, in alternating order,
//! each in its own process, so that a disturbance of the machine affects both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Result;
use super::cases::Case;
use super::pairs::median;

/// How often each program executes a case.
const ROUNDS: usize = 5;
/// The figures of a row that are compared. The ratio is to the raw work.
const FIGURES: [&str; 3] = ["ours", "ratio", "cpu_us"];

/// Copies this program.
pub fn save(file: &Path) -> Result<()> {
    fs::copy(std::env::current_exe()?, file).map_err(|error| format!("{}: {error}", file.display()))?;
    eprintln!("saved: after changing the code, give it to --against");
    Ok(())
}

/// Prints the medians of both programs and their ratio for each case.
pub fn compare(other: &Path, cases: &[&'static Case]) -> Result<()> {
    let programs = [std::env::current_exe()?, fs::canonicalize(other)?];
    println!("{:<24}{:<8}{:>12}{:>12}{:>14}", "case", "figure", "this", "other", "this / other");
    for case in cases {
        let mut rows: [Vec<Value>; 2] = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            eprintln!("{}: round {} of {ROUNDS}", case.name, round + 1);
            for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                rows[side].extend(row(&programs[side], case)?);
            }
        }
        for figure in FIGURES {
            let [this, other] = [0, 1].map(|side| median(rows[side].iter().filter_map(|row| row[figure].as_f64())));
            if this.is_finite() && other.is_finite() {
                println!("{:<24}{figure:<8}{this:>12.4}{other:>12.4}{:>14.3}", case.name, this / other);
            }
        }
    }
    Ok(())
}

/// The JSON row that a program prints for a case. `None` if it skips the case.
fn row(program: &PathBuf, case: &Case) -> Result<Option<Value>> {
    let ended = Command::new(program).args(["--case", case.name, "--json"]).stderr(Stdio::null()).output()?;
    if !ended.status.success() {
        return Err(format!("{} --case {}: ended with {}", program.display(), case.name, ended.status).into());
    }
    let text = String::from_utf8(ended.stdout)?;
    Ok(text.lines().next().map(serde_json::from_str).transpose()?)
}
