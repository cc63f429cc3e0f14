//! ChromeDriver, which controls a headless Chromium.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// How to install a browser.
const HELP: &str = "install Chromium and ChromeDriver (Debian: apt-get install chromium chromium-driver)";

/// The reason why browser tests cannot run on this machine, if they cannot.
pub fn lacking() -> Option<String> {
    let has = |program: &str| {
        let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    (!has("chromedriver") || !has("chromium")).then(|| HELP.to_owned())
}

/// A running ChromeDriver. Dropping this value kills it.
pub struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// Starts it on a free port of this machine.
    pub fn start() -> Driver {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        Driver { process: command.spawn().expect("chromedriver starts"), port }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
