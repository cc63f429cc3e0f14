//! The machine on which this process runs.

/// Its name, if the system provides one.
#[cfg(unix)]
pub(crate) fn name() -> Option<String> {
    let system = rustix::system::uname();
    system.nodename().to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// This system provides no name.
#[cfg(not(unix))]
pub(crate) fn name() -> Option<String> {
    None
}
