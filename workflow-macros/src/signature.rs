//! The rules for the signature of a workflow or a step.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{FnArg, Pat, PatType, ReturnType, Safety, Signature, Type};

use crate::errors::Errors;
use crate::function::{Function, first_self_type};
use crate::options::Kind;
use crate::stored_types::{Types, is_storable, type_text};

/// Serde's tuples and `WorkflowFn` support at least this number.
const ARGUMENTS_MAX: usize = 12;

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

    /// The span of the tuple of all arguments: the compiler reports an error of one argument for the tuple, so the
    /// argument that may be wrong is the best place.
    pub(crate) fn tuple_span(&self, sig: &Signature) -> Span {
        let mut suspects = self.passed().map(|argument| &argument.inner.ty).filter(|ty| !is_storable(ty));
        match (suspects.next(), suspects.next()) {
            (None, _) => sig.ident.span(),
            (Some(only), None) => only.span(),
            _ => sig.paren_token.span.join(),
        }
    }
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
                "{noun} cannot be generic: a run is stored under one id and continues in another process, which could not \
                 determine the types; write one function for each type and share the body in a generic `#[durable]` function"
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
