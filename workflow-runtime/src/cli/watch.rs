//! Redrawing when the store reports a change.

use std::time::Duration;

use super::context::Context;
use super::exit::Exit;
use super::report::Outcome;

/// At most four updates a second.
const PAUSE: Duration = Duration::from_millis(250);
/// A list is also read again after this time: the ages in it change, and a worker of an earlier version does not notify of all
/// changes.
const REREAD: Duration = Duration::from_secs(30);
/// Moves the cursor to the beginning and clears what is below it.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";

/// Draws once, or again after each change if `watches`, until the drawing says that nothing more will change, by its exit
/// code. At a terminal each drawing replaces the one before; elsewhere it follows it, if it differs.
pub(super) async fn draw(
    context: &mut Context,
    watches: bool,
    mut draw: impl AsyncFnMut(&mut Context) -> Outcome<Option<Exit>>,
) -> Outcome<Exit> {
    let client = context.client().await?;
    let mut changes = client.inner().changes();
    let _subscription = watches.then(|| client.inner().follow_all());
    let mut before = Vec::new();
    loop {
        changes.mark_unchanged();
        let done = draw(context).await?;
        if !watches {
            return Ok(done.unwrap_or(Exit::Ok));
        }
        let drawn = context.output.take();
        if drawn != before {
            if context.output.is_terminal() {
                context.output.bytes(CLEAR)?;
            }
            context.output.bytes(&drawn)?;
            context.output.flush()?;
            before = drawn;
        }
        if let Some(exit) = done {
            return Ok(exit);
        }
        let _ = tokio::time::timeout(REREAD, changes.changed()).await;
        tokio::time::sleep(PAUSE).await;
    }
}
