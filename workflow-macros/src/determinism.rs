//! Calls whose results would differ on a replay.
//!
//! A call whose path is written out from its crate is refused here. Otherwise only the compiler can resolve the name:
//! the generated code passes the callee through a probe of the runtime, together with the forbidden function. This
//! finds an import under another name, and does not refuse a user's function with the same name. Merely suspicious
//! calls are left to the run-time checks, so that no correct program is refused.

mod items;
mod list;
mod names;
mod order;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Expr, ExprCall, ExprPath, Path, Type};

pub(crate) use self::items::{Used, check as check_items};
use self::list::{BY_NAME, CLOCK_TYPES, COMMON, KNOWN, Known, SPELLED, Why};
pub(crate) use self::names::Names;
pub(crate) use self::order::check_loop;
use crate::durable::Rewriter;

/// Whether an identifier may be a call that is checked here.
pub(crate) fn is_candidate(name: &str) -> bool {
    BY_NAME.contains(&name)
        || KNOWN.iter().any(|known| last_of(known.path) == name)
        || SPELLED.iter().any(|(path, _)| last_of(path) == name || path.ends_with("::*") && path.starts_with(name))
}

/// Whether it is `nondeterministic(..)`: its result is recorded, so its argument may do anything.
pub(crate) fn is_way_out(call: &ExprCall) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "nondeterministic"))
}

/// Whether it is a call that is refused by its written path.
pub(crate) fn is_refused(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    matches!(&*call.func, Expr::Path(callee) if segments(callee).is_some_and(|segments| spelled(&segments).is_some()))
}

/// Checks a call whose parts have already been rewritten.
pub(crate) fn check_call(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::Call(call) = expr else { return };
    let Expr::Path(callee) = &*call.func else { return };
    let Some(segments) = segments(callee) else { return };
    if let Some(why) = spelled(&segments) {
        let name = segments.join("::");
        rewriter.errors.on(callee, format!("`{name}` is not for workflows: {}", why.reason()));
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

/// The function, compared with all forbidden functions.
fn compared(rewriter: &mut Rewriter<'_>, mut probed: TokenStream, known: &[&Known], span: Span) -> TokenStream {
    let Some((last, others)) = known.split_last() else {
        // There is no function to compare with: the runtime checks the full name when it is called.
        return probe(rewriter, Why::Random, &probed, &quote_spanned!(span=> ()), ("last", span));
    };
    for known in others {
        let function = function(rewriter, known, span);
        probed = probe(rewriter, known.why, &probed, &function, ("pass", span));
    }
    let function = function(rewriter, last, span);
    probe(rewriter, last.why, &probed, &function, ("last", span))
}

/// Checks a function that is not called but used as a value, as in `keys.map(std::env::var)` and `let c = Instant::now;`.
pub(crate) fn check_value(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::Path(path) = &*expr else { return };
    let Some(segments) = segments(path) else { return };
    if let Some(why) = spelled(&segments) {
        let name = segments.join("::");
        rewriter.errors.on(path, format!("`{name}` is not for workflows: {}", why.reason()));
        return;
    }
    if let [.., parent, last] = &segments[..] {
        compare_value(rewriter, expr, Some(parent), last);
    }
}

/// The same for a name of one segment, where its value is moved in any case: as an argument, or in an assignment. The
/// name must not be a variable: a probe would move a variable that is otherwise only reborrowed.
pub(crate) fn check_moved_value(rewriter: &mut Rewriter<'_>, expr: &mut Expr) {
    let Expr::Path(path) = &*expr else { return };
    let Some(name) = path.qself.is_none().then(|| is_name(&path.path)).flatten() else { return };
    if !rewriter.names.may_be_variable(&name) {
        compare_value(rewriter, expr, None, &name);
    }
}

fn compare_value(rewriter: &mut Rewriter<'_>, expr: &mut Expr, parent: Option<&String>, last: &str) {
    let is_common = COMMON
        .iter()
        .any(|(name, parents)| *name == last && !parent.is_some_and(|parent| parents.contains(&&**parent)));
    let known: Vec<&Known> = KNOWN.iter().filter(|known| last_of(known.path) == last).collect();
    if !rewriter.probing || is_common || known.is_empty() && !BY_NAME.contains(&last) {
        return;
    }
    let Expr::Path(path) = &*expr else { return };
    let span = path.path.segments.last().map_or_else(Span::call_site, |segment| segment.ident.span());
    let probed = compared(rewriter, expr.to_token_stream(), &known, span);
    *expr = Expr::Verbatim(probed);
}

/// `Utc::now()` and `Uuid::new_v4()`: recognised by their return type, since their crates cannot be named here.
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
    let (probe, by_value) = match call.method.to_string().as_str() {
        "elapsed" => ("ElapsedOf", "ElapsedBy"),
        "exists" | "try_exists" | "is_file" | "is_dir" | "is_symlink" | "metadata" | "symlink_metadata"
        | "read_dir" | "canonicalize" | "read_link" => ("PathOf", "PathBy"),
        _ => return,
    };
    let span = call.method.span();
    if is_place(&call.receiver) {
        *expr = beforehand(rewriter, probe, &call.receiver, expr, span);
        return;
    }
    rewriter.probes = true;
    rewriter.changes += 1;
    let (v1, probe, by_value) = (rewriter.v1(span), Ident::new(probe, span), Ident::new(by_value, span));
    let (receiver, method) = (&call.receiver, &call.method);
    *expr = Expr::Verbatim(if may_be_place(receiver) {
        // The probe would move the place. In a branch that is never executed, and that diverges,
        // it is only type-checked.
        quote_spanned! {span=>
            #v1::second(if false { #v1::#probe(&#receiver).pass(); ::core::unreachable!() }, #receiver.#method())
        }
    } else {
        // A value: the method borrows or takes the output of the probe as it would have taken the value itself.
        quote_spanned!(span=> #v1::#by_value(#receiver).pass().#method())
    });
}

/// `second(Probe(&place).pass(), expr)`: checks a place, then evaluates the unchanged expression.
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
    (method, span): (&str, Span),
) -> TokenStream {
    rewriter.probes = true;
    rewriter.changes += 1;
    let method = Ident::new(method, span);
    let (v1, probe) = (rewriter.v1(span), Ident::new(why.probe(), span));
    quote_spanned!(span=> #v1::#probe(#callee, #function).#method())
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

/// The segments of a path; for `<Type>::function` those of the type and of its function. `None` for a function of a
/// trait, or of a type that has no path.
fn segments(path: &ExprPath) -> Option<Vec<String>> {
    let own = path.path.segments.iter().map(|segment| segment.ident.to_string());
    let Some(qself) = &path.qself else { return Some(own.collect()) };
    let mut ty = &*qself.ty;
    loop {
        match ty {
            Type::Paren(inner) => ty = &inner.elem,
            Type::Group(inner) => ty = &inner.elem,
            Type::Path(ty) if ty.qself.is_none() && qself.position == 0 => {
                return Some(ty.path.segments.iter().map(|segment| segment.ident.to_string()).chain(own).collect());
            }
            _ => return None,
        }
    }
}

fn last_of(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// Whether an expression may be a place in memory, and not a value of its own.
fn may_be_place(expr: &Expr) -> bool {
    match expr {
        Expr::Path(_) | Expr::Field(_) | Expr::Index(_) | Expr::Macro(_) => true,
        Expr::Unary(unary) => matches!(unary.op, syn::UnOp::Deref(_)),
        Expr::Paren(paren) => may_be_place(&paren.expr),
        Expr::Group(group) => may_be_place(&group.expr),
        _ => false,
    }
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

fn is_name(path: &Path) -> Option<String> {
    path.get_ident().map(Ident::to_string)
}
