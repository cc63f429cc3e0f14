//! Names for the expansion that the user's function does not use.
//!
//! The body and the signature share a scope with the generated items, and items have no hygiene: a
//! generated item would shadow a user's item with the same name, or an argument would shadow the generated item.

use std::collections::HashSet;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// The identifiers of an annotated item.
pub(crate) struct Fresh(HashSet<String>);

impl Fresh {
    /// Reads the annotated item.
    pub(crate) fn of(item: TokenStream) -> Self {
        let mut names = HashSet::new();
        collect(item, &mut names);
        Fresh(names)
    }

    /// Whether the item has this identifier anywhere.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// A name that is not used in the item and is no keyword: `name`, followed by as many underscores as needed.
    pub(crate) fn name(&self, name: &str, span: Span) -> Ident {
        let mut name = name.to_owned();
        // A keyword has letters only; the compiler's own answer is slow, and is asked for few names.
        let is_keyword =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphabetic()) && syn::parse_str::<Ident>(name).is_err();
        while self.0.contains(&name) || is_keyword(&name) {
            name.push('_');
        }
        Ident::new(&name, span)
    }
}

fn collect(tokens: TokenStream, names: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.unraw().to_string());
            }
            TokenTree::Group(group) => collect(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn a_generated_name_differs_from_the_users_names() {
        let fresh = Fresh::of(quote!(
            async fn w(__body: u32) {
                r#__body_;
                __workflow
            }
        ));
        assert_eq!(fresh.name("__body", Span::call_site()), "__body__");
        assert_eq!(fresh.name("__Workflow", Span::call_site()), "__Workflow");
        assert_eq!(fresh.name("type", Span::call_site()), "type_");
    }
}
