//! The command line.

use super::Result;
use super::cases::{CASES, Case};

pub struct Options {
    pub cases: Vec<&'static Case>,
    pub json: bool,
    pub check: bool,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options { cases: Vec::new(), json: false, check: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--check" => options.check = true,
                "--case" => {
                    let name = arguments.next().unwrap_or_default();
                    let case = CASES.iter().find(|case| case.name == name).ok_or_else(|| {
                        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
                        format!("there is no case {name:?}: give one of {}", names.join(", "))
                    })?;
                    options.cases.push(case);
                }
                // Cargo gives it to every benchmark.
                "--bench" => {}
                other => return Err(format!("unknown argument {other:?}: give --case NAME, --json, --check").into()),
            }
        }
        if options.cases.is_empty() {
            options.cases.extend(CASES);
        }
        Ok(options)
    }
}
