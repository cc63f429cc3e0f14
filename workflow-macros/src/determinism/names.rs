//! What is known of the body's variables without types.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Block, Expr, Pat, Signature, Type};

/// What the body calls its variables.
pub(crate) struct Names {
    /// Every name that is bound somewhere: calling one may call a closure, which must not be moved.
    locals: HashSet<String>,
    /// Every name that stands in a macro, which may bind it.
    in_macros: HashSet<String>,
    /// Names that are bound once, to a value whose type the compiler knows from there on.
    typed: HashSet<String>,
}

impl Names {
    pub(crate) fn of(sig: &Signature, block: &Block) -> Self {
        let mut collector = Collector::default();
        collector.visit_signature(sig);
        collector.visit_block(block);
        collector.names()
    }

    /// What the initializer of a constant calls its variables.
    pub(crate) fn of_expr(expr: &Expr) -> Self {
        let mut collector = Collector::default();
        collector.visit_expr(expr);
        collector.names()
    }

    /// Whether a name that is not called may be a variable's.
    pub(crate) fn may_be_variable(&self, name: &str) -> bool {
        self.is_local(name) || self.in_macros.contains(name)
    }

    pub(crate) fn is_local(&self, name: &str) -> bool {
        self.locals.contains(name)
    }

    pub(crate) fn is_typed(&self, name: &str) -> bool {
        name == "self" || self.typed.contains(name)
    }
}

#[derive(Default)]
struct Collector {
    bound: HashMap<String, usize>,
    typed: HashSet<String>,
    in_macros: HashSet<String>,
}

impl Collector {
    fn names(self) -> Names {
        let Collector { bound, mut typed, in_macros } = self;
        typed.retain(|name| bound.get(name) == Some(&1));
        Names { locals: bound.into_keys().collect(), in_macros, typed }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => drop(self.in_macros.insert(ident.to_string())),
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
        *self.bound.entry(pat.ident.to_string()).or_default() += 1;
        visit::visit_pat_ident(self, pat);
    }

    fn visit_pat_type(&mut self, pat: &'ast syn::PatType) {
        if let Pat::Ident(name) = &*pat.pat
            && !has_inferred(&pat.ty)
        {
            self.typed.insert(name.ident.to_string());
        }
        visit::visit_pat_type(self, pat);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Pat::Ident(name) = &local.pat
            && let Some(init) = &local.init
            && let Expr::Call(call) = &*init.expr
            && let Expr::Path(path) = &*call.func
            && path.path.segments.iter().any(|segment| segment.ident == "HashMap" || segment.ident == "HashSet")
        {
            self.typed.insert(name.ident.to_string());
        }
        visit::visit_local(self, local);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.tokens(mac.tokens.clone());
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Whether the type's own head is left to inference.
fn has_inferred(ty: &Type) -> bool {
    match ty {
        Type::Infer(_) => true,
        Type::Reference(reference) => has_inferred(&reference.elem),
        _ => false,
    }
}
