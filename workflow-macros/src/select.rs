//! `select!`: the branches are durable, and the first ready one in the written order wins, not a random one.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Expr, ExprMacro, Ident, Macro, Pat, Token};

use crate::durable::{Rewriter, after};
use crate::imports;
use crate::macros::Family;

/// One branch.
enum Branch {
    /// `pattern = future, if condition => handler`
    Future { pat: Pat, future: Box<Expr>, condition: Option<Box<Expr>>, handler: Box<Expr> },
    /// `else`, `complete` and `default`.
    Keyword { keyword: Ident, handler: Box<Expr> },
}

/// Rewrites a `select!`, or returns the expression that replaces the whole macro.
pub(crate) fn rewrite(rewriter: &mut Rewriter<'_>, mac: &mut Macro, family: Family) -> Option<Expr> {
    let parser = |input: ParseStream<'_>| Ok((biased(input)?, branches(input)?));
    // Tokens that do not parse as a `select!` are another macro, or the macro itself reports the error.
    let (given, mut branches) = parser.parse2(mac.tokens.clone()).ok()?;
    let (is_imported, last) = (mac.path.segments.len() == 1, mac.path.segments.last_mut()?);
    if is_imported && last.ident == "select" && imports::is_of_futures("select", last.ident.span()) {
        rewriter.errors.on(
            &last.ident,
            "the `select!` of `futures` picks a ready branch at random, and the macro cannot distinguish an imported name from tokio's: \
             write `futures::select!`, which is made to take the first that is ready, or `futures::select_biased!`",
        );
        return None;
    }
    let is_futures = family == Family::Futures
        || last.ident == "select_biased"
        || branches.iter().any(|branch| matches!(branch, Branch::Keyword { keyword, .. } if keyword != "else"));
    let span = last.ident.span();
    if is_futures {
        last.ident = Ident::new("select_biased", span);
    }
    let mut checks = TokenStream::new();
    for branch in &mut branches {
        match branch {
            Branch::Keyword { handler, .. } => rewriter.visit_expr_mut(handler),
            Branch::Future { future, condition, handler, .. } => {
                rewriter.visit_expr_mut(future);
                let span = future.span();
                if is_futures && let Expr::Path(path) = &**future {
                    // The macro polls a name in place. Wrapping would move it, so it is checked beforehand.
                    let v1 = rewriter.v1(span);
                    checks.extend(quote_spanned!(span=> #v1::is_durable(&#path);));
                } else {
                    **future = rewriter.awaited(future, span);
                }
                if let Some(condition) = condition {
                    rewriter.visit_expr_mut(condition);
                }
                rewriter.visit_expr_mut(handler);
            }
        }
    }
    rewriter.changes += 1;
    let biased = match given {
        _ if is_futures => None,
        Some(biased) => Some(biased),
        None => Some(quote_spanned!(span=> biased;)),
    };
    mac.tokens = quote!(#biased #(#branches)*);
    let whole = Expr::Macro(ExprMacro { attrs: Vec::new(), mac: mac.clone() });
    (!checks.is_empty()).then(|| after(checks, &whole))
}

/// `biased;`, if present.
pub(crate) fn biased(input: ParseStream<'_>) -> syn::Result<Option<TokenStream>> {
    if !(input.peek(Ident) && input.peek2(Token![;])) || input.fork().parse::<Ident>()? != "biased" {
        return Ok(None);
    }
    let (biased, semicolon) = (input.parse::<Ident>()?, input.parse::<Token![;]>()?);
    Ok(Some(quote!(#biased #semicolon)))
}

fn branches(input: ParseStream<'_>) -> syn::Result<Vec<Branch>> {
    let mut branches = Vec::new();
    while !input.is_empty() {
        let is_keyword = input.peek(Ident::peek_any) && input.peek2(Token![=>]);
        branches.push(if is_keyword {
            let keyword = input.call(Ident::parse_any)?;
            if !["else", "complete", "default"].contains(&keyword.to_string().as_str()) {
                return Err(syn::Error::new(keyword.span(), "not a branch of a select"));
            }
            input.parse::<Token![=>]>()?;
            Branch::Keyword { keyword, handler: handler(input)? }
        } else {
            let pat = Pat::parse_multi(input)?;
            input.parse::<Token![=]>()?;
            let future = input.parse()?;
            let condition = if input.peek(Token![,]) {
                input.parse::<Token![,]>()?;
                input.parse::<Token![if]>()?;
                Some(input.parse()?)
            } else {
                None
            };
            input.parse::<Token![=>]>()?;
            Branch::Future { pat, future, condition, handler: handler(input)? }
        });
    }
    Ok(branches)
}

/// A handler ends with its block, as a match arm does, or otherwise at a comma.
fn handler(input: ParseStream<'_>) -> syn::Result<Box<Expr>> {
    let handler = Expr::parse_with_earlier_boundary_rule(input)?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    } else if !input.is_empty() && !matches!(handler, Expr::Block(_)) {
        return Err(input.error("expected a comma"));
    }
    Ok(Box::new(handler))
}

impl ToTokens for Branch {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self {
            Branch::Keyword { keyword, handler } => quote!(#keyword => #handler,),
            Branch::Future { pat, future, condition, handler } => {
                let condition = condition.as_ref().map(|condition| quote!(, if #condition));
                quote!(#pat = #future #condition => #handler,)
            }
        });
    }
}
