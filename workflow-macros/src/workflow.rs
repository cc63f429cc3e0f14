//! `#[workflow]`.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::{quote, quote_spanned};
use syn::ReturnType;
use syn::spanned::Spanned;

use crate::errors::Errors;
use crate::function::Function;
use crate::options::{Kind, Options};
use crate::signature::{self, Checked};
use crate::{durable, fingerprint};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(Kind::Workflow, options, &mut errors);
    let function = match Function::read(Kind::Workflow, item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.add(error);
            let errors = errors.tokens();
            return quote!(#errors #item);
        }
    };
    let checked = signature::check(Kind::Workflow, &function, false, &mut errors);
    let v1 = options.v1(function.sig.ident.span());
    let body = body(&options, &function, &checked, &mut errors);
    if !checked.expandable {
        return function.refused(&options.v1(function.sig.ident.span()), &errors);
    }
    let outer = outer(&v1, &options, &function, &checked, &body);
    let errors = errors.tokens();
    quote!(#errors #outer)
}

/// The braces of the rewritten body; a body that does not parse diverges, so that it has every type.
fn body(options: &Options, function: &Function, checked: &Checked, errors: &mut Errors) -> TokenStream {
    let span = function.sig.ident.span();
    let block = match function.block() {
        Ok(Some(block)) => Some(block),
        Ok(None) => {
            errors.at(span, "a workflow has a body; a method of a trait that awaits is `#[durable]`");
            None
        }
        Err(error) => return function.unreadable(&error),
    };
    let rewritten = block.map(|block| durable::rewrite(options, &function.sig, block, errors));
    match rewritten {
        Some(block) if checked.body_usable => quote!(#block),
        _ => quote_spanned!(span=> { #![allow(unused)] loop {} }),
    }
}

fn outer(
    v1: &TokenStream,
    options: &Options,
    function: &Function,
    signature: &Checked,
    body: &TokenStream,
) -> TokenStream {
    let Function { vis, sig, .. } = function;
    let (attrs, body_attrs) = function.split_attributes();
    let name = &sig.ident;
    let span = name.span();
    let fn_token = sig.fn_token;
    let output = output(v1, function);
    let described_names: Vec<_> = signature.arguments.iter().map(|argument| &argument.name).collect();
    let names: Vec<_> = described_names.iter().map(|name| function.used(name)).collect();
    let types: Vec<_> = signature.arguments.iter().map(|argument| &*argument.inner.ty).collect();
    let inner = signature.arguments.iter().map(|argument| &argument.inner);
    let (workflow, definition) = (function.fresh("__Workflow", span), function.fresh("__DEFINITION", span));
    let (run, lints) = (function.fresh("__body", span), body_lints());

    // The argument itself for a single one, so that `start(greet, name)` reads as the call does.
    let form = |span, form: &str| {
        let (v1, form) = (options.v1(span), syn::Ident::new(form, span));
        quote_spanned!(span=> #v1::#form)
    };
    let (form, args, pattern) = match (&types[..], &names[..]) {
        ([ty], [name]) => (form(ty.span(), "One"), quote!(#ty), quote!(#name)),
        _ => {
            let span = signature.tuple_span(sig);
            (form(span, "Tuple"), quote_spanned!(span=> (#(#types),*)), quote_spanned!(span=> (#(#names),*)))
        }
    };
    let source = source(options, function);
    let validate = validate(v1, options, &pattern, &names);
    let was = (!options.was.is_empty()).then(|| {
        let was = &options.was;
        quote!(.was(&[#(#was),*]))
    });
    let pinned = options.pinned.then(|| quote!(.pinned()));
    let described = described(v1, &output, &described_names, &types);
    // `args` does not conflict with a user's name: hygiene separates them.
    let given = proc_macro2::Ident::new("args", proc_macro2::Span::mixed_site());
    let contents = quote_spanned! {span=>
        #[doc(hidden)]
        struct #workflow;

        static #definition: #v1::WorkflowDefinition =
            #v1::WorkflowDefinition::new::<#workflow>(#source, #described) #was #pinned;

        #v1::inventory::submit! { #v1::Item::Workflow(&#definition) }

        impl #v1::Workflow for #workflow {
            type Form = #form;
            type Args = #args;
            type Output = #output;
            const DEFINITION: &'static #v1::WorkflowDefinition = &#definition;

            #validate

            fn run(
                #given: Self::Args,
            ) -> ::std::boxed::Box<dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send> {
                let #pattern = #given;
                ::std::boxed::Box::new(#run(#(#names),*))
            }
        }

        #(#body_attrs)*
        #lints
        async fn #run(#(#inner),*) -> #output #body

        #v1::Invocation::<#workflow>::new(#pattern)
    };
    let mut braces = Group::new(Delimiter::Brace, contents);
    braces.set_span(function.body.as_ref().map_or(span, Group::span));
    quote_spanned! {span=>
        #[deny(unused_must_use)]
        #[allow(clippy::type_complexity)]
        #(#attrs)*
        #[track_caller]
        #vis #fn_token #name(#(#names: #types),*) -> #v1::Invocation<impl #v1::Workflow<Args = #args, Output = #output>>
        #braces
    }
}

/// The lints that the requirements of the attributes violate: owned arguments, any number of them, a `Result` in any
/// case, and `async` even without an await.
pub(crate) fn body_lints() -> TokenStream {
    quote! {
        #[allow(
            clippy::needless_pass_by_value,
            clippy::too_many_arguments,
            clippy::unnecessary_wraps,
            clippy::unused_async
        )]
    }
}

/// The description of a workflow or a step for other programs. The runtime's macro decides by its features what is generated.
pub(crate) fn described(
    v1: &TokenStream,
    output: &TokenStream,
    names: &[&syn::Ident],
    types: &[&syn::Type],
) -> TokenStream {
    let names = names.iter().map(|name| syn::ext::IdentExt::unraw(*name).to_string());
    quote!(#v1::described!([#(#names),*], [#(#types),*], #output))
}

/// The check of the arguments that the user has named; it receives references.
fn validate(v1: &TokenStream, options: &Options, pattern: &TokenStream, names: &[syn::Ident]) -> TokenStream {
    let Some(path) = &options.validate else { return TokenStream::new() };
    let given = proc_macro2::Ident::new("args", proc_macro2::Span::mixed_site());
    quote_spanned! {path.span()=>
        fn validate(#given: &Self::Args) -> ::core::result::Result<(), #v1::Error> {
            let #pattern = #given;
            ::core::result::Result::map_err(#path(#(#names),*), ::core::convert::Into::into)
        }
    }
}

/// The return type of the function; if it is missing, which is reported, the required type.
pub(crate) fn output(v1: &TokenStream, function: &Function) -> TokenStream {
    match &function.sig.output {
        ReturnType::Type(_, ty) => quote!(#ty),
        ReturnType::Default => quote_spanned!(function.sig.ident.span()=> ::core::result::Result<(), #v1::Error>),
    }
}

/// The arguments from which the runtime makes the definition's `Source`.
pub(crate) fn source(options: &Options, function: &Function) -> TokenStream {
    let name = &function.sig.ident;
    let span = name.span();
    let id = match &options.id {
        Some(id) => quote!(#id),
        None => {
            let name = format!("::{}", syn::ext::IdentExt::unraw(name));
            quote_spanned!(span=> ::core::concat!(::core::module_path!(), #name))
        }
    };
    let fingerprint = fingerprint::of(&[&function.sig, &function.body]);
    quote_spanned!(span=> #id, #fingerprint, ::core::cfg!(test))
}
