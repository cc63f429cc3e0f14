//! The annotated function: parsing it, and the item that replaces it if it has errors.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::visit::Visit;
use syn::{Attribute, Block, FnArg, ReturnType, Signature, Token, Type, Visibility};

use crate::errors::Errors;
use crate::fresh::Fresh;
use crate::options::Kind;

/// A function as it was annotated.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The braces and their contents; `None` in the declaration of a trait's method.
    pub(crate) body: Option<Group>,
    names: Fresh,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        // The body is parsed separately from the signature: a mistake in it is then one error, and callers still resolve.
        let body = if input.peek(Token![;]) {
            input.parse::<Token![;]>()?;
            None
        } else {
            match visible(input.parse()?) {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    Some(without_inner_attributes(group, &mut attrs))
                }
                other => return Err(syn::Error::new(other.span(), "expected the function's body")),
            }
        };
        Ok(Function { attrs, vis, sig, body, names: Fresh::of(TokenStream::new()) })
    }
}

/// The contents of an invisible group: a body that a `macro_rules!` passes on as `$body:block` is in one, or in several.
fn visible(token: TokenTree) -> TokenTree {
    if let TokenTree::Group(group) = &token
        && group.delimiter() == Delimiter::None
    {
        let mut inside = group.stream().into_iter();
        if let (Some(only), None) = (inside.next(), inside.next()) {
            return visible(only);
        }
    }
    token
}

/// Turns `#![allow(..)]` at the beginning of a body into an attribute of the function: the meaning
/// is the same there, and the body may be moved to a place where no inner attribute is allowed.
fn without_inner_attributes(body: Group, attrs: &mut Vec<Attribute>) -> Group {
    let split = |input: ParseStream<'_>| Ok((input.call(Attribute::parse_inner)?, input.parse::<TokenStream>()?));
    match split.parse2(body.stream()) {
        Ok((inner, rest)) if !inner.is_empty() => {
            attrs.extend(inner.into_iter().map(|inner| Attribute { style: syn::AttrStyle::Outer, ..inner }));
            let mut without = Group::new(Delimiter::Brace, rest);
            without.set_span(body.span());
            without
        }
        _ => body,
    }
}

impl Function {
    /// Reads the annotated item, which must be a function.
    pub(crate) fn read(kind: Kind, item: TokenStream) -> syn::Result<Self> {
        // `#[step] $item`, where `$item:item` is an argument of a `macro_rules!`.
        let mut tokens = item.clone().into_iter();
        if let (Some(TokenTree::Group(group)), None) = (tokens.next(), tokens.next())
            && group.delimiter() == Delimiter::None
        {
            return Function::read(kind, group.stream());
        }
        let function = syn::parse2::<Function>(item.clone());
        function.map(|function| Function { names: Fresh::of(item.clone()), ..function }).map_err(|error| {
            let is =
                |word: &str| item.clone().into_iter().any(|token| matches!(&token, TokenTree::Ident(i) if i == word));
            if is("fn") && !is("impl") && !is("trait") && !is("mod") {
                return error;
            }
            let help = if kind == Kind::Durable { ": put it on each method that awaits" } else { "" };
            syn::Error::new(Span::call_site(), format!("{} goes on a function{help}", kind.attribute()))
        })
    }

    /// The name of a generated item or argument, with errors reported at `span`; the user does not use this name.
    pub(crate) fn fresh(&self, name: &str, span: Span) -> Ident {
        self.names.name(name, span)
    }

    /// The name of an argument in generated code, which uses it: without the prefix that marks it as unused.
    pub(crate) fn used(&self, name: &Ident) -> Ident {
        let text = name.to_string();
        let rest = text.trim_start_matches('_');
        match text.len() - rest.len() {
            0 => name.clone(),
            1 => self.fresh(&format!("given_{rest}"), name.span()),
            underscores => self.fresh(&format!("given{underscores}_{rest}"), name.span()),
        }
    }

    /// The statements of the body.
    pub(crate) fn block(&self) -> syn::Result<Option<Block>> {
        let Some(body) = &self.body else { return Ok(None) };
        let stmts = Block::parse_within.parse2(body.stream())?;
        Ok(Some(Block { brace_token: syn::token::Brace { span: body.delim_span() }, stmts }))
    }

    /// The item if it cannot be expanded, with its errors. Callers get no errors of their own for it.
    ///
    /// The errors are in a module, since the compiler reports nothing about a missing type in a module in which a macro
    /// has failed, and nothing about values of such a type: the function returns one. The original function is also kept,
    /// without the attributes of this crate, which the compiler does not know: the items that it uses count as used.
    ///
    /// A function with `self` or `Self` is in an `impl`, which cannot contain a module. It returns an awaitable type.
    pub(crate) fn refused(&self, v1: &TokenStream, errors: &Errors) -> TokenStream {
        let Function { vis, sig, body, .. } = self;
        let (attrs, inner_attrs) = self.split_attributes();
        let (errors, span) = (errors.tokens(), sig.ident.span());
        let mut sig = sig.clone();
        sig.variadic = None;
        for input in &mut sig.inputs {
            if let FnArg::Typed(argument) = input {
                argument.attrs.retain(|attribute| !attribute.path().is_ident("resource"));
            }
        }
        let mut outer = sig.clone();
        (outer.asyncness, outer.constness) = (None, None);
        if first_self_type(self).is_some() || sig.receiver().is_some() || body.is_none() {
            outer.output = match &sig.output {
                ReturnType::Type(arrow, ty) => {
                    ReturnType::Type(*arrow, Box::new(Type::Verbatim(quote_spanned!(span=> #v1::StepCall<#ty>))))
                }
                ReturnType::Default => syn::parse_quote_spanned!(span=> -> #v1::StepCall<()>),
            };
            let body = body.as_ref().map_or_else(|| quote!(;), |_| quote_spanned!(span=> { loop {} }));
            return quote! {
                #errors
                #(#attrs)*
                #[allow(unused)]
                #vis #outer #body
            };
        }
        // One module for each function: two of them may be in one scope.
        let module = self.fresh(&format!("__refused_{}", sig.ident.unraw()), span);
        let ty = self.fresh("__Refused", span);
        outer.output = syn::parse_quote_spanned!(span=> -> #module::#ty);
        quote! {
            #[doc(hidden)]
            mod #module { #errors }

            #(#attrs)*
            #[allow(unused)]
            #vis #outer {
                #(#inner_attrs)*
                #sig #body
                loop {}
            }
        }
    }

    /// Replaces a body that does not parse. The compiler's own parser reports the error; if it finds
    /// none, the constant stops the build, since a body that was not rewritten must not run.
    pub(crate) fn unreadable(&self, error: &syn::Error) -> TokenStream {
        let span = self.sig.ident.span();
        let message = format!("the body cannot be read: {error}");
        let tokens = self.body.as_ref().map(Group::stream);
        quote_spanned!(span=> {
            const { ::core::panic!(#message) };
            #tokens
        })
    }

    /// The attributes for the outer function that callers see, and those for the body.
    ///
    /// Attributes of the item (documentation, `cfg`, lints) stay outside, where they cover the body too. An unknown
    /// attribute, such as `#[tracing::instrument]`, expects an async function and finds one inside.
    pub(crate) fn split_attributes(&self) -> (Vec<&Attribute>, Vec<&Attribute>) {
        const OUTER: [&str; 16] = [
            "doc",
            "cfg",
            "cfg_attr",
            "allow",
            "expect",
            "warn",
            "deny",
            "forbid",
            "deprecated",
            "must_use",
            "inline",
            "cold",
            "rustfmt",
            "clippy",
            "diagnostic",
            "track_caller",
        ];
        self.attrs.iter().partition(|attribute| {
            let first = attribute.path().segments.first();
            first.is_some_and(|segment| OUTER.contains(&segment.ident.to_string().as_str()))
        })
    }
}

pub(crate) fn first_self_type(function: &Function) -> Option<Span> {
    #[derive(Default)]
    struct Finder(Option<Span>);
    impl<'ast> Visit<'ast> for Finder {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            if ident == "Self" {
                self.0.get_or_insert(ident.span());
            }
        }
        // An `impl` in the body has its own `Self`.
        fn visit_item(&mut self, _: &'ast syn::Item) {}
    }
    let mut finder = Finder::default();
    // The body is parsed again only if it may have one.
    if function.names.has("Self") && function.sig.receiver().is_none() {
        finder.visit_signature(&function.sig);
        if let Ok(Some(block)) = function.block() {
            finder.visit_block(&block);
        }
    }
    finder.0
}
