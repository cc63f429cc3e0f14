//! `#[step]`.

use std::time::Duration;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

use crate::errors::Errors;
use crate::function::Function;
use crate::options::{Kind, Options};
use crate::signature::{self, Checked};
use crate::workflow::{body_lints, described, output, source};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(Kind::Step, options, &mut errors);
    let function = match Function::read(Kind::Step, item.clone()) {
        Ok(function) => function,
        Err(error) => {
            errors.add(error);
            let errors = errors.tokens();
            return quote!(#errors #item);
        }
    };
    let checked = signature::check(Kind::Step, &function, options.transaction.is_some(), &mut errors);
    let body = body(&function, &checked, &mut errors);
    if !checked.expandable {
        return function.refused(&options.v1(function.sig.ident.span()), &errors);
    }
    let outer = outer(&options, &function, &checked, &body);
    let errors = errors.tokens();
    quote!(#errors #outer)
}

/// The user's own braces: a step may call anything.
fn body(function: &Function, checked: &Checked, errors: &mut Errors) -> TokenStream {
    let span = function.sig.ident.span();
    match &function.body {
        Some(_) if let Err(error) = function.block() => return function.unreadable(&error),
        Some(body) if checked.body_usable => return quote!(#body),
        Some(_) => {}
        None => errors.at(span, "a step has a body: a method of a trait cannot be a step, but it can call one"),
    }
    quote_spanned!(span=> { #![allow(unused)] loop {} })
}

fn outer(options: &Options, function: &Function, signature: &Checked, body: &TokenStream) -> TokenStream {
    let Function { vis, sig, .. } = function;
    let (attrs, body_attrs) = function.split_attributes();
    let (name, fn_token, asyncness) = (&sig.ident, sig.fn_token, &sig.asyncness);
    let span = name.span();
    let v1 = options.v1(span);
    let output = output(&v1, function);
    let names: Vec<_> = signature.passed().map(|argument| function.used(&argument.name)).collect();
    let types: Vec<_> = signature.passed().map(|argument| &*argument.inner.ty).collect();
    let inner = signature.arguments.iter().map(|argument| &argument.inner);
    let definition = function.fresh("__DEFINITION", span);
    let (run, lints) = (function.fresh("__body", span), body_lints());
    let requirements = signature
        .arguments
        .iter()
        .filter_map(|argument| argument.resource.as_ref())
        .map(|ty| quote_spanned!(span=> #v1::Requirement::of::<#ty>()))
        .collect::<Vec<_>>();
    let requires = (!requirements.is_empty()).then(|| quote_spanned!(span=> .requires(&[#(#requirements),*])));
    let source = source(options, function);
    let policy = policy(&v1, options, span);
    let described_names: Vec<_> = signature.passed().map(|argument| &argument.name).collect();
    let described = described(&v1, &output, &described_names, &types);
    let was = &options.was;
    let was = (!was.is_empty()).then(|| quote_spanned!(span=> .was(&[#(#was),*])));
    let queue = options.queue.as_ref().map(|queue| quote_spanned!(span=> .queue(#queue)));
    let transaction = options.transaction.map(|span| quote_spanned!(span=> .transaction()));
    let made = attempt_of(&v1, options, signature, &run, asyncness.is_some());
    let resources = if requirements.is_empty() { quote!(_) } else { local("resources").into_token_stream() };
    let passed = passed(signature);
    let tuple = signature.tuple_span(sig);
    let args = quote_spanned!(tuple=> (#(#types,)*));
    let given = quote_spanned!(tuple=> (#(#names,)*));
    let contents = quote_spanned! {span=>
        static #definition: #v1::StepDefinition = #v1::StepDefinition::new::<#args, #output, _>(
            #source,
            #described,
            &#v1::Attempt(|(#(#passed,)*), #resources| #made),
            #run,
        ) #policy #was #requires #queue #transaction;

        #v1::inventory::submit! { #v1::Item::Step(&#definition) }

        #(#body_attrs)*
        #lints
        #asyncness fn #run(#(#inner),*) -> #output #body

        #v1::call(&#definition, #given)
    };
    let mut braces = Group::new(Delimiter::Brace, contents);
    braces.set_span(function.body.as_ref().map_or(span, Group::span));
    quote_spanned! {span=>
        #[allow(clippy::type_complexity)]
        #(#attrs)*
        #[track_caller]
        #vis #fn_token #name(#(#names: #types),*) -> #v1::StepCall<#output>
        #braces
    }
}

/// A name of the generated code. None of these conflicts with a user's name: hygiene separates them.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The pattern of the arguments of an attempt.
fn passed(checked: &Checked) -> Vec<Ident> {
    let arguments = checked.arguments.iter().enumerate();
    let passed = arguments.filter(|(_, argument)| argument.resource.is_none() && !argument.is_transaction);
    passed.map(|(index, _)| local(&format!("argument{index}"))).collect()
}

/// The expression that makes an attempt: fetches the resources and calls the user's function.
fn attempt_of(v1: &TokenStream, options: &Options, checked: &Checked, run: &Ident, is_async: bool) -> TokenStream {
    let span = run.span();
    let (resources, transaction) = (local("resources"), local("transaction"));
    let mut fetches = Vec::new();
    let mut call = Vec::new();
    for (index, argument) in checked.arguments.iter().enumerate() {
        let name = local(&format!("argument{index}"));
        if argument.is_transaction {
            call.push(quote!(&mut #transaction));
            continue;
        }
        match &argument.resource {
            None => call.push(quote!(#name)),
            Some(ty) => {
                fetches.push(quote_spanned!(span=> let #name = #v1::Resources::get::<#ty>(#resources)?;));
                call.push(quote!(&#name));
            }
        }
    }
    let attempt = if let Some(span) = options.transaction {
        quote_spanned!(span=> Transaction(::std::boxed::Box::new(move |mut #transaction: #v1::Transaction| {
            ::std::boxed::Box::pin(async move {
                let result = #run(#(#call),*).await;
                (result, #transaction)
            })
        })))
    } else if is_async && fetches.is_empty() {
        quote_spanned!(span=> future(::std::boxed::Box::new(#run(#(#call),*))))
    } else if is_async {
        // The resources live in the future that borrows them.
        quote_spanned!(span=> future(::std::boxed::Box::new(async move { #run(#(#call),*).await })))
    } else {
        quote_spanned!(span=> Blocking(::std::boxed::Box::new(move || #run(#(#call),*))))
    };
    let execution = quote_spanned!(span=> ::core::result::Result::Ok(#v1::Execution::#attempt));
    if fetches.is_empty() {
        return execution;
    }
    quote_spanned! {span=> {
        #(#fetches)*
        #execution
    }}
}

fn policy(v1: &TokenStream, options: &Options, span: Span) -> Option<TokenStream> {
    let duration = |duration: Duration| {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        quote_spanned!(span=> ::core::time::Duration::from_millis(#ms))
    };
    let mut set = Vec::new();
    if let Some(retries) = &options.retries {
        set.push(quote_spanned!(span=> .retries(#retries)));
    }
    if let Some((min, max)) = options.backoff {
        let (min, max) = (duration(min), duration(max));
        set.push(quote_spanned!(span=> .backoff(#min, #max)));
    }
    if let Some(timeout) = options.timeout {
        let timeout = duration(timeout);
        set.push(quote_spanned!(span=> .timeout(#timeout)));
    }
    if let Some(heartbeat) = options.heartbeat {
        let heartbeat = duration(heartbeat);
        set.push(quote_spanned!(span=> .heartbeat(#heartbeat)));
    }
    (!set.is_empty()).then(|| quote_spanned!(span=> .policy(#v1::Policy::DEFAULT #(#set)*)))
}
