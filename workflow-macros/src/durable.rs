//! Rewrites a body that is replayed.
//!
//! Every operand of `.await` is passed to `durable(..)`, which requires `trait Durable`; every `async` block becomes a
//! `DurableBlock`, which is durable because its own awaits were checked. `determinism` decides which calls the body may
//! contain; `macros` and `select` handle the contents of macros.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprMacro, Local, Pat, Signature, Stmt, StmtMacro, Token};

use crate::determinism::{self, Names, Used};
use crate::errors::Errors;
use crate::options::Options;
use crate::{macros, unawaited};

/// Rewrites the body of a workflow or of a durable function.
pub(crate) fn rewrite(options: &Options, sig: &Signature, mut block: Block, errors: &mut Errors) -> Block {
    let (names, used) = (Names::of(sig, &block), Used::of(&block));
    let mut rewriter =
        Rewriter { options, errors, names, used, changes: 0, probes: false, probing: true, in_item: false };
    rewriter.visit_block_mut(&mut block);
    if rewriter.probes {
        // Once at the top: a block around each probe would end the temporaries of its operand too early.
        let v1 = options.v1(sig.ident.span());
        let import = syn::parse_quote_spanned!(sig.ident.span()=> #[allow(unused_imports, clippy::items_after_statements)] use #v1::Pass as _;);
        block.stmts.insert(0, Stmt::Item(import));
    }
    block
}

/// Walks a body.
pub(crate) struct Rewriter<'a> {
    options: &'a Options,
    pub(crate) errors: &'a mut Errors,
    pub(crate) names: Names,
    /// Which of the body's own items it uses.
    pub(crate) used: Used,
    /// The number of rewrites so far: a macro without rewrites keeps its tokens.
    pub(crate) changes: usize,
    /// Whether a probe was placed, which needs its trait in scope.
    pub(crate) probes: bool,
    /// Whether probes by resolution may be placed: not in unknown macros, which may transform a name in any way.
    pub(crate) probing: bool,
    /// Whether this is an item that the body uses: probes are placed, and its awaits are not checked.
    pub(crate) in_item: bool,
}

impl Rewriter<'_> {
    /// The runtime's private module; errors are reported at `span`.
    pub(crate) fn v1(&self, span: Span) -> TokenStream {
        self.options.v1(span)
    }

    /// An awaited operand: it must be durable. The callee's span is on the token that awaits.
    pub(crate) fn awaited(&mut self, operand: &Expr, awaits: Span) -> Expr {
        self.changes += 1;
        if determinism::is_refused(operand) {
            // Report one mistake as one error.
            return operand.clone();
        }
        // Parentheses around an argument would warn: `(&mut future).await` needs them, `durable((&mut future))` does not.
        let mut inner = operand;
        while let Expr::Paren(paren) = inner {
            inner = &paren.expr;
        }
        let v1 = self.v1(awaits);
        // The parentheses make the whole begin at the operand: a warning about an unused result points there.
        let call = quote_spanned!(awaits=> #v1::durable(#inner));
        Expr::Verbatim(quote_spanned!(operand.span()=> (#call)))
    }

    /// An operand that may or may not be a future: it must be durable if it is one.
    pub(crate) fn awaited_if_future(&mut self, operand: &Expr) -> Expr {
        self.changes += 1;
        self.probes = true;
        let span = operand.span();
        let v1 = self.v1(span);
        Expr::Verbatim(quote_spanned!(span=> #v1::Operand(#operand).pass()))
    }

    /// Visits the contents of an item of the body.
    pub(crate) fn in_item(&mut self, names: Names, visit: impl FnOnce(&mut Self)) {
        let outer = (std::mem::replace(&mut self.names, names), std::mem::replace(&mut self.in_item, true));
        visit(self);
        (self.names, self.in_item) = outer;
    }

    /// `Unawaited(expr).pass()`: refuses a discarded value if it is an operation.
    fn thrown_away(&mut self, expr: &mut Expr) {
        self.probes = true;
        self.changes += 1;
        let span = expr.span();
        let v1 = self.v1(span);
        *expr = Expr::Verbatim(quote_spanned!(span=> #v1::Unawaited(#expr).pass()));
    }

    fn visit_arguments(&mut self, arguments: &mut Operands) {
        for argument in arguments {
            self.visit_expr_mut(argument);
            determinism::check_moved_value(self, argument);
        }
    }

    fn block_of(&mut self, expr: &Expr, span: Span) -> Expr {
        self.changes += 1;
        let v1 = self.v1(span);
        Expr::Verbatim(quote_spanned!(span=> #v1::DurableBlock::new(#expr)))
    }

    fn closure(&mut self, closure: &mut syn::ExprClosure, captured: Option<String>) {
        let Some(token) = closure.asyncness.take() else { return };
        if closure.capture.is_none()
            && let Some(name) = captured
        {
            self.errors.on(
                token,
                format!(
                    "an async closure that borrows a variable, like `{name}`, cannot be awaited durably: write \
                     `|..| async move {{ .. }}` instead"
                ),
            );
        }
        let block = match &*closure.body {
            Expr::Block(body) if body.label.is_none() => quote_spanned!(token.span=> #token move #body),
            body => quote_spanned!(token.span=> #token move { #body }),
        };
        *closure.body = match &closure.output {
            syn::ReturnType::Default => self.block_of(&Expr::Verbatim(block), token.span),
            syn::ReturnType::Type(_, ty) => {
                let v1 = self.v1(token.span);
                Expr::Verbatim(quote_spanned!(token.span=> #v1::DurableBlock::returning::<#ty, _>(#block)))
            }
        };
        closure.output = syn::ReturnType::Default;
    }
}

impl VisitMut for Rewriter<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            // Its own result is recorded, whatever it awaits.
            Expr::Call(call) if determinism::is_way_out(call) => {}
            Expr::Const(_) => {}
            Expr::Async(_) | Expr::Await(_) if self.in_item => {}
            Expr::Closure(closure) if self.in_item && closure.asyncness.is_some() => {}
            Expr::Repeat(repeat) => self.visit_expr_mut(&mut repeat.expr),
            Expr::Macro(ExprMacro { mac, .. }) => {
                if let Some(replacement) = macros::rewrite(self, mac) {
                    *expr = replacement;
                }
            }
            Expr::Await(awaited) => {
                self.visit_expr_mut(&mut awaited.base);
                *awaited.base = self.awaited(&awaited.base, awaited.await_token.span);
            }
            Expr::Async(block) => {
                let span = block.async_token.span;
                self.visit_block_mut(&mut block.block);
                *expr = self.block_of(expr, span);
            }
            Expr::Closure(closure) => {
                let captured = closure.asyncness.and_then(|_| self.names.captured(closure));
                self.visit_expr_mut(&mut closure.body);
                self.closure(closure, captured);
            }
            Expr::Path(_) => determinism::check_value(self, expr),
            Expr::Call(call) => {
                if !matches!(&*call.func, Expr::Path(_)) {
                    self.visit_expr_mut(&mut call.func);
                }
                self.visit_arguments(&mut call.args);
                determinism::check_call(self, expr);
            }
            Expr::MethodCall(call) => {
                self.visit_expr_mut(&mut call.receiver);
                self.visit_arguments(&mut call.args);
                determinism::check_method(self, expr);
            }
            // The short form of a field is not an expression that can be wrapped.
            Expr::Struct(literal) => {
                for field in literal.fields.iter_mut().filter(|field| field.colon_token.is_some()) {
                    self.visit_expr_mut(&mut field.expr);
                }
                if let Some(rest) = &mut literal.rest {
                    self.visit_expr_mut(rest);
                }
            }
            Expr::Assign(assign) => {
                let is_thrown_away =
                    matches!(*assign.left, Expr::Infer(_)) && unawaited::may_be_operation(&assign.right);
                self.visit_expr_mut(&mut assign.left);
                self.visit_expr_mut(&mut assign.right);
                if is_thrown_away && self.probing {
                    self.thrown_away(&mut assign.right);
                } else {
                    determinism::check_moved_value(self, &mut assign.right);
                }
            }
            Expr::ForLoop(_) if !self.in_item => {
                determinism::check_loop(self, expr);
                visit_mut::visit_expr_mut(self, expr);
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        visit_mut::visit_block_mut(self, block);
        determinism::check_items(self, block);
    }

    fn visit_local_mut(&mut self, local: &mut Local) {
        let is_plain = local.init.as_ref().is_some_and(|init| init.diverge.is_none());
        let is_thrown_away = is_plain
            && matches!(local.pat, Pat::Wild(_))
            && local.init.as_ref().is_some_and(|init| unawaited::may_be_operation(&init.expr));
        visit_mut::visit_local_mut(self, local);
        let Some(init) = &mut local.init else { return };
        if is_thrown_away && self.probing {
            self.thrown_away(&mut init.expr);
        } else if is_plain && matches!(local.pat, Pat::Ident(_)) {
            determinism::check_moved_value(self, &mut init.expr);
        }
    }

    fn visit_stmt_mut(&mut self, stmt: &mut Stmt) {
        let Stmt::Macro(StmtMacro { mac, semi_token, .. }) = stmt else {
            return visit_mut::visit_stmt_mut(self, stmt);
        };
        if let Some(replacement) = macros::rewrite(self, mac) {
            *stmt = Stmt::Expr(replacement, *semi_token);
        }
    }

    // Only the guard of a pattern is evaluated.
    fn visit_pat_mut(&mut self, pat: &mut syn::Pat) {
        if let syn::Pat::Guard(guarded) = pat {
            self.visit_expr_mut(&mut guarded.guard);
        }
    }

    // An item in the body is separate, like one beside it; types and attributes await nothing.
    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_angle_bracketed_generic_arguments_mut(&mut self, _: &mut syn::AngleBracketedGenericArguments) {}
    fn visit_path_mut(&mut self, _: &mut syn::Path) {}
    fn visit_attribute_mut(&mut self, _: &mut syn::Attribute) {}
}

/// A block that runs `before` and then evaluates `expr`.
pub(crate) fn after(before: TokenStream, expr: &Expr) -> Expr {
    if before.is_empty() { expr.clone() } else { Expr::Verbatim(quote!({ #before #expr })) }
}

/// The operands with their commas, as they are printed again.
pub(crate) type Operands = syn::punctuated::Punctuated<Expr, Token![,]>;
