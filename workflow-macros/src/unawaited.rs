//! Values that a body throws away with `let _ = ..;`: one that is an operation was meant to be awaited.
//!
//! The runtime's probe decides by the type. It is placed only where the compiler knows the type by then: a probe of a type
//! that is still open (`let _ = stack.remove(0);`) would decide it.

use syn::Expr;

/// What gives back a value of the type that it is given, which may be open.
const PASSING_ON: [&str; 8] = ["default", "from", "identity", "into", "max", "min", "replace", "take"];

/// The methods of operations and of their builders.
const OF_OPERATIONS: [&str; 31] = [
    "abandon",
    "answer",
    "answered_by_step",
    "attribute",
    "backoff",
    "close",
    "continue_as_new",
    "heartbeat",
    "hold_for",
    "id",
    "idempotency_key",
    "if_exists",
    "include_state",
    "initial_state",
    "label",
    "metadata",
    "name",
    "open",
    "opens",
    "output_writer",
    "request_context",
    "resume",
    "resume_hook",
    "retries",
    "rollback",
    "start",
    "timeout",
    "token",
    "tracing",
    "write",
    "create_run",
];

/// Whether an expression may be an operation, and has a type that is known.
pub(crate) fn may_be_operation(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => may_be_operation(&inner.expr),
        Expr::Async(_) => true,
        Expr::Call(call) => match &*call.func {
            Expr::Path(callee) => {
                callee.path.segments.last().is_some_and(|last| PASSING_ON.iter().all(|name| last.ident != name))
            }
            _ => false,
        },
        Expr::MethodCall(call) => {
            OF_OPERATIONS.iter().any(|name| call.method == name)
                // A method of the user's own type.
                || matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self"))
        }
        _ => false,
    }
}
