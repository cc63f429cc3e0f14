//! Facts about the body's variables without type information.

use std::collections::{HashMap, HashSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprClosure, Pat, Signature, Type};

/// The variables of the body.
pub(crate) struct Names {
    /// Every bound name, and how often it is bound: calling one may call a closure, which must not be moved.
    bound: HashMap<String, usize>,
    /// Every name in a macro call, which may bind it.
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

    /// The variables of the initializer of a constant.
    pub(crate) fn of_expr(expr: &Expr) -> Self {
        let mut collector = Collector::default();
        collector.visit_expr(expr);
        collector.names()
    }

    /// Whether a name that is not called may be a variable.
    pub(crate) fn may_be_variable(&self, name: &str) -> bool {
        self.is_local(name) || self.in_macros.contains(name)
    }

    pub(crate) fn is_local(&self, name: &str) -> bool {
        self.bound.contains_key(name)
    }

    /// A variable of the body that the closure uses and does not bind itself, judged by its tokens. A possible variable
    /// counts as one.
    pub(crate) fn captured(&self, closure: &ExprClosure) -> Option<String> {
        let mut arguments = Collector::default();
        closure.inputs.iter().for_each(|input| arguments.visit_pat(input));
        let mut inside = Collector::default();
        inside.visit_expr_closure(closure);
        let is_outside = |name: &str| {
            let count = |bound: &HashMap<String, usize>| bound.get(name).copied().unwrap_or_default();
            !arguments.bound.contains_key(name) && (name == "self" || count(&self.bound) > count(&inside.bound))
        };
        used(closure.body.to_token_stream(), &is_outside)
    }

    pub(crate) fn is_typed(&self, name: &str) -> bool {
        name == "self" || self.typed.contains(name)
    }
}

/// The first identifier for which `matches` holds and that may be a variable: not a field, a method or a path.
fn used(tokens: TokenStream, matches: &dyn Fn(&str) -> bool) -> Option<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: Option<usize>, c: char| matches!(at.and_then(|at| tokens.get(at)), Some(TokenTree::Punct(punct)) if punct.as_char() == c);
    tokens.iter().enumerate().find_map(|(at, token)| match token {
        TokenTree::Ident(ident) => {
            let is_member = is(at.checked_sub(1), '.') && !is(at.checked_sub(2), '.');
            let name = ident.to_string();
            (!is_member && !is(Some(at + 1), ':') && matches(&name)).then_some(name)
        }
        TokenTree::Group(group) => used(group.stream(), matches),
        // `"{name}"` may be the text of a `format!`.
        TokenTree::Literal(literal) => {
            let text = literal.to_string();
            let mut names = text.split('{').skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
            names.find(|name| matches(name))
        }
        TokenTree::Punct(_) => None,
    })
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
        Names { bound, in_macros, typed }
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

/// Whether the type is left to inference at its head.
fn has_inferred(ty: &Type) -> bool {
    match ty {
        Type::Infer(_) => true,
        Type::Reference(reference) => has_inferred(&reference.elem),
        _ => false,
    }
}
