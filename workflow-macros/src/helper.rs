//! `#[durable]`: functions that await on behalf of a workflow.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Pat, ReturnType, Safety};

use crate::durable;
use crate::errors::Errors;
use crate::function::Function;
use crate::options::{Kind, Options};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(Kind::Durable, options, &mut errors);
    let function = match Function::read(Kind::Durable, item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.add(error);
            let errors = errors.tokens();
            return quote!(#errors #item);
        }
    };
    let expandable = check(&function, &mut errors);
    let block = match function.block() {
        // Without its braces: around a single expression the compiler warns that they are unnecessary.
        Ok(block) => block.map(|block| {
            let stmts = durable::rewrite(&options, &function.sig, block, &mut errors).stmts;
            quote!(#(#stmts)*)
        }),
        Err(error) => Some(function.unreadable(&error)),
    };
    let function = if expandable { signature(&options, &function, block) } else { item };
    let errors = errors.tokens();
    quote!(#errors #function)
}

fn check(function: &Function, errors: &mut Errors) -> bool {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        errors.on(
            sig.fn_token,
            "a durable function is an async one: write `async fn`; a function that does not await needs no attribute",
        );
    }
    if let Some(token) = &sig.constness {
        errors.on(token, "a durable function cannot be `const`: remove it");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.on(token, "a durable function cannot be `unsafe`: use an `unsafe` block in a step's body");
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "a durable function has no ABI of its own: remove `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(variadic, "a durable function has a fixed number of arguments: take a `Vec`");
        return false;
    }
    true
}

fn signature(options: &Options, function: &Function, block: Option<TokenStream>) -> TokenStream {
    let Function { attrs, vis, sig, .. } = function;
    let (name, fn_token) = (&sig.ident, sig.fn_token);
    let span = name.span();
    let v1 = options.v1(span);
    let output = match &sig.output {
        ReturnType::Type(_, ty) => quote!(#ty),
        ReturnType::Default => quote_spanned!(span=> ()),
    };
    let (generics, where_clause) = (&sig.generics, &sig.generics.where_clause);
    // `impl` from the edition of this crate: it captures every lifetime in older editions too.
    let impl_token = Ident::new("impl", Span::mixed_site());

    let Some(block) = block else {
        // In the declaration of a trait's method, only the bound can say that the future is `Send`.
        let inputs = &sig.inputs;
        return quote_spanned! {span=>
            #(#attrs)*
            #vis #fn_token #name #generics(#inputs)
                -> #v1::DurableBlock<#impl_token ::core::future::Future<Output = #output> + ::core::marker::Send>
            #where_clause;
        };
    };

    let mut inputs = Vec::new();
    let mut bindings = Vec::new();
    for (index, input) in sig.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(receiver) => inputs.push(receiver.to_token_stream()),
            FnArg::Typed(argument) => {
                let (ty, pat) = (&argument.ty, &argument.pat);
                let (lints, others): (Vec<_>, Vec<_>) =
                    argument.attrs.iter().partition(|attribute| !attribute.path().is_ident("cfg"));
                let outer = match &**pat {
                    Pat::Ident(pat) if pat.subpat.is_none() => pat.ident.clone(),
                    _ => function.fresh(&format!("argument{index}"), pat.span()),
                };
                // The pattern is inside, where its names are used; every argument is moved in, as in an async fn.
                bindings.push(quote_spanned!(pat.span()=> #(#others)* #(#lints)* let #pat = #outer;));
                inputs.push(quote_spanned!(pat.span()=> #(#others)* #outer: #ty));
            }
        }
    }
    // The output is named, since `?` and `return` need it before the body is type-checked; `impl Trait` cannot be named.
    let hint = match &sig.output {
        ReturnType::Type(_, ty) if mentions_impl(ty.to_token_stream()) => quote_spanned!(span=> _),
        _ => output.clone(),
    };
    let contents = quote_spanned! {span=>
        #v1::DurableBlock::returning::<#hint, _>(async move {
            #(#bindings)*
            #block
        })
    };
    let mut braces = Group::new(Delimiter::Brace, contents);
    braces.set_span(function.body.as_ref().map_or(span, Group::span));
    // Items at the top of the body follow the bindings of the arguments.
    let items = (!bindings.is_empty()).then(|| quote!(#[allow(clippy::items_after_statements)]));
    quote_spanned! {span=>
        #[deny(unused_must_use)]
        #items
        #(#attrs)*
        #vis #fn_token #name #generics(#(#inputs),*) -> #v1::DurableBlock<#impl_token ::core::future::Future<Output = #output>>
        #where_clause
        #braces
    }
}

fn mentions_impl(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        proc_macro2::TokenTree::Ident(ident) => ident == "impl",
        proc_macro2::TokenTree::Group(group) => mentions_impl(group.stream()),
        _ => false,
    })
}
