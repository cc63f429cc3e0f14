//! Awaits inside macros.
//!
//! A macro defines the meaning of its tokens: only tokens that parse as an expression are rewritten, and without rewrites
//! the tokens do not change. Tokens that do not parse are left to the run-time check, so that no correct program is refused.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::visit_mut::VisitMut;
use syn::{Expr, Macro, Token};

use crate::durable::{Operands, Rewriter};
use crate::{determinism, select};

/// Macros whose arguments are evaluated as expressions, once each or never, and are not otherwise inspected.
const EXPRESSION_LIKE: [&str; 38] = [
    "format",
    "format_args",
    "print",
    "println",
    "eprint",
    "eprintln",
    "write",
    "writeln",
    "panic",
    "todo",
    "unreachable",
    "unimplemented",
    "vec",
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "dbg",
    "matches",
    "anyhow",
    "bail",
    "ensure",
    "trace",
    "debug",
    "info",
    "warn",
    "error",
    "event",
    "json",
    "log",
    "eyre",
    "span",
    "trace_span",
    "debug_span",
    "info_span",
    "error_span",
];

/// The crates of the macros that join and select, as far as a path shows.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Family {
    Tokio,
    Futures,
    Unknown,
}

fn family(mac: &Macro) -> Family {
    let segments = &mac.path.segments;
    match segments.first() {
        Some(first) if segments.len() > 1 && first.ident == "tokio" => Family::Tokio,
        Some(first) if segments.len() > 1 && first.ident.to_string().starts_with("futures") => Family::Futures,
        _ => Family::Unknown,
    }
}

/// Rewrites the tokens of a macro in place, or returns the expression that replaces the whole macro.
pub(crate) fn rewrite(rewriter: &mut Rewriter<'_>, mac: &mut Macro) -> Option<Expr> {
    let name = mac.path.segments.last()?.ident.to_string();
    let family = family(mac);
    match name.as_str() {
        "join" | "try_join" | "select" | "select_biased" if rewriter.in_item => {}
        "join" | "try_join" => join(rewriter, mac, family),
        "select" | "select_biased" => return select::rewrite(rewriter, mac, family),
        "stringify" | "concat" | "cfg" | "env" | "option_env" | "include_str" | "include_bytes" | "include" => {}
        _ => {
            let probing = rewriter.probing;
            rewriter.probing &= EXPRESSION_LIKE.contains(&name.as_str());
            rewrite_tokens(rewriter, mac);
            rewriter.probing = probing;
        }
    }
    None
}

fn rewrite_tokens(rewriter: &mut Rewriter<'_>, mac: &mut Macro) {
    if !is_interesting(mac.tokens.clone()) {
        return;
    }
    let before = rewriter.changes;
    if let Ok(tokens) = (|input: ParseStream<'_>| sequence(rewriter, input)).parse2(mac.tokens.clone())
        && rewriter.changes > before
    {
        mac.tokens = tokens;
    }
}

/// Whether there is anything to rewrite.
fn is_interesting(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            ident == "await" || ident == "async" || determinism::is_candidate(&ident.to_string())
        }
        TokenTree::Group(group) => is_interesting(group.stream()),
        _ => false,
    })
}

/// Expressions between separators, and tokens that are not expressions.
fn sequence(rewriter: &mut Rewriter<'_>, input: ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut output = TokenStream::new();
    let mut may_start = true;
    while !input.is_empty() {
        let fork = input.fork();
        if may_start
            && let Ok(mut expr) = fork.parse::<Expr>()
            && (fork.is_empty() || fork.peek(Token![,]) || fork.peek(Token![;]) || fork.peek(Token![=>]))
        {
            input.advance_to(&fork);
            rewriter.visit_expr_mut(&mut expr);
            expr.to_tokens(&mut output);
            may_start = false;
            continue;
        }
        // `name = value`, `%value` and `key => value` have an expression after the punctuation.
        let token: TokenTree = input.parse()?;
        may_start = matches!(&token, TokenTree::Punct(punct) if ",;=%?:>".contains(punct.as_char()));
        output.extend([match token {
            TokenTree::Group(group) if is_interesting(group.stream()) => {
                let stream = (|input: ParseStream<'_>| sequence(rewriter, input)).parse2(group.stream())?;
                let mut rewritten = Group::new(group.delimiter(), stream);
                rewritten.set_span(group.span());
                TokenTree::Group(rewritten)
            }
            token => token,
        }]);
    }
    Ok(output)
}

/// `join!` and `try_join!`: every operand is awaited.
///
/// Tokio's macros poll their branches in rotation; with `biased;` they poll in the written order.
fn join(rewriter: &mut Rewriter<'_>, mac: &mut Macro, family: Family) {
    let parser = |input: ParseStream<'_>| {
        let biased = select::biased(input)?;
        Ok((biased, Operands::parse_terminated(input)?))
    };
    let Ok((biased, mut operands)) = parser.parse2(mac.tokens.clone()) else { return };
    for operand in &mut operands {
        rewriter.visit_expr_mut(operand);
        let span = syn::spanned::Spanned::span(operand);
        *operand = match family {
            // It may be a user's macro, whose operands are not futures.
            // A literal is not a future, and a user's own macro may require one.
            Family::Unknown if biased.is_none() && matches!(operand, Expr::Lit(_)) => operand.clone(),
            Family::Unknown if biased.is_none() => rewriter.awaited_if_future(operand),
            _ => rewriter.awaited(operand, span),
        };
    }
    let span = mac.bang_token.span;
    let biased = match (biased, family) {
        (Some(biased), _) => Some(biased),
        (None, Family::Tokio) => Some(quote_spanned!(span=> biased;)),
        _ => None,
    };
    mac.tokens = quote_spanned!(span=> #biased #operands);
}
