//! The annotated function: parsing it, and the rules for its signature.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, Block, FnArg, Pat, PatType, ReturnType, Safety, Signature, Token, Type, Visibility};

use crate::errors::Errors;
use crate::fresh::Fresh;
use crate::options::Kind;

/// Serde's tuples and `WorkflowFn` support at least this number.
const ARGUMENTS_MAX: usize = 12;

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

/// An argument of a workflow or a step.
pub(crate) struct Argument {
    /// As the user wrote it, without the attributes of this crate: the body receives it in this form.
    pub(crate) inner: PatType,
    /// Its name in the outer function.
    pub(crate) name: Ident,
    /// The type behind the reference, if it is a resource.
    pub(crate) resource: Option<Type>,
    /// Whether it is the transaction that the step runs in.
    pub(crate) is_transaction: bool,
}

/// The result of checking the signature of a workflow or a step.
pub(crate) struct Checked {
    pub(crate) arguments: Vec<Argument>,
    /// Whether it can be expanded in spite of its errors. If not, the item is left as the user wrote it.
    pub(crate) expandable: bool,
    /// Whether its body can still be used.
    pub(crate) body_usable: bool,
}

impl Checked {
    /// The arguments that are part of a call.
    pub(crate) fn passed(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(|argument| argument.resource.is_none() && !argument.is_transaction)
    }

    /// The types of arguments that may not be storable.
    pub(crate) fn suspects(&self) -> Vec<&Type> {
        self.passed().map(|argument| &*argument.inner.ty).filter(|ty| !is_storable(ty)).collect()
    }

    /// The span of the tuple of all arguments: the compiler reports an error of one argument for the tuple, so the
    /// argument that may be wrong is the best place.
    pub(crate) fn tuple_span(&self, sig: &Signature) -> Span {
        match self.suspects()[..] {
            [] => sig.ident.span(),
            [one] => one.span(),
            _ => sig.paren_token.span.join(),
        }
    }
}

/// Whether the type is known to be storable.
fn is_storable(ty: &Type) -> bool {
    const KNOWN: [&str; 18] = [
        "bool", "char", "String", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize", "Duration",
    ];
    matches!(ty, Type::Path(path) if path.path.get_ident().is_some_and(|name| KNOWN.iter().any(|known| name == known)))
}

/// Checks the signature of a workflow or a step.
pub(crate) fn check(kind: Kind, function: &Function, transaction: bool, errors: &mut Errors) -> Checked {
    let sig = &function.sig;
    let noun = kind.noun();
    let mut checked = Checked { arguments: Vec::new(), expandable: true, body_usable: true };

    if kind == Kind::Workflow && sig.asyncness.is_none() {
        errors.on(sig.fn_token, "a workflow is an async function: write `async fn`");
    }
    if let Some(token) = &sig.constness {
        errors.on(token, format!("{noun} cannot be `const`: it runs when an engine runs it; remove `const`"));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.on(
            token,
            format!("{noun} cannot be `unsafe`: the engine calls it; use an `unsafe` block in a step's body"),
        );
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, format!("{noun} has no ABI of its own: remove `extern`"));
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(variadic, format!("{noun} has a fixed number of arguments: take a `Vec`"));
        checked.expandable = false;
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        let part: TokenStream = match sig.generics.params.is_empty() {
            true => sig.generics.where_clause.to_token_stream(),
            false => sig.generics.params.to_token_stream(),
        };
        errors.on(
            part,
            format!(
                "{noun} cannot be generic: a run is stored under one id and goes on in another process, which could not \
                 tell the types; write one function for each type and share the body in a generic `#[durable]` function"
            ),
        );
        checked.expandable = false;
    }
    match &sig.output {
        ReturnType::Default => {
            errors.at(
                sig.ident.span(),
                format!("{noun} returns a `Result`: write `-> workflow_runtime::Result<()>` and end with `Ok(())`"),
            );
            checked.body_usable = false;
        }
        ReturnType::Type(_, ty) => {
            let mut types = Types { noun, place: "result", errors, refused: false };
            types.visit_type(ty);
            checked.expandable &= !types.refused;
        }
    }

    if transaction && sig.asyncness.is_none() {
        errors.on(sig.fn_token, "a step with `transaction` is an async function: write `async fn`");
        checked.expandable = false;
    }
    let takes_one = |input: Option<&FnArg>| {
        let Some(FnArg::Typed(first)) = input else { return false };
        matches!(&*first.ty, Type::Reference(reference) if reference.mutability.is_some())
    };
    if transaction && !takes_one(sig.inputs.first()) {
        errors.at(
            sig.ident.span(),
            "the first argument of a step with `transaction` is the transaction: write `tx: &mut Transaction`",
        );
        checked.expandable = false;
        return checked;
    }
    for (index, input) in sig.inputs.iter().enumerate() {
        match input {
            FnArg::Typed(argument) if transaction && index == 0 => {
                let name = function.fresh("argument0", argument.pat.span());
                let inner = argument.clone();
                checked.arguments.push(Argument { inner, name, resource: None, is_transaction: true });
            }
            FnArg::Receiver(receiver) => {
                errors.on(
                    receiver,
                    format!(
                        "{noun} has no `self`: {}",
                        match kind {
                            Kind::Step =>
                                "take what it needs as arguments, and shared clients as `#[resource] client: &Client`",
                            _ => "take what it needs as arguments; a method that awaits can be `#[durable]`",
                        }
                    ),
                );
                checked.expandable = false;
            }
            FnArg::Typed(argument) => check_argument(kind, function, index, argument, &mut checked, errors),
        }
    }
    let count = checked.passed().count();
    if count > ARGUMENTS_MAX {
        if let Some(first) = checked.passed().nth(ARGUMENTS_MAX) {
            errors.on(
                &first.inner,
                format!("{noun} takes at most {ARGUMENTS_MAX} arguments, and this is one more: put them in a struct"),
            );
        }
        checked.expandable = false;
    }
    if let Some(span) = first_self_type(function) {
        errors.at(span, format!("`Self` is not known in {noun}, which is a unit of its own: name the type"));
        checked.expandable = false;
    }
    checked
}

fn check_argument(
    kind: Kind,
    function: &Function,
    index: usize,
    argument: &PatType,
    checked: &mut Checked,
    errors: &mut Errors,
) {
    let noun = kind.noun();
    let mut inner = argument.clone();
    let mut resource = None;
    inner.attrs.retain(|attribute| {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.on(
                attribute,
                format!(
                    "an argument of {noun} cannot be conditional: a run that was stored by one build could not be read \
                     by another; put `#[cfg]` on the function, or take an `Option`"
                ),
            );
            return false;
        }
        if !attribute.path().is_ident("resource") {
            return true;
        }
        if kind != Kind::Step {
            errors.on(attribute, "only a step has resources: call a step that takes it");
            checked.expandable = false;
        } else if !matches!(attribute.meta, syn::Meta::Path(_)) {
            errors.on(attribute, "`#[resource]` takes no options");
        }
        resource = Some(());
        false
    });

    let resource = resource.map(|()| match &*argument.ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            match &*reference.elem {
                Type::TraitObject(object) => {
                    errors.on(
                        object,
                        "a resource is found by its type, which has to be sized: give the engine an `Arc<dyn ..>` and \
                         take `&Arc<dyn ..>`",
                    );
                    checked.expandable = false;
                }
                Type::ImplTrait(ty) => {
                    errors.on(ty, "a resource is found by its type: name the type");
                    checked.expandable = false;
                }
                _ => {}
            }
            (*reference.elem).clone()
        }
        ty => {
            let text = type_text(match ty {
                Type::Reference(reference) => &reference.elem,
                ty => ty,
            });
            errors.on(ty, format!("a resource is shared by all steps, so it is taken by reference: `&{text}`"));
            checked.expandable = false;
            ty.clone()
        }
    });

    let name = match &*argument.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
        Pat::Wild(_) => function.fresh(&format!("argument{index}"), argument.pat.span()),
        pat => {
            errors.on(
                pat,
                format!(
                    "an argument of {noun} is a plain name: take the value under a name and take it apart with `let`"
                ),
            );
            function.fresh(&format!("argument{index}"), pat.span())
        }
    };
    if resource.is_none() {
        let mut types = Types { noun, place: "argument", errors, refused: false };
        types.visit_type(&argument.ty);
        checked.expandable &= !types.refused;
    }
    checked.arguments.push(Argument { inner, name, resource, is_transaction: false });
}

/// Finds parts that a stored type cannot have.
struct Types<'a> {
    noun: &'static str,
    place: &'static str,
    errors: &'a mut Errors,
    refused: bool,
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_type_reference(&mut self, ty: &'ast syn::TypeReference) {
        let owned = match &*ty.elem {
            Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
            Type::Path(path) if path.path.is_ident("Path") => "PathBuf".to_owned(),
            Type::Slice(slice) => format!("Vec<{}>", type_text(&slice.elem)),
            elem => type_text(elem),
        };
        self.refused = true;
        self.errors
            .on(ty, format!("{}'s {} is stored, so it cannot be borrowed: make it `{owned}`", self.noun, self.place));
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident != "static" {
            self.refused = true;
            self.errors.on(
                lifetime,
                format!(
                    "{}'s {} is stored, so it cannot be borrowed: use `'static` or an owned type",
                    self.noun, self.place
                ),
            );
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.refused = true;
        self.errors.on(
            ty,
            format!(
                "{}'s {} is stored and read back by its type: name the type instead of `impl`",
                self.noun, self.place
            ),
        );
    }

    // Types in a function pointer are not checked; serde reports that it cannot be stored.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
}

/// A type as a user would write it.
pub(crate) fn type_text(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    [(" :: ", "::"), (" < ", "<"), (" >", ">"), (" ,", ","), ("& ", "&"), ("[ ", "["), (" ]", "]")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

fn first_self_type(function: &Function) -> Option<Span> {
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
