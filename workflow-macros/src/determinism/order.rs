//! Loops that await in the order of a hash map: they issue their steps in another order on each replay.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Expr;
use syn::spanned::Spanned;

use super::{beforehand, is_name, is_place};
use crate::durable::Rewriter;

/// Methods that make an iterator from another one, and keep its order.
const ADAPTERS: [&str; 21] = [
    "by_ref",
    "chain",
    "cloned",
    "copied",
    "enumerate",
    "filter",
    "filter_map",
    "flat_map",
    "flatten",
    "fuse",
    "inspect",
    "map",
    "map_while",
    "peekable",
    "scan",
    "skip",
    "skip_while",
    "step_by",
    "take",
    "take_while",
    "zip",
];

/// Checks what a loop iterates, if its body awaits.
pub(crate) fn check_loop(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::ForLoop(iteration) = expr else { return };
    if !rewriter.probing || !awaits(iteration.body.to_token_stream()) {
        return;
    }
    let source = source(&mut iteration.expr);
    let place = match &mut *source {
        // The iterator's type hides its map's hasher, so the map itself is checked. Its method is known, and so is its
        // type.
        Expr::MethodCall(call) if is_source(call) => match is_place(&call.receiver) {
            true => (*call.receiver).clone(),
            false => return by_value(rewriter, &mut call.receiver),
        },
        Expr::Reference(reference) => match is_place(&reference.expr) {
            true if is_known_place(rewriter, &reference.expr) => (*reference.expr).clone(),
            true => return,
            false => return by_value(rewriter, &mut reference.expr),
        },
        place if is_place(place) => match is_known_place(rewriter, place) {
            true => place.clone(),
            false => return,
        },
        value => return by_value(rewriter, value),
    };
    let span = place.span();
    *source = beforehand(rewriter, "OrderOf", &place, source, span);
}

/// Checks a returned value, whose type is known: of a call, also of a step that was awaited.
fn by_value(rewriter: &mut Rewriter<'_>, value: &mut Expr) {
    let mut called = &*value;
    loop {
        match called {
            Expr::Paren(inner) => called = &inner.expr,
            Expr::Try(inner) => called = &inner.expr,
            Expr::Await(inner) => called = &inner.base,
            Expr::Call(_) | Expr::MethodCall(_) => break,
            _ => return,
        }
    }
    rewriter.probes = true;
    rewriter.changes += 1;
    let span = value.span();
    let (v1, probe) = (rewriter.v1(span), Ident::new("OrderOfValue", span));
    // The inner part is rewritten after this, so it stays an expression that can be visited.
    let inner = value.clone();
    let mut call: syn::ExprMethodCall = syn::parse_quote_spanned!(span=> #v1::#probe(()).pass());
    if let Expr::Call(wrapped) = &mut *call.receiver
        && let Some(argument) = wrapped.args.first_mut()
    {
        *argument = inner;
    }
    *value = Expr::MethodCall(call);
}

/// The expression that makes the iterator, below the adapters that keep its order.
fn source(expr: &mut Expr) -> &mut Expr {
    let mut depth = 0;
    let mut below = &*expr;
    while let Expr::MethodCall(call) = below
        && ADAPTERS.iter().any(|name| call.method == name)
    {
        below = &call.receiver;
        depth += 1;
    }
    // Adapters of anything else are not checked: their receiver may not be an iterator at all.
    if !matches!(below, Expr::MethodCall(call) if is_source(call)) {
        return expr;
    }
    let mut source = expr;
    for _ in 0..depth {
        match source {
            Expr::MethodCall(call) => source = &mut call.receiver,
            _ => unreachable!("as deep as was just counted"),
        }
    }
    source
}

/// Whether it is a method by which a hash map or set yields its items in its own order. Others, like `get` and
/// `remove`, or one of a user's trait, have their own order.
fn is_source(call: &syn::ExprMethodCall) -> bool {
    let of_all = [
        "clone",
        "drain",
        "into_iter",
        "into_keys",
        "into_values",
        "iter",
        "iter_mut",
        "keys",
        "to_owned",
        "values",
        "values_mut",
    ];
    let of_some = ["difference", "extract_if", "intersection", "symmetric_difference", "union"];
    match call.args.len() {
        0 => of_all.iter().any(|name| call.method == name),
        1 => of_some.iter().any(|name| call.method == name),
        _ => false,
    }
}

/// A place whose type the compiler already knows. A probe of a place with an open type would determine the type.
fn is_known_place(rewriter: &Rewriter<'_>, place: &Expr) -> bool {
    match place {
        Expr::Path(path) => is_name(&path.path).is_some_and(|name| rewriter.names.is_typed(&name)),
        Expr::Field(field) => is_known_place(rewriter, &field.base),
        _ => false,
    }
}

fn awaits(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "await",
        TokenTree::Group(group) => awaits(group.stream()),
        _ => false,
    })
}
