//! What stands in the parentheses of an attribute.

use std::time::Duration;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Ident, LitInt, LitStr, Path, Token};

use crate::errors::Errors;

/// Which attribute it is: what it is called and what may stand in it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Workflow,
    Step,
    Durable,
}

impl Kind {
    /// The attribute, as it is written.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Kind::Workflow => "#[workflow]",
            Kind::Step => "#[step]",
            Kind::Durable => "#[durable]",
        }
    }

    /// What a function with the attribute is, with its article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Kind::Workflow => "a workflow",
            Kind::Step => "a step",
            Kind::Durable => "a durable function",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Kind::Workflow => &["id", "was", "validate", "crate"],
            Kind::Step => &["id", "retries", "backoff", "timeout", "heartbeat", "queue", "transaction", "crate"],
            Kind::Durable => &["crate"],
        }
    }
}

/// The options that were given.
#[derive(Default)]
pub(crate) struct Options {
    root: Option<Path>,
    pub(crate) id: Option<LitStr>,
    pub(crate) was: Vec<LitStr>,
    pub(crate) retries: Option<LitInt>,
    pub(crate) backoff: Option<(Duration, Duration)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) validate: Option<Path>,
    pub(crate) transaction: Option<Span>,
}

impl Options {
    /// Reads the options; what cannot be read is reported and left at its default.
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
        if !kind.options().contains(&name.as_str()) {
            let hint =
                nearest(&name, kind.options()).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            return Err(syn::Error::new(
                key.span(),
                format!("{} has no option `{name}`{hint} (there is {})", kind.attribute(), listed(kind)),
            ));
        }
        if name != "was" && seen.contains(&name) {
            errors.at(key.span(), format!("the option `{name}` is given twice"));
        }
        seen.push(name.clone());
        if name == "transaction" {
            self.transaction = Some(key.span());
            if input.is_empty() || input.peek(Token![,]) {
                return Ok(());
            }
            return Err(input.error("`transaction` takes no value: `#[step(transaction)]`"));
        }
        if !input.peek(Token![=]) {
            return Err(syn::Error::new(key.span(), format!("`{name}` needs a value: `{}`", example(&name))));
        }
        input.parse::<Token![=]>()?;
        match name.as_str() {
            "id" => self.id = Some(id(value(input, &name)?)?),
            "was" => self.was.push(id(value(input, &name)?)?),
            "retries" => {
                let retries: LitInt = value(input, &name)?;
                if retries.base10_parse::<u32>().is_err() || !matches!(retries.suffix(), "" | "u32") {
                    return Err(syn::Error::new(retries.span(), "`retries` is a whole number from 0 to 4294967295"));
                }
                self.retries = Some(retries);
            }
            "backoff" => self.backoff = Some(range(&value(input, &name)?)?),
            "timeout" => self.timeout = Some(timeout(&value(input, &name)?)?),
            "heartbeat" => self.heartbeat = Some(timeout(&value(input, &name)?)?),
            "queue" => self.queue = Some(queue(value(input, &name)?)?),
            "validate" => self.validate = Some(value(input, &name)?),
            _ => {
                self.root = Some(input.call(Path::parse_mod_style).map_err(|error| {
                    syn::Error::new(error.span(), "`crate` takes a path: `crate = my_prelude::workflow_runtime`")
                })?)
            }
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(());
        }
        Err(input.error(format!("unexpected after the value of `{name}`: `{}` is the form", example(&name))))
    }

    /// The runtime's private module, with the given span: what is generated is to be blamed on a token of the user's.
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

fn value<T: Parse>(input: ParseStream<'_>, name: &str) -> syn::Result<T> {
    let span = input.span();
    input.parse().map_err(|_| syn::Error::new(span, format!("`{name}` takes another value: `{}`", example(name))))
}

fn example(name: &str) -> &'static str {
    match name {
        "id" => "id = \"checkout\"",
        "was" => "was = \"shop::pay::checkout\"",
        "retries" => "retries = 5",
        "backoff" => "backoff = \"100ms..30s\"",
        "timeout" => "timeout = \"10s\"",
        "heartbeat" => "heartbeat = \"30s\"",
        "queue" => "queue = \"gpu\"",
        "validate" => "validate = check_order",
        "transaction" => "transaction",
        _ => "crate = my_prelude::workflow_runtime",
    }
}

fn listed(kind: Kind) -> String {
    kind.options().iter().map(|name| format!("`{}`", example(name))).collect::<Vec<_>>().join(", ")
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}

fn id(literal: LitStr) -> syn::Result<LitStr> {
    let text = literal.value();
    if text.is_empty() || text.len() > 512 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(syn::Error::new(
            literal.span(),
            "an id is a text of 1 to 512 bytes without spaces and control characters",
        ));
    }
    Ok(literal)
}

fn queue(literal: LitStr) -> syn::Result<LitStr> {
    let text = literal.value();
    if text.is_empty() || text.len() > 128 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return Err(syn::Error::new(
            literal.span(),
            "the name of a queue is a text of 1 to 128 bytes without spaces, slashes and control characters",
        ));
    }
    Ok(literal)
}

fn timeout(literal: &LitStr) -> syn::Result<Duration> {
    match duration(&literal.value()) {
        Some(Duration::ZERO) => Err(syn::Error::new(literal.span(), "a timeout of zero lets no attempt succeed")),
        Some(duration) => Ok(duration),
        None => Err(syn::Error::new(
            literal.span(),
            "a duration is a whole number and one of the units ms, s, m, h, d: `\"100ms\"`, `\"10s\"`, `\"2h\"`",
        )),
    }
}

fn range(literal: &LitStr) -> syn::Result<(Duration, Duration)> {
    let text = literal.value();
    let range = text.split_once("..").and_then(|(min, max)| Some((duration(min)?, duration(max)?)));
    match range {
        None => Err(syn::Error::new(
            literal.span(),
            "a backoff is a range of two durations, whole numbers with one of the units ms, s, m, h, d: `\"100ms..30s\"`",
        )),
        Some((min, max)) if min > max => {
            Err(syn::Error::new(literal.span(), "the range is empty: its first duration is the longer one"))
        }
        Some(range) => Ok(range),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit_ms).map(Duration::from_millis)
}

/// The option that was probably meant.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|known| (distance(name, known), *known)).min()?;
    let prefix = known.iter().find(|known| name.len() >= 3 && known.starts_with(name) || name.starts_with(**known));
    let limit = if name.len() < 5 { 2 } else { 3 };
    if near.0 <= limit && near.0 < name.len() { Some(near.1) } else { prefix.copied() }
}

/// How many letters are to be added, removed or replaced to make one of the other.
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
    fn durations_have_a_unit() {
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("2 h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "10", "s", "1.5s", "-1s", "1 week", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_typo_is_recognised() {
        let known = Kind::Step.options();
        assert_eq!(nearest("retry", known), Some("retries"));
        assert_eq!(nearest("time_out", known), Some("timeout"));
        assert_eq!(nearest("que", known), Some("queue"));
        assert_eq!(nearest("colour", known), None);
    }
}
