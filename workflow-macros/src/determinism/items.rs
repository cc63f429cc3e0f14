//! Items inside a body: functions, methods, constants.
//!
//! They are not rewritten, since they are not replayed, unless the body calls them. An item that is only used in
//! `nondeterministic(..)`, or by a step beside it, may do anything.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::quote_spanned;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;
use syn::{Attribute, Block, Expr, ImplItem, Item, Path, Signature, Stmt, Type};

use super::{Names, is_way_out};
use crate::durable::Rewriter;

/// The names that a body uses, directly or through its own items.
#[derive(Default)]
pub(crate) struct Used(HashSet<String>);

impl Used {
    pub(crate) fn of(block: &Block) -> Self {
        let mut items = Items::default();
        items.visit_block(block);
        if items.0.is_empty() {
            return Used::default();
        }
        let mut uses = Uses::default();
        uses.visit_block(block);
        let mut used = uses.0;
        // Names that are used by used items.
        loop {
            let before = used.len();
            for (name, more) in &items.0 {
                if used.contains(name) {
                    used.extend(more.iter().cloned());
                }
            }
            if used.len() == before {
                return Used(used);
            }
        }
    }

    fn has(&self, name: &proc_macro2::Ident) -> bool {
        self.0.contains(&name.to_string())
    }
}

/// Each item of the body by its name, with the names it uses.
#[derive(Default)]
struct Items(Vec<(String, HashSet<String>)>);

impl Items {
    fn add(&mut self, name: &proc_macro2::Ident, visit: impl FnOnce(&mut Uses)) {
        let mut uses = Uses::default();
        visit(&mut uses);
        self.0.push((name.to_string(), uses.0));
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Fn(item) if is_plain(&item.attrs, &item.sig) => {
                self.add(&item.sig.ident, |uses| uses.visit_block(&item.block))
            }
            Item::Const(item) => self.add(&item.ident, |uses| uses.visit_expr(&item.expr)),
            Item::Static(item) => self.add(&item.ident, |uses| uses.visit_expr(&item.expr)),
            Item::Impl(item) => {
                for part in &item.items {
                    if let ImplItem::Fn(method) = part
                        && is_plain(&method.attrs, &method.sig)
                    {
                        self.add(&method.sig.ident, |uses| uses.visit_block(&method.block));
                    }
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }
}

/// Names in expressions, except for those in `nondeterministic(..)` and in items.
#[derive(Default)]
struct Uses(HashSet<String>);

impl Uses {
    fn path(&mut self, path: &Path) {
        self.0.extend(path.segments.last().map(|segment| segment.ident.to_string()));
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut is_way_out = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    is_way_out = ident == "nondeterministic";
                    self.0.insert(ident.to_string());
                }
                TokenTree::Group(group) => {
                    if !is_way_out {
                        self.tokens(group.stream());
                    }
                    is_way_out = false;
                }
                _ => is_way_out = false,
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if !is_way_out(call) {
            visit::visit_expr_call(self, call);
        }
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.path(&path.path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.tokens(mac.tokens.clone());
    }

    fn visit_item(&mut self, _: &'ast Item) {}
}

/// A function whose source is what the compiler sees: not async, which a workflow cannot await, not `const`, which cannot
/// contain a probe, and without attributes that may transform it.
fn is_plain(attrs: &[Attribute], sig: &Signature) -> bool {
    const HARMLESS: [&str; 11] =
        ["allow", "cfg", "cold", "deny", "doc", "expect", "forbid", "inline", "must_use", "track_caller", "warn"];
    sig.asyncness.is_none()
        && sig.constness.is_none()
        && attrs.iter().all(|attribute| HARMLESS.iter().any(|name| attribute.path().is_ident(name)))
}

/// Checks the items of a block that its body uses, and their own items.
pub(crate) fn check(rewriter: &mut Rewriter<'_>, block: &mut Block) {
    let mut beside = Vec::new();
    for (index, stmt) in block.stmts.iter_mut().enumerate() {
        let Stmt::Item(item) = stmt else { continue };
        match item {
            Item::Fn(item) if rewriter.used.has(&item.sig.ident) && is_plain(&item.attrs, &item.sig) => {
                check_function(rewriter, &item.sig, &mut item.block);
            }
            Item::Impl(item) => {
                for part in &mut item.items {
                    if let ImplItem::Fn(method) = part
                        && rewriter.used.has(&method.sig.ident)
                        && is_plain(&method.attrs, &method.sig)
                    {
                        check_function(rewriter, &method.sig, &mut method.block);
                    }
                }
            }
            Item::Const(item) if rewriter.used.has(&item.ident) && item.attrs.is_empty() => {
                beside.extend(check_initializer(rewriter, &item.ty, &item.expr).map(|stmt| (index, stmt)));
            }
            Item::Static(item) if rewriter.used.has(&item.ident) && item.attrs.is_empty() => {
                beside.extend(check_initializer(rewriter, &item.ty, &item.expr).map(|stmt| (index, stmt)));
            }
            _ => {}
        }
    }
    for (index, stmt) in beside.into_iter().rev() {
        block.stmts.insert(index + 1, stmt);
    }
}

fn check_function(rewriter: &mut Rewriter<'_>, sig: &Signature, block: &mut Block) {
    let names = Names::of(sig, block);
    rewriter.in_item(names, |rewriter| rewriter.visit_block_mut(block));
}

/// A constant cannot contain a probe, so the probe is in a function beside it, which is never called.
fn check_initializer(rewriter: &mut Rewriter<'_>, ty: &Type, expr: &Expr) -> Option<Stmt> {
    let mut probed = expr.clone();
    let before = rewriter.changes;
    let names = Names::of_expr(expr);
    rewriter.in_item(names, |rewriter| rewriter.visit_expr_mut(&mut probed));
    if rewriter.changes == before {
        return None;
    }
    let span = expr.span();
    let tokens = quote_spanned! {span=>
        #[allow(warnings, clippy::all, clippy::pedantic)]
        const _: fn() = || { let _probed: #ty = #probed; };
    };
    syn::parse2(tokens).ok()
}
