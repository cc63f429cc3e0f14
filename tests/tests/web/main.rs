//! The web page: what is refused, what is shown, and a tour of it in a browser.

fn main() -> std::process::ExitCode {
    workflow_harness::main(file!())
}
