//! The types of arguments and results, which are stored.

use quote::ToTokens;
use syn::Type;
use syn::visit::Visit;

use crate::errors::Errors;

/// Whether the type is known to be storable.
pub(crate) fn is_storable(ty: &Type) -> bool {
    const KNOWN: [&str; 18] = [
        "bool", "char", "String", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize", "Duration",
    ];
    matches!(ty, Type::Path(path) if path.path.get_ident().is_some_and(|name| KNOWN.iter().any(|known| name == known)))
}

/// Finds parts that a stored type cannot have.
pub(crate) struct Types<'a> {
    pub(crate) noun: &'static str,
    pub(crate) place: &'static str,
    pub(crate) errors: &'a mut Errors,
    pub(crate) refused: bool,
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

    fn visit_type_path(&mut self, ty: &'ast syn::TypePath) {
        let Some(inside) = inside_rc(ty) else { return syn::visit::visit_type_path(self, ty) };
        self.refused = true;
        let owned = type_text(inside);
        self.errors.on(
            ty,
            format!(
                "{}'s {} is stored and moves between threads, as an `Rc` cannot: make it `{owned}`",
                self.noun, self.place
            ),
        );
    }

    // Types in a function pointer are not checked; serde reports that it cannot be stored.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
}

/// The type in an `Rc`. The compiler would report two errors for it: that it cannot be stored, and that it is not `Send`.
fn inside_rc(ty: &syn::TypePath) -> Option<&Type> {
    let names: Vec<String> = ty.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if ty.qself.is_some() || !matches!(names[..], ["Rc"] | ["rc", "Rc"] | ["std" | "alloc", "rc", "Rc"]) {
        return None;
    }
    let syn::PathArguments::AngleBracketed(arguments) = &ty.path.segments.last()?.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(inside) => Some(inside),
        _ => None,
    }
}

/// A type as a user would write it.
pub(crate) fn type_text(ty: &Type) -> String {
    let text = ty.to_token_stream().to_string();
    [(" :: ", "::"), (" < ", "<"), (" >", ">"), (" ,", ","), ("& ", "&"), ("[ ", "["), (" ]", "]")]
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}
