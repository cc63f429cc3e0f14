//! The parameters of pages and forms.

use form_urlencoded::{Serializer, parse};

/// Names and values, in their order. A name can be there several times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn parse(text: &str) -> Query {
        Query { pairs: parse(text.as_bytes()).into_owned().collect() }
    }

    /// The first value, if it is not empty: a form sends empty fields too.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values that are not empty.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.pairs.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// A value that may be empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Adds a value.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Query {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces all values of a name.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Query {
        self.without(name).and(name, value)
    }

    /// Removes all values of a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Query {
        self.pairs.retain(|(key, _)| key != name);
        self
    }

    /// Removes one value of a name.
    #[must_use]
    pub fn without_value(mut self, name: &str, value: &str) -> Query {
        self.pairs.retain(|(key, other)| key != name || other != value);
        self
    }

    /// Keeps only these names.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Query {
        self.pairs.retain(|(key, value)| names.contains(&&**key) && !value.is_empty());
        self
    }

    /// The address of a page with these parameters, relative to the page that links to it.
    pub fn to(&self, page: &str) -> String {
        if self.pairs.is_empty() {
            return page.to_owned();
        }
        let text = Serializer::new(String::new()).extend_pairs(&self.pairs).finish();
        format!("{page}?{text}")
    }
}

/// The address of a page with one parameter.
pub(super) fn link(page: &str, name: &str, value: &str) -> String {
    Query::default().and(name, value).to(page)
}

/// A text for the value of a field, which would not keep control characters: see [`decoded`].
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What was [encoded].
pub(super) fn decoded(text: &str) -> String {
    let mut pairs = parse(text.as_bytes());
    pairs.next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_an_address_and_a_field() {
        let hostile = "a/b?c=d&e\0\r\n\u{1b}\"<é%41+ ";
        let query = Query::default().and("id", hostile).and("id", "2");
        let text = query.to("run");
        assert!(text.is_ascii() && !text.contains(['"', '<', '\0', ' ']), "{text}");
        assert_eq!(Query::parse(text.strip_prefix("run?").unwrap()), query);
        assert_eq!(decoded(&encoded(hostile)), hostile);
        assert_eq!(query.clone().without_value("id", hostile).to("run"), "run?id=2");
        assert_eq!(query.without("id").to("run"), "run");
    }
}
