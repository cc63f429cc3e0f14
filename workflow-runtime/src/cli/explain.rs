//! `explain`: cause and remedy of an error code. The texts are the chapter of the guide.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::report::{Outcome, Stop};
use crate::error::{Code, Error};

/// A link to the chapter of the guide: a package has its content.
const CHAPTER: &str = include_str!("errors.md");

/// Explain an error code: its cause, an example, and the remedy
#[derive(Args)]
pub(super) struct Explain {
    /// The code, as errors show it; without it, all codes are listed
    code: Option<String>,
}

/// The codes with their texts.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHAPTER.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'))
}

impl Explain {
    pub fn execute(self, context: &mut Context) -> Outcome<Exit> {
        let output = &mut context.output;
        let Some(code) = self.code else {
            for (code, text) in sections() {
                if output.format().is_json() {
                    output.document(json!({ "code": code, "text": plain(text) }))?;
                } else {
                    output.line(code)?;
                }
            }
            return Ok(Exit::Ok);
        };
        let Some((code, text)) = sections().find(|(known, _)| known.eq_ignore_ascii_case(&code)) else {
            let error = Error::coded(Code::InvalidName, format!("there is no error code `{code}`"));
            return Err(Stop::usage(error.help("`workflow explain` lists all codes")));
        };
        match output.format().is_json() {
            true => output.document(json!({ "code": code, "text": plain(text) }))?,
            false => output.line(format!("{code}\n\n{}", plain(text)))?,
        }
        Ok(Exit::Ok)
    }
}

/// A text without the marks of Markdown, and with the text of each link only.
fn plain(markdown: &str) -> String {
    let mut plain = String::with_capacity(markdown.len());
    let mut rest = markdown.trim();
    while let Some(at) = rest.find(['[', '*']) {
        plain.push_str(&rest[..at]);
        let from = &rest[at..];
        let link = from.strip_prefix('[').and_then(|from| {
            let (text, after) = from.split_once("](")?;
            let (_, after) = after.split_once(')')?;
            (!text.contains('[')).then_some((text, after))
        });
        rest = match link {
            Some((text, after)) => {
                plain.push_str(text);
                after
            }
            None => match from.strip_prefix("**") {
                Some(after) => after,
                None => {
                    plain.push_str(&from[..1]);
                    &from[1..]
                }
            },
        };
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_of_a_code_and_is_plain_text() {
        let mut count = 0;
        for (code, text) in sections() {
            let code: Code = serde_json::from_str(&format!("\"{code}\"")).unwrap();
            assert!(code != Code::Unknown || text.contains("newer"));
            assert!(!plain(text).contains("**") && plain(text).contains("Remedy."), "{code}");
            count += 1;
        }
        assert!(count > 40);
    }

    #[test]
    fn marks_and_links_are_removed() {
        assert_eq!(plain("**Cause.** See [here](x.md#y), `a[0]` * 2."), "Cause. See here, `a[0]` * 2.");
    }
}
