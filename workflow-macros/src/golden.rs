//! The expansions, as formatted text beside their input, so that a change of the generated code shows as a difference.
//!
//! `UPDATE_GOLDEN=1 cargo test -p workflow-macros` writes them again.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item, Meta};

/// Expands the outermost attribute of this crate on each item, as the compiler would.
fn expand(item: Item) -> TokenStream {
    let Item::Fn(mut function) = item else { return item.into_token_stream() };
    let Some(at) = function.attrs.iter().position(|attribute| expander(attribute).is_some()) else {
        return function.into_token_stream();
    };
    let attribute = function.attrs.remove(at);
    let options = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    expander(&attribute).map_or_else(TokenStream::new, |expand| expand(options, function.into_token_stream()))
}

fn expander(attribute: &Attribute) -> Option<fn(TokenStream, TokenStream) -> TokenStream> {
    match attribute.path().get_ident()?.to_string().as_str() {
        "workflow" => Some(crate::workflow::expand),
        "step" => Some(crate::step::expand),
        "durable" => Some(crate::helper::expand),
        _ => None,
    }
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden");
    let input = std::fs::read_to_string(folder.join(format!("{name}.rs"))).expect("the input is there");
    let file = syn::parse_file(&input).expect("the input parses");
    let expanded: TokenStream = file.items.into_iter().map(expand).collect();
    let expanded = syn::parse2(expanded).expect("the expansion parses");
    let expanded = prettyplease::unparse(&expanded);
    let path = folder.join(format!("{name}.expanded.rs"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expanded).expect("it can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == expanded,
        "{name} expands to something else; after a look, run with UPDATE_GOLDEN=1:\n{expanded}"
    );
}

#[test]
fn a_workflow() {
    check("workflow");
}

#[test]
fn a_step() {
    check("step");
}

#[test]
fn a_durable_function() {
    check("durable");
}

#[test]
fn macros_in_a_body() {
    check("macros");
}

#[test]
fn probes_in_a_body() {
    check("probes");
}

#[test]
fn mistakes_leave_an_item() {
    check("mistakes");
}
