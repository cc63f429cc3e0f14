//! Calls that would give another answer on a replay.
//!
//! A call that is spelled out from its crate is refused here. Otherwise only the compiler knows what a name stands for:
//! the callee is passed through a probe of the runtime, beside the function that it must not be. An import under another
//! name is caught then, and a function of the user's own with the same name is not. What is only suspicious is left to
//! the run-time checks, so that no good program is refused.

mod list;
mod names;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprCall, Path};

use self::list::{BY_NAME, CLOCK_TYPES, COMMON, KNOWN, Known, SPELLED, Why};
pub(crate) use self::names::Names;
use crate::durable::Rewriter;

/// Whether an identifier may be a call that is looked at here.
pub(crate) fn is_candidate(name: &str) -> bool {
    BY_NAME.contains(&name)
        || KNOWN.iter().any(|known| last_of(known.path) == name)
        || SPELLED.iter().any(|(path, _)| last_of(path) == name || path.ends_with("::*") && path.starts_with(name))
}

/// Whether it is `nondeterministic(..)`: the result of what is in it is recorded, whatever it does.
pub(crate) fn is_way_out(call: &ExprCall) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "nondeterministic"))
}

/// Whether it is a call that is refused as it is spelled.
pub(crate) fn is_refused(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    matches!(&*call.func, Expr::Path(callee) if callee.qself.is_none() && spelled(&segments(&callee.path)).is_some())
}

/// Looks at a call whose parts have been rewritten already.
pub(crate) fn check_call(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::Call(call) = expr else { return };
    let Expr::Path(callee) = &*call.func else { return };
    if callee.qself.is_some() {
        return;
    }
    let segments = segments(&callee.path);
    if let Some(why) = spelled(&segments) {
        let name = segments.join("::");
        rewriter.errors.on(&callee.path, format!("`{name}` is not for workflows: {}", why.reason()));
        return;
    }
    let [before @ .., last] = &segments[..] else { return };
    if !rewriter.probing || before.is_empty() && rewriter.names.is_local(last) {
        return;
    }
    let known: Vec<&Known> = KNOWN.iter().filter(|known| last_of(known.path) == last).collect();
    let is_common = COMMON
        .iter()
        .any(|(name, parents)| name == last && !before.last().is_some_and(|parent| parents.contains(&parent.as_str())));
    if is_common || known.is_empty() && !BY_NAME.contains(&last.as_str()) {
        return;
    }
    let span = callee.path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span());
    let probed = compared(rewriter, call.func.to_token_stream(), &known, span);
    *call.func = Expr::Verbatim(quote_spanned!(span=> (#probed)));
    check_returned(rewriter, expr, &segments, span);
}

/// The function, compared with all that it must not be.
fn compared(rewriter: &mut Rewriter<'_>, mut probed: TokenStream, known: &[&Known], span: Span) -> TokenStream {
    for known in known {
        let function = function(rewriter, known, span);
        probed = probe(rewriter, known.why, &probed, &function, span);
    }
    if known.is_empty() {
        // Nothing to compare with: only its full name is looked at, when it is called.
        probed = probe(rewriter, Why::Random, &probed, &quote_spanned!(span=> ()), span);
    }
    probed
}

/// Looks at a function that is not called but passed on, as in `keys.map(std::env::var)`. A name of one segment may be a
/// variable, which a probe would move.
pub(crate) fn check_value(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::Path(path) = &*expr else { return };
    if path.qself.is_some() {
        return;
    }
    let segments = segments(&path.path);
    let [.., parent, last] = &segments[..] else { return };
    if let Some(why) = spelled(&segments) {
        let name = segments.join("::");
        rewriter.errors.on(&path.path, format!("`{name}` is not for workflows: {}", why.reason()));
        return;
    }
    let is_common = COMMON.iter().any(|(name, parents)| name == last && !parents.contains(&parent.as_str()));
    let known: Vec<&Known> = KNOWN.iter().filter(|known| last_of(known.path) == last).collect();
    if !rewriter.probing || is_common || known.is_empty() {
        return;
    }
    let span = path.path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span());
    let probed = compared(rewriter, expr.to_token_stream(), &known, span);
    *expr = Expr::Verbatim(probed);
}

/// `Utc::now()` and `Uuid::new_v4()`: told by the type that they return, since their crates cannot be named here.
fn check_returned(rewriter: &mut Rewriter<'_>, expr: &mut Expr, segments: &[String], span: Span) {
    let [.., ty, last] = segments else { return };
    let is_clock = last.starts_with("now") && CLOCK_TYPES.contains(&ty.as_str());
    let probe = match last.as_str() {
        _ if is_clock => "TimeOf",
        "new_v4" | "now_v1" | "now_v6" | "now_v7" => "IdentifierOf",
        _ => return,
    };
    let (v1, probe) = (rewriter.v1(span), Ident::new(probe, span));
    *expr = Expr::Verbatim(quote_spanned!(span=> #v1::#probe(#expr).pass()));
}

/// `start.elapsed()` reads the clock, `path.exists()` the disk.
pub(crate) fn check_method(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::MethodCall(call) = &*expr else { return };
    if !rewriter.probing || !call.args.is_empty() {
        return;
    }
    let probe = match call.method.to_string().as_str() {
        "elapsed" => "ElapsedOf",
        "exists" | "try_exists" | "is_file" | "is_dir" | "is_symlink" | "metadata" | "symlink_metadata"
        | "read_dir" | "canonicalize" | "read_link" => "PathOf",
        _ => return,
    };
    let span = call.method.span();
    if is_place(&call.receiver) {
        *expr = beforehand(rewriter, probe, &call.receiver, expr, span);
        return;
    }
    // Evaluated once, and borrowed as the method would borrow it.
    rewriter.probes = true;
    rewriter.changes += 1;
    let (v1, probe) = (rewriter.v1(span), Ident::new(probe, span));
    let (receiver, method) = (&call.receiver, &call.method);
    let bound = Ident::new("receiver", Span::mixed_site());
    *expr = Expr::Verbatim(quote_spanned! {span=>
        #v1::second((), match &#receiver { #bound => #v1::second(#v1::#probe(#bound).pass(), #bound.#method()) })
    });
}

/// A loop that awaits in the order of a hash map issues its steps in another order on each replay.
pub(crate) fn check_loop(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::ForLoop(iteration) = expr else { return };
    if !rewriter.probing || !awaits(iteration.body.to_token_stream()) {
        return;
    }
    let source = source(&mut iteration.expr);
    let place = match &*source {
        // Its method is known, so its type is.
        Expr::MethodCall(call) if is_place(&call.receiver) => &call.receiver,
        Expr::Reference(reference) if is_known_place(rewriter, &reference.expr) => &reference.expr,
        place if is_known_place(rewriter, place) => place,
        _ => return,
    };
    *source = beforehand(rewriter, "OrderOf", place, source, place.span());
}

/// What makes the iterator, below the adapters that keep its order.
fn source(expr: &mut Expr) -> &mut Expr {
    const SOURCES: [&str; 9] =
        ["iter", "iter_mut", "into_iter", "keys", "values", "values_mut", "into_keys", "into_values", "drain"];
    const ADAPTERS: [&str; 12] = [
        "by_ref",
        "chain",
        "cloned",
        "copied",
        "enumerate",
        "filter",
        "filter_map",
        "inspect",
        "map",
        "skip",
        "take",
        "zip",
    ];
    let calls = |expr: &Expr, names: &[&str]| matches!(expr, Expr::MethodCall(call) if names.iter().any(|name| call.method == name));
    let mut depth = 0;
    let mut below = &*expr;
    while let Expr::MethodCall(call) = below
        && calls(below, &ADAPTERS)
    {
        below = &call.receiver;
        depth += 1;
    }
    // Adapters of anything else are left alone: what they are called on may be no iterator at all.
    if !calls(below, &SOURCES) {
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

/// `second(Probe(&place).pass(), expr)`: looks at a place, then evaluates the expression as it was.
fn beforehand(rewriter: &mut Rewriter<'_>, probe: &str, place: &Expr, expr: &Expr, span: Span) -> Expr {
    rewriter.probes = true;
    rewriter.changes += 1;
    let (v1, probe) = (rewriter.v1(span), Ident::new(probe, span));
    Expr::Verbatim(quote_spanned!(span=> #v1::second(#v1::#probe(&#place).pass(), #expr)))
}

fn probe(
    rewriter: &mut Rewriter<'_>,
    why: Why,
    callee: &TokenStream,
    function: &TokenStream,
    span: Span,
) -> TokenStream {
    rewriter.probes = true;
    rewriter.changes += 1;
    let (v1, probe) = (rewriter.v1(span), Ident::new(why.probe(), span));
    quote_spanned!(span=> #v1::#probe(#callee, #function).pass())
}

/// The path to a function that must not be called.
fn function(rewriter: &Rewriter<'_>, known: &Known, span: Span) -> TokenStream {
    let segments = known.path.split("::").map(|segment| format_ident!("{segment}", span = span));
    let path = match known.path.starts_with("tokio::") {
        true => {
            let v1 = rewriter.v1(span);
            quote_spanned!(span=> #v1 #(::#segments)*)
        }
        false => quote_spanned!(span=> #(::#segments)*),
    };
    let generics: TokenStream = known.generics.parse().unwrap_or_default();
    let generics: TokenStream = generics
        .into_iter()
        .map(|mut token: TokenTree| {
            token.set_span(span);
            token
        })
        .collect();
    if generics.is_empty() { path } else { quote!(#path::#generics) }
}

fn spelled(segments: &[String]) -> Option<Why> {
    let path = match segments {
        [root, rest @ ..] if root == "core" || root == "alloc" => format!("std::{}", rest.join("::")),
        segments => segments.join("::"),
    };
    if segments.len() < 2 {
        return None;
    }
    let listed = SPELLED.iter().find(|(listed, _)| match listed.strip_suffix('*') {
        Some(module) => path
            .strip_prefix(module)
            .is_some_and(|rest| !rest.contains("::") && rest.starts_with(|c: char| c.is_ascii_lowercase())),
        None => *listed == path,
    });
    let known = || KNOWN.iter().find(|known| known.path == path);
    listed.map(|(_, why)| *why).or_else(|| known().map(|known| known.why))
}

fn segments(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn last_of(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// A variable, or a field of one.
fn is_place(expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => is_name(&path.path).is_some(),
        Expr::Field(field) => is_place(&field.base),
        Expr::Paren(paren) => is_place(&paren.expr),
        _ => false,
    }
}

/// A place whose type the compiler knows already. A probe of one that it does not know yet would decide it.
fn is_known_place(rewriter: &Rewriter<'_>, expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => is_name(&path.path).is_some_and(|name| rewriter.names.is_typed(&name)),
        Expr::Field(field) => is_known_place(rewriter, &field.base),
        _ => false,
    }
}

fn is_name(path: &Path) -> Option<String> {
    path.get_ident().map(Ident::to_string)
}

fn awaits(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "await",
        TokenTree::Group(group) => awaits(group.stream()),
        _ => false,
    })
}
