//! The compile time of the attributes: 100 workflows of ten steps each, compared with the same functions without
//! attributes.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Case;
use crate::Result;
use crate::disk::Disk;
use crate::pairs::median;
use crate::report::{Bar, Row, Skipped};

const WORKFLOWS: usize = 100;
const STEPS: usize = 10;
/// Rounds, of which the median counts.
const ROUNDS: usize = 3;

pub const CASE: Case = Case {
    name: "compile",
    about: "a program of 100 workflows and 1,000 steps, compiled without incremental compilation, and without the attributes",
    measure,
};

fn measure(_: &Disk) -> Result<Row> {
    let directory = tempfile::Builder::new().prefix("workflow-compile").tempdir()?;
    let [ours, plain] = [true, false].map(|attributes| Program::write(directory.path(), attributes));
    let (ours, plain) = (ours?, plain?);
    let mut figures = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for (command, figures) in ["check", "build"].into_iter().zip(&mut figures) {
        // Compiles the dependencies once for both.
        for program in [&ours, &plain] {
            program.compile(command)?;
        }
        for round in 0..ROUNDS {
            let mut both = [(0, &ours), (1, &plain)];
            both.rotate_left(round % 2);
            for (side, program) in both {
                figures[side].push(program.compile(command)?.as_secs_f64());
            }
            eprintln!("  {command} {}: ours {:.2} s, plain {:.2} s", round + 1, figures[0][round], figures[1][round]);
        }
    }
    let [check, build] = figures.map(|sides| sides.map(|side| median(side.into_iter())));
    Ok(Row::compared("compile", "s", check[0], check[1], check[0] / check[1], Bar::AtMost(1.6))
        .with_bar("build_ratio", build[0] / build[1], Bar::AtMost(2.0))
        .with("build_s", crate::report::number(build[0]))
        .with("plain_build_s", crate::report::number(build[1])))
}

/// A crate that is compiled repeatedly.
struct Program {
    directory: PathBuf,
    target: PathBuf,
}

impl Program {
    fn write(parent: &Path, attributes: bool) -> Result<Self> {
        let name = if attributes { "ours" } else { "plain" };
        let directory = parent.join(name);
        fs::create_dir_all(directory.join("src"))?;
        let runtime = Path::new(env!("CARGO_MANIFEST_DIR"));
        let lock = runtime.join("../Cargo.lock");
        if !lock.exists() {
            return Err(Skipped("the workspace of the library is not there".to_owned()).into());
        }
        fs::copy(lock, directory.join("Cargo.lock"))?;
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\
             workflow-runtime = {{ path = {:?} }}\n\n[profile.dev]\ndebug = \"line-tables-only\"\n\n[workspace]\n",
            runtime.display().to_string()
        );
        fs::write(directory.join("Cargo.toml"), manifest)?;
        fs::write(directory.join("src/main.rs"), source(attributes)?)?;
        Ok(Program { directory, target: parent.join("target") })
    }

    /// Compiles the crate itself. Its dependencies are compiled only the first time.
    fn compile(&self, command: &str) -> Result<Duration> {
        let main = self.directory.join("src/main.rs");
        fs::write(&main, fs::read(&main)?)?;
        let begun = Instant::now();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let status = Command::new(cargo)
            .args([command, "--quiet", "--offline"])
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "0")
            .stdin(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(begun.elapsed()),
            false => Err(format!("`cargo {command}` in {} ended with {status}", self.directory.display()).into()),
        }
    }
}

/// The program: steps of three kinds, workflows that call ten of them, and a `main` that executes each workflow, since
/// a function that is not called costs no code.
fn source(attributes: bool) -> Result<String> {
    let (step, workflow) = if attributes { ("#[step]\n", "#[workflow]\n") } else { ("", "") };
    let mut text = String::new();
    text.push_str(match attributes {
        true => "use workflow_runtime::{Result, start, step, workflow};\n",
        false => "use workflow_runtime::Result;\n",
    });
    let mut main = String::new();
    for number in 0..WORKFLOWS {
        let mut body = String::new();
        for at in 0..STEPS {
            let name = format!("step_{number}_{at}");
            match at % 3 {
                0 => {
                    writeln!(text, "{step}async fn {name}(order: u64, cents: u32) -> Result<String> {{")?;
                    writeln!(text, "    Ok(format!(\"{name}: {{order}} {{cents}}\"))\n}}")?;
                    writeln!(body, "    let text = {name}(total, {at}).await?;")?;
                }
                1 => {
                    writeln!(text, "{step}async fn {name}(text: String) -> Result<u64> {{")?;
                    writeln!(text, "    Ok(text.len() as u64 + {at})\n}}")?;
                    writeln!(body, "    total += {name}(text).await?;")?;
                }
                _ => {
                    writeln!(text, "{step}async fn {name}(number: u64) -> Result<u64> {{")?;
                    writeln!(text, "    Ok(number + {at})\n}}")?;
                    writeln!(body, "    total += {name}(total).await?;")?;
                }
            }
        }
        writeln!(
            text,
            "{workflow}async fn workflow_{number}(order: u64) -> Result<u64> {{\n    let mut total = order;"
        )?;
        writeln!(text, "{body}    Ok(total + text.len() as u64)\n}}")?;
        match attributes {
            true => writeln!(main, "    println!(\"{{}}\", start(workflow_{number}, {number}).await?.await?);")?,
            false => writeln!(main, "    println!(\"{{}}\", workflow_{number}({number}).await?);")?,
        }
    }
    writeln!(text, "#[tokio::main]\nasync fn main() -> Result<()> {{\n{main}    Ok(())\n}}")?;
    Ok(text)
}
