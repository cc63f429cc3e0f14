// A call that is refused gives one error, whatever it is given and whatever becomes of its result.
use std::fs::{read_to_string, write};
use std::path::PathBuf;
use std::time::SystemTime;
use workflow_runtime::{Result, workflow};

#[workflow]
async fn writes(path: PathBuf, text: String) -> Result<u64> {
    write(&path, text)?;
    let read = read_to_string(path.join("x"))?;
    let now = SystemTime::now();
    let seconds = now.elapsed()?.as_secs();
    Ok(seconds + read.len() as u64)
}

fn main() {}
