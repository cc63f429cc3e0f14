//! `replay_corpus!`: a test for each exported journal of a folder.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::LitStr;

/// The tests for the folder, whose path is relative to the manifest of the crate that is compiled.
pub fn expand(input: TokenStream) -> TokenStream {
    let folder = match syn::parse2::<LitStr>(input) {
        Ok(folder) => folder,
        Err(error) => return error.into_compile_error(),
    };
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    match tests(&Path::new(&root).join(folder.value())) {
        Ok(tests) => tests,
        Err(text) => syn::Error::new(folder.span(), text).into_compile_error(),
    }
}

fn tests(folder: &Path) -> Result<TokenStream, String> {
    let failed = |error| format!("the folder {} cannot be read: {error}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_str().ok_or_else(|| format!("the name of {} is not UTF-8", folder.join(&name).display()))?;
        if name.ends_with(".json") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    let path = |name: &str| folder.join(name).display().to_string();
    let tests = names.iter().map(|name| {
        let (ident, path) = (format_ident!("{}", test_name(name)), path(name));
        quote! {
            #[test]
            fn #ident() {
                ::workflow_runtime::__private::v1::replay_file(#name, ::core::include_str!(#path));
            }
        }
    });
    let folder = folder.display().to_string();
    Ok(quote! {
        #(#tests)*

        #[test]
        fn corpus_is_complete() {
            ::workflow_runtime::__private::v1::corpus_is_complete(#folder, &[#(#names),*]);
        }
    })
}

/// The name of the test of a file. Two files whose names differ in punctuation only are a compile error.
fn test_name(file: &str) -> String {
    let stem = file.strip_suffix(".json").unwrap_or(file);
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    format!("replays_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_journal_of_the_folder_is_a_test() {
        let folder = std::env::temp_dir().join(format!("workflow-corpus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["order-7.json", "order-8.json", "README.md"] {
            std::fs::write(folder.join(file), "{}").unwrap();
        }
        let tokens = tests(&folder).unwrap().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(tokens.contains("fn replays_order_7 ()") && tokens.contains("fn replays_order_8 ()"), "{tokens}");
        assert!(tokens.contains("fn corpus_is_complete ()") && !tokens.contains("README"), "{tokens}");
        assert!(tests(&folder).unwrap_err().contains("cannot be read"));
    }
}
