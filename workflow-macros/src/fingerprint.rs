//! The fingerprint of a definition at compile time.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use sha2::{Digest, Sha256};

/// SHA-256 over the tokens, in hex.
///
/// The tokens are walked, not printed: the printed form (its spaces) differs between compilers.
pub(crate) fn of(parts: &[&dyn ToTokens]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        feed(&mut hash, part.to_token_stream());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn feed(hash: &mut Sha256, tokens: TokenStream) {
    for token in tokens {
        match token {
            // Invisible groups depend on the macro that a token passed through.
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => feed(hash, group.stream()),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    _ => ("(", ")"),
                };
                hash.update(open);
                feed(hash, group.stream());
                hash.update(close);
            }
            leaf => {
                hash.update(leaf.to_string());
                hash.update([0]);
            }
        }
    }
}
