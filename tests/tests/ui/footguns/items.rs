//! Items inside a body that the body uses.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use workflow_runtime::{Result, workflow};

#[workflow]
async fn a_function() -> Result<SystemTime> {
    fn clock() -> SystemTime {
        SystemTime::now()
    }
    Ok(clock())
}

#[workflow]
async fn a_function_of_a_function() -> Result<Duration> {
    fn stopwatch() -> Duration {
        started().elapsed()
    }
    fn started() -> Instant {
        Instant::now()
    }
    Ok(stopwatch())
}

#[workflow]
async fn a_constant() -> Result<SystemTime> {
    const CLOCK: fn() -> SystemTime = SystemTime::now;
    Ok(CLOCK())
}

#[workflow]
async fn a_static() -> Result<SystemTime> {
    static BEGUN: LazyLock<SystemTime> = LazyLock::new(|| SystemTime::now());
    Ok(*BEGUN)
}

#[workflow]
async fn a_method(keys: Vec<String>) -> Result<usize> {
    struct Settings(Vec<String>);
    impl Settings {
        fn set(&self) -> usize {
            self.0.iter().filter(|key| std::env::var(key).is_ok()).count()
        }
    }
    Ok(Settings(keys).set())
}

#[workflow]
async fn in_a_block(key: u64) -> Result<bool> {
    if key > 1 {
        fn exists() -> bool {
            std::path::Path::new("order").exists()
        }
        return Ok(exists());
    }
    Ok(false)
}

#[workflow]
async fn in_a_macro() -> Result<String> {
    fn clock() -> SystemTime {
        SystemTime::now()
    }
    Ok(format!("{:?}", clock()))
}

fn main() {}
