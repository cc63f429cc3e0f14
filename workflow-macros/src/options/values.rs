//! The values of options.

use std::time::Duration;

use syn::parse::{Parse, ParseStream};
use syn::{LitInt, LitStr};

use super::table::Spec;

/// A value of one kind of token; for another kind, the error shows the expected form.
pub(super) fn given<T: Parse>(input: ParseStream<'_>, spec: &Spec) -> syn::Result<T> {
    let span = input.span();
    input.parse().map_err(|_| syn::Error::new(span, format!("`{}` takes another value: `{}`", spec.name, spec.example)))
}

pub(super) fn retries(literal: LitInt) -> syn::Result<LitInt> {
    if literal.base10_parse::<u32>().is_err() || !matches!(literal.suffix(), "" | "u32") {
        return Err(syn::Error::new(literal.span(), "`retries` is a whole number from 0 to 4294967295"));
    }
    Ok(literal)
}

pub(super) fn id(literal: LitStr) -> syn::Result<LitStr> {
    let text = literal.value();
    if text.is_empty() || text.len() > 512 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(syn::Error::new(
            literal.span(),
            "an id is a text of 1 to 512 bytes without spaces and control characters",
        ));
    }
    // The same prefixes as in the runtime's module `keys`.
    if let Some(prefix) =
        ["queue:", "suspended/", "webhook/", "workflow_runtime::"].into_iter().find(|prefix| text.starts_with(prefix))
    {
        return Err(syn::Error::new(
            literal.span(),
            format!("an id must not begin with `{prefix}`, which is reserved"),
        ));
    }
    Ok(literal)
}

pub(super) fn queue(literal: LitStr) -> syn::Result<LitStr> {
    let text = literal.value();
    if text.is_empty() || text.len() > 128 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return Err(syn::Error::new(
            literal.span(),
            "the name of a queue is a text of 1 to 128 bytes without spaces, slashes and control characters",
        ));
    }
    Ok(literal)
}

pub(super) fn timeout(literal: &LitStr) -> syn::Result<Duration> {
    match duration(&literal.value()) {
        Some(Duration::ZERO) => Err(syn::Error::new(literal.span(), "a timeout of zero lets no attempt succeed")),
        Some(duration) => Ok(duration),
        None => Err(syn::Error::new(
            literal.span(),
            "a duration is a whole number and one of the units ms, s, m, h, d: `\"100ms\"`, `\"10s\"`, `\"2h\"`",
        )),
    }
}

pub(super) fn range(literal: &LitStr) -> syn::Result<(Duration, Duration)> {
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
}
