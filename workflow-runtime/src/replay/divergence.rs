//! Explains how the code of a workflow differs from what the journal of a run has: a function of the commands that are recorded
//! and those that the code issues in their place.

use std::panic::Location;

use super::command::function;
use super::journal::{Command, End};
use crate::definition::Source;
use crate::error::{Code, Error};

/// What the last line of each help is about.
const UNCHANGED: &str = "if no code was changed, move what differs between two executions into a #[step]";

/// Finds the definition that a recorded command names, if this build has it.
pub(crate) type Known = fn(&Command) -> Option<Source>;

/// A command that is not what is recorded.
pub(super) struct Found {
    pub command: Command,
    /// The definition of its step or workflow.
    pub source: Option<Source>,
    /// Whether the recorded input is one of this step or workflow.
    pub decodes: bool,
    /// The location of the call, if it has one.
    pub site: Option<&'static Location<'static>>,
}

/// The commands from the first one on that differs.
pub(super) struct Divergence {
    /// Those that are recorded for this event.
    pub recorded: Vec<Command>,
    /// Those that are recorded for later events, as far as they are known.
    pub later: Vec<Command>,
    /// Those that the code issues, in place of all that are recorded for this event.
    pub found: Vec<Found>,
    /// Whether the workflow has ended.
    pub ended: bool,
    /// The location of the call before.
    pub previous: Option<&'static Location<'static>>,
}

/// A change of the code. The command that is recorded is `r`, the one that the code issues is `f`.
enum Change<'a> {
    /// `f` is not recorded, and comes before `r` or in its place.
    Inserted {
        r: &'a Command,
        f: &'a Found,
    },
    /// `f` is not recorded, where the run waited or ended.
    Appended {
        f: &'a Found,
    },
    /// The same call as the one before `f` is made again.
    Again {
        f: &'a Found,
    },
    /// `f` is recorded later, behind another event.
    Earlier {
        f: &'a Found,
    },
    /// `r` is not issued here; `f` is recorded later.
    Removed {
        r: &'a Command,
        f: &'a Found,
    },
    /// Nothing is issued in place of `r`.
    Omitted {
        r: &'a Command,
    },
    Swapped {
        r: &'a Command,
        f: &'a Found,
    },
    /// No definition of this build has the id of `r`.
    Renamed {
        r: &'a Command,
        f: &'a Found,
    },
    /// The same step or workflow with another input.
    Arguments {
        f: &'a Found,
    },
    /// The same kind with other details.
    Details {
        f: &'a Found,
    },
    /// The run has dropped an operation that the code keeps.
    Kept {
        op: u64,
    },
    /// The code drops an operation that the run has kept.
    Dropped {
        op: u64,
    },
    /// The marker of a patch that the code does not ask for.
    Unasked {
        name: &'a str,
    },
    /// The code and the journal agree.
    Nothing,
}

impl Divergence {
    fn change(&self, known: Known) -> Change<'_> {
        let is_recorded = |f: &Found| self.recorded.iter().chain(&self.later).skip(1).any(|r| r.is_same(&f.command));
        let is_found = |r: &Command| self.found.iter().skip(1).any(|f| r.is_same(&f.command));
        let again = |f: &Found| f.site.is_some() && f.site == self.previous;
        match (self.recorded.first(), self.found.first()) {
            (Some(Command::Patch { name, .. }), _) => Change::Unasked { name },
            (Some(Command::Cancel { op }), _) => Change::Kept { op: *op },
            (_, Some(Found { command: Command::Cancel { op }, .. })) => Change::Dropped { op: *op },
            (Some(r), None) => Change::Omitted { r },
            (None, None) => Change::Nothing,
            (None, Some(f)) if self.later.iter().any(|r| r.is_same(&f.command)) => Change::Earlier { f },
            (None, Some(f)) if again(f) => Change::Again { f },
            (None, Some(f)) => Change::Appended { f },
            (Some(r), Some(f)) if r.is_same(&f.command) => match (r, &f.command) {
                (Command::Step { input, .. }, Command::Step { input: other, .. }) if input != other => {
                    Change::Arguments { f }
                }
                (Command::Child { input, .. }, Command::Child { input: other, .. }) if input != other => {
                    Change::Arguments { f }
                }
                _ => Change::Details { f },
            },
            (Some(r), Some(f)) => match (is_recorded(f), is_found(r)) {
                (true, true) => Change::Swapped { r, f },
                (true, false) => Change::Removed { r, f },
                (false, false) if is_gone(r, known) && is_kind(r, &f.command) => Change::Renamed { r, f },
                (false, _) if again(f) => Change::Again { f },
                (false, _) => Change::Inserted { r, f },
            },
        }
    }

    /// What was changed, where, and the line to write.
    pub fn explain(&self, known: Known) -> Error {
        let change = self.change(known);
        let (what, help) = (change.text(self), change.help());
        let recorded = match self.recorded.first() {
            None => "no further command behind this event".to_owned(),
            Some(command) if is_gone(command, known) => {
                format!("{}, which this build does not have", command.describe())
            }
            Some(command) => located(command, known(command)),
        };
        let found = match self.found.first() {
            None if self.ended => "the workflow ended".to_owned(),
            None => "the workflow waits without it".to_owned(),
            Some(Found { command, source, .. }) => located(command, *source),
        };
        let error = diverged(recorded, found, self.found.first().and_then(|found| found.site).or(self.previous));
        let error = error.help(help);
        if what.is_empty() { error } else { error.because(what) }
    }
}

impl Change<'_> {
    fn text(&self, of: &Divergence) -> String {
        match self {
            Change::Inserted { r, f } => {
                format!("{} was inserted before {}, or took its place", a(&f.command), r.the())
            }
            Change::Appended { f } => {
                format!("{} was inserted where the run waited or ended", a(&f.command))
            }
            Change::Again { f } => {
                format!("{} is made once more: a loop has more rounds, or was put around it", f.command.the())
            }
            Change::Earlier { f } => {
                format!("{} was moved to an earlier place, behind another result", f.command.the())
            }
            Change::Removed { r, f } => format!("{} was removed, or moved behind {}", r.the(), f.command.the()),
            Change::Omitted { r } if of.ended => format!("{} was removed: the workflow ends without it", r.the()),
            Change::Omitted { r } => format!("{} was removed, or moved behind a later result", r.the()),
            Change::Swapped { r, f } => format!("{} and {} were swapped", r.the(), f.command.the()),
            Change::Renamed { r, f } => {
                format!("{} was renamed to {}, or replaced by it", r.the(), name(&f.command))
            }
            Change::Arguments { f } if f.decodes => format!("{} has other arguments", f.command.the()),
            Change::Arguments { f } => format!("{} has arguments of another type", f.command.the()),
            Change::Details { f } => format!("{} is another one", f.command.the()),
            Change::Kept { op } => {
                format!("operation {op} is not dropped here any more: an arm of a `select!`, or a handle, is kept")
            }
            Change::Dropped { op } => {
                format!("operation {op} is dropped here: an arm of a `select!`, or a handle, is not kept")
            }
            Change::Unasked { name } => {
                format!("the call `patched(\"{name}\")` was removed or moved, and this run has taken its new branch")
            }
            Change::Nothing => String::new(),
        }
    }

    fn help(&self) -> String {
        let lines = match self {
            Change::Inserted { r, f } => format!(
                "{}; or, if it replaces {}, {}",
                only_new(&format!("with-{}", f.command.slug()), &f.command),
                r.the(),
                either(&format!("{}-for-{}", f.command.slug(), r.slug()), &code(&f.command), &code(r)),
            ),
            Change::Appended { f } => only_new(&format!("with-{}", f.command.slug()), &f.command),
            Change::Again { f } => either(&format!("more-{}", f.command.slug()), "the new loop", "the old loop"),
            Change::Earlier { f } => either(&format!("early-{}", f.command.slug()), "the new order", "the old order"),
            Change::Removed { r, f } => format!(
                "{}; or, if it was moved, {}",
                only_old(&format!("without-{}", r.slug()), r),
                either(&format!("{}-first", f.command.slug()), "the new order", "the old order"),
            ),
            Change::Omitted { r } => format!(
                "{}; or, if it was moved, {}",
                only_old(&format!("without-{}", r.slug()), r),
                either(&format!("late-{}", r.slug()), "the new order", "the old order"),
            ),
            Change::Swapped { f, .. } => {
                either(&format!("{}-first", f.command.slug()), "the new order", "the old order")
            }
            Change::Renamed { r, f } => format!(
                "{}; or, if it was replaced, define it again and write {}",
                was(r),
                either(&format!("{}-for-{}", f.command.slug(), r.slug()), &code(&f.command), &code(r)),
            ),
            Change::Arguments { f } if f.decodes => format!(
                "`let argument = if patched(\"other-{}\") {{ the new one }} else {{ the old one }};`",
                f.command.slug()
            ),
            Change::Arguments { f } => format!(
                "`#[serde(default)]` at each new field; or leave {} as it was, define another one, and write {}",
                f.command.the(),
                either(&format!("{}-2", f.command.slug()), &f.command.code_with("_2"), &code(&f.command)),
            ),
            Change::Details { f } => either(&format!("other-{}", f.command.slug()), "the new one", "the old one"),
            Change::Kept { op } => either(&format!("keep-{op}"), "keep it", "drop it, as before"),
            Change::Dropped { op } => either(&format!("drop-{op}"), "drop it", "keep it, as before"),
            Change::Unasked { name } => {
                return format!(
                    "call `patched(\"{name}\")` where it was, or `deprecated_patch(\"{name}\")` if no run needs the old branch, \
                     until the runs with its marker have ended"
                );
            }
            Change::Nothing => return UNCHANGED.to_owned(),
        };
        format!("write {lines}: this run then continues as it began, and new runs take the new code; {UNCHANGED}")
    }
}

/// Whether a command names a definition that this build no longer has.
fn is_gone(command: &Command, known: Known) -> bool {
    command.definition_id().is_some() && known(command).is_none()
}

fn is_kind(one: &Command, other: &Command) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

fn name(command: &Command) -> String {
    command.definition_id().map_or_else(|| command.the(), |id| format!("`{}`", function(id)))
}

/// The same with the indefinite article.
fn a(command: &Command) -> String {
    command.the().replacen("the ", "a ", 1)
}

/// A line of code that does it.
fn code(command: &Command) -> String {
    command.code_with("")
}

fn only_new(patch: &str, command: &Command) -> String {
    format!("`if patched(\"{patch}\") {{ {}; }}`", code(command))
}

fn only_old(patch: &str, command: &Command) -> String {
    format!("`if !patched(\"{patch}\") {{ {}; }}`", code(command))
}

fn either(patch: &str, new: &str, old: &str) -> String {
    format!("`if patched(\"{patch}\") {{ {new} }} else {{ {old} }}`")
}

fn was(recorded: &Command) -> String {
    let attribute = if matches!(recorded, Command::Child { .. }) { "workflow" } else { "step" };
    format!("`#[{attribute}(was = \"{}\")]`", recorded.definition_id().unwrap_or_default())
}

fn located(command: &Command, source: Option<Source>) -> String {
    match source {
        Some(source) => format!("{}, defined at {}:{}", command.describe(), source.file, source.line),
        None => command.describe(),
    }
}

fn diverged(recorded: String, found: String, site: Option<&'static Location<'static>>) -> Error {
    let error = Error::coded(Code::Nondeterminism, "the code does not match the journal of the run")
        .expected(format!("as recorded, {recorded}"))
        .found(format!("with this code, {found}"));
    match site {
        Some(site) => error.operation(format!("at {site}")),
        None => error,
    }
}

/// The error for an event that no operation of the code takes.
pub(super) fn untaken(event: String, found: &str, site: Option<&'static Location<'static>>) -> Error {
    diverged(event, found.to_owned(), site)
        .help("deploy the code that the run began with, or write the change as `if patched(\"..\") { .. } else { .. }`")
}

/// The error for another end than the recorded one.
pub(super) fn ends_otherwise(recorded: Option<&End>, found: Option<&End>) -> Error {
    let words = |end: Option<&End>| match end {
        None => "the workflow waits".to_owned(),
        Some(End::Completed(value)) => format!("the workflow returns Ok({value:?})"),
        Some(End::Failed(error)) => format!("the workflow returns Err({error:?})"),
        Some(End::Cancelled(reason)) => format!("the run is cancelled: {reason}"),
        Some(End::Continued(args)) => format!("the workflow continues as new with {args:?}"),
    };
    let what = match (recorded, found) {
        (None, _) => "the workflow ends earlier",
        (_, None) => "the workflow ends later",
        (Some(End::Completed(_)), Some(End::Completed(_))) => "the workflow returns another result",
        (Some(End::Failed(_)), Some(End::Failed(_))) => "the workflow returns another error",
        (Some(End::Continued(_)), Some(End::Continued(_))) => "the workflow continues with other arguments",
        _ => "the workflow ends in another way",
    };
    diverged(words(recorded), words(found), None).because(what).help(format!(
        "write {}: this run then ends as it did, and new runs take the new code; {UNCHANGED}",
        either("other-end", "the new end", "the old end")
    ))
}
