//! The options in the parentheses of an attribute.

#[macro_use]
mod table;
mod values;

use std::time::Duration;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Ident, LitInt, LitStr, Path, Token};

use crate::errors::Errors;

/// The kind of the attribute: its name and its options.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Workflow,
    Step,
    Durable,
}

impl Kind {
    /// The attribute, as users write it.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Kind::Workflow => "#[workflow]",
            Kind::Step => "#[step]",
            Kind::Durable => "#[durable]",
        }
    }

    /// The noun for a function with the attribute, with its article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Kind::Workflow => "a workflow",
            Kind::Step => "a step",
            Kind::Durable => "a durable function",
        }
    }
}

/// The given options.
#[derive(Default)]
pub(crate) struct Options {
    root: Option<Path>,
    pub(crate) id: Option<LitStr>,
    pub(crate) was: Vec<LitStr>,
    pub(crate) pinned: bool,
    pub(crate) retries: Option<LitInt>,
    pub(crate) backoff: Option<(Duration, Duration)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) validate: Option<Path>,
    pub(crate) transaction: Option<Span>,
}

impl Options {
    /// Reads the options; an invalid option is reported and keeps its default.
    pub(crate) fn parse(kind: Kind, tokens: TokenStream, errors: &mut Errors) -> Self {
        let parser = |input: ParseStream<'_>| {
            let mut options = Options::default();
            let mut seen = Vec::new();
            while !input.is_empty() {
                if let Err(error) = options.parse_one(kind, input, &mut seen, errors) {
                    errors.add(error);
                    skip_to_comma(input);
                }
                if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                    errors.at(input.span(), "expected a comma between two options");
                    skip_to_comma(input);
                    let _ = input.parse::<Token![,]>();
                }
            }
            Ok(options)
        };
        parser.parse2(tokens).unwrap_or_else(|error| {
            errors.add(error);
            Options::default()
        })
    }

    fn parse_one(
        &mut self,
        kind: Kind,
        input: ParseStream<'_>,
        seen: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("expected an option: {}", listed(kind))));
        }
        let key = input.call(Ident::parse_any)?;
        let name = key.to_string();
        let Some(spec) = kind.options().iter().find(|spec| spec.name == name) else {
            let names: Vec<_> = kind.options().iter().map(|spec| spec.name).collect();
            let hint = nearest(&name, &names).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            return Err(syn::Error::new(
                key.span(),
                format!("{} has no option `{name}`{hint} (there is {})", kind.attribute(), listed(kind)),
            ));
        };
        if !spec.repeats && seen.contains(&name) {
            errors.at(key.span(), format!("the option `{name}` is given twice"));
        }
        seen.push(name);
        let ends = |input: ParseStream<'_>| input.is_empty() || input.peek(Token![,]);
        match (spec.takes_value(), input.peek(Token![=])) {
            (true, true) => {
                input.parse::<Token![=]>()?;
                (spec.read)(self, spec, input)?;
            }
            (true, false) => {
                return Err(syn::Error::new(key.span(), format!("`{}` needs a value: `{}`", spec.name, spec.example)));
            }
            (false, _) => {
                (spec.read)(self, spec, input)?;
                if !ends(input) {
                    let text = format!("`{}` takes no value: `#[step({})]`", spec.name, spec.example);
                    return Err(input.error(text));
                }
            }
        }
        if ends(input) {
            return Ok(());
        }
        Err(input.error(format!("unexpected after the value of `{}`: `{}` is the form", spec.name, spec.example)))
    }

    /// The runtime's private module, with the given span: errors in the generated code are reported at a user's token.
    pub(crate) fn v1(&self, span: Span) -> TokenStream {
        match &self.root {
            None => quote_spanned!(span=> ::workflow_runtime::__private::v1),
            Some(path) => {
                // The names keep their hygiene: `$crate` is a different crate elsewhere.
                let path = respan(path.to_token_stream(), span);
                quote_spanned!(span=> #path::__private::v1)
            }
        }
    }
}

fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span.resolved_at(token.span()));
            token
        })
        .collect()
}

fn listed(kind: Kind) -> String {
    kind.options().iter().map(|spec| format!("`{}`", spec.example)).collect::<Vec<_>>().join(", ")
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}

/// The option that the user probably meant.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|known| (distance(name, known), *known)).min()?;
    let prefix = known.iter().find(|known| name.len() >= 3 && known.starts_with(name) || name.starts_with(**known));
    let limit = if name.len() < 5 { 2 } else { 3 };
    if near.0 <= limit && near.0 < name.len() { Some(near.1) } else { prefix.copied() }
}

/// The number of letters to add, remove or replace to convert one into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognised() {
        let known: Vec<_> = Kind::Step.options().iter().map(|spec| spec.name).collect();
        let known = &known[..];
        assert_eq!(nearest("retry", known), Some("retries"));
        assert_eq!(nearest("time_out", known), Some("timeout"));
        assert_eq!(nearest("que", known), Some("queue"));
        assert_eq!(nearest("colour", known), None);
    }
}
