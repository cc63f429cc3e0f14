//! Changes of a workflow's code that unfinished runs do not adopt: the markers of `patched` and `deprecated_patch`.
//!
//! A marker is a command without a number. The first answer for a name holds for the rest of the generation, so that a loop
//! takes one branch. An answer of `false` is not recorded: a replay finds no marker in the same place.

use std::borrow::Cow;
use std::panic::Location;

use super::{Phase, Shared, State};
use crate::error::{Code, Error};
use crate::names;
use crate::replay::journal::Command;

impl State {
    /// The recorded command that the next one is compared with. Any code may pass the marker of a deprecated patch.
    pub(super) fn next_recorded(&self) -> Option<&Command> {
        let mut expected = self.expected.as_ref()?.as_slice().iter();
        expected.find(|command| !matches!(command, Command::Patch { deprecated: true, .. }))
    }

    /// Takes that command.
    pub(super) fn take_recorded(&mut self) -> Option<Command> {
        loop {
            match self.expected.as_mut()?.next()? {
                Command::Patch { name, deprecated: true } => self.answer(name, true),
                command => return Some(command),
            }
        }
    }

    /// Takes the marker of a patch, if it is recorded next. Markers of other patches that are deprecated may be before it.
    fn take_marker(&mut self, name: &str) -> bool {
        let Some(expected) = &mut self.expected else { return false };
        let passed =
            |command: &&Command| matches!(command, Command::Patch { name: other, deprecated: true } if other != name);
        let others = expected.as_slice().iter().take_while(passed).count();
        if !matches!(expected.as_slice().get(others), Some(Command::Patch { name: next, .. }) if next == name) {
            return false;
        }
        let taken: Vec<Command> = expected.by_ref().take(others + 1).collect();
        for command in taken {
            if let Command::Patch { name, .. } = command {
                self.answer(name, true);
            }
        }
        true
    }

    fn answer(&mut self, name: Cow<'static, str>, is_patched: bool) {
        self.patches.insert(name, is_patched);
    }

    /// Records a marker, or takes the recorded one. `None` if the run has stopped, and has no answer.
    fn ask(&mut self, name: &'static str, deprecated: bool) -> Option<bool> {
        if let Some(answer) = self.patches.get(name) {
            return Some(*answer);
        }
        if self.phase != Phase::Polling || self.has_stopped() {
            return None;
        }
        let answer = if self.expected.is_some() {
            self.take_marker(name)
        } else {
            self.commands.push(Command::Patch { name: name.into(), deprecated });
            true
        };
        self.answer(name.into(), answer);
        Some(answer)
    }
}

impl Shared {
    /// The patches that the run has reached in this generation, each with whether it takes the new branch.
    pub(crate) fn patches(&self) -> Vec<(Cow<'static, str>, bool)> {
        self.state().patches.iter().map(|(name, answer)| (name.clone(), *answer)).collect()
    }

    /// Whether the run takes the new branch of a change.
    pub(crate) fn patched(&self, name: &'static str, site: &'static Location<'static>) -> bool {
        self.is_name(name, site) && self.state().ask(name, false).unwrap_or(false)
    }

    /// Requires that the run has taken the new branch of a change, or has not reached it yet.
    pub(crate) fn deprecated_patch(&self, name: &'static str, site: &'static Location<'static>) {
        if !self.is_name(name, site) || self.state().ask(name, true) != Some(false) {
            return;
        }
        self.fail(
            Error::coded(
                Code::Nondeterminism,
                format!("the run predates patch `{name}`, and this code has no old branch"),
            )
            .operation(format!("at {site}"))
            .expected(format!("that the journal has the marker of patch `{name}` here"))
            .found("no marker: the run was here before the patch was deployed")
            .help(format!(
                "deploy code with `if patched(\"{name}\") {{ the new code }} else {{ the old code }}` in place of \
                     `deprecated_patch(\"{name}\")`, until no unfinished run needs the old code; the run then continues"
            )),
        );
    }

    /// Stops the run if the name cannot be that of a patch.
    fn is_name(&self, name: &str, site: &'static Location<'static>) -> bool {
        match names::check("the name of a patch", name) {
            Ok(()) => true,
            Err(error) => {
                self.fail(error.operation(format!("at {site}")).help(
                    "give the patch a name of 1 to 512 bytes without control characters, such as `patched(\"with-audit\")`",
                ));
                false
            }
        }
    }
}
