//! `completions`: what a shell completes.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::context::Context;
use super::exit::Exit;
use super::report::Outcome;

/// Print the completions for a shell
#[derive(Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// `C` is the whole command line.
    pub fn execute<C: CommandFactory>(self, context: &mut Context) -> Outcome<Exit> {
        let mut script = Vec::new();
        let mut command = C::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        context.output.bytes(&script)?;
        Ok(Exit::Ok)
    }
}
