//! The command line.

use std::path::PathBuf;

use super::Result;
use super::cases::{CASES, Case};

pub struct Options {
    pub cases: Vec<&'static Case>,
    pub json: bool,
    pub check: bool,
    /// Where to copy this program, in place of measuring.
    pub save: Option<PathBuf>,
    /// The program of another commit, to run alternately with this one.
    pub against: Option<PathBuf>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options { cases: Vec::new(), json: false, check: false, save: None, against: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--check" => options.check = true,
                "--save" => options.save = Some(file(&argument, arguments.next())?),
                "--against" => options.against = Some(file(&argument, arguments.next())?),
                "--case" => {
                    let name = arguments.next().unwrap_or_default();
                    let case = CASES.iter().find(|case| case.name == name).ok_or_else(|| {
                        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
                        format!("there is no case {name:?}: give one of {}", names.join(", "))
                    })?;
                    options.cases.push(case);
                }
                // Cargo passes it to every benchmark.
                "--bench" => {}
                other => {
                    return Err(format!(
                        "unknown argument {other:?}: give --case NAME, --json, --check, --save FILE, --against FILE"
                    )
                    .into());
                }
            }
        }
        if options.cases.is_empty() {
            options.cases.extend(CASES);
        }
        Ok(options)
    }
}

fn file(option: &str, value: Option<String>) -> Result<PathBuf> {
    let file = PathBuf::from(value.unwrap_or_default());
    if file.is_absolute() {
        return Ok(file);
    }
    Err(format!("{option} needs an absolute path: Cargo starts a benchmark in the directory of its package").into())
}
