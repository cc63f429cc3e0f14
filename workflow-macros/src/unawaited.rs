//! Values that a body discards with `let _ = ..;`: an operation among them should have been awaited.
//!
//! The runtime's probe decides by the type. It is placed only where the compiler already knows the type: a probe of an
//! open type (`let _ = stack.remove(0);`) would determine it.

use syn::Expr;

/// Functions that return a value of the type that they receive, which may be open.
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

/// Whether an expression may be an operation, and has a known type.
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
