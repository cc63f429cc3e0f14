//! Checks that the README and the guide in `docs` agree with the code and with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a directory of the repository").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of the guide except `SUMMARY.md`, by their paths in `docs/src`.
fn files() -> BTreeSet<String> {
    fn collect(directory: &Path, prefix: &str, files: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).expect("the guide exists") {
            let entry = entry.expect("the guide can be listed");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), files);
            } else if name != "SUMMARY.md" {
                files.insert(name);
            }
        }
    }
    let mut files = BTreeSet::new();
    collect(&root().join("docs/src"), "", &mut files);
    files
}

/// The chapters: every file in Markdown.
fn chapters() -> BTreeSet<String> {
    files().into_iter().filter(|name| name.ends_with(".md")).collect()
}

/// The README, `SUMMARY.md` and the chapters in Markdown.
fn pages() -> Vec<String> {
    let chapters = chapters().into_iter().map(|name| format!("docs/src/{name}"));
    ["README.md".to_owned(), "docs/src/SUMMARY.md".to_owned()].into_iter().chain(chapters).collect()
}

/// The lines of a page outside code blocks, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((index + 1, line))
    })
}

/// The targets of the links and images of a line. Text between backticks has no links.
fn links(line: &str) -> Vec<String> {
    let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The lines of `rust,ignore` fences whose preceding paragraph does not explain them with the word `because`.
fn unexplained(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_ignored = |line: &str| {
        let info = line.trim_start().strip_prefix("```").unwrap_or_default();
        let mut words = info.split([',', ' ']);
        words.next() == Some("rust") && words.any(|word| word.trim().starts_with("ignore"))
    };
    let explained = |at: usize| {
        let paragraph = lines[..at].iter().rev().skip_while(|line| line.trim().is_empty());
        let mut paragraph = paragraph.take_while(|line| !line.trim().is_empty() && !line.starts_with("```"));
        paragraph.any(|line| line.contains("because"))
    };
    (0..lines.len()).filter(|&at| is_ignored(lines[at]) && !explained(at)).map(|at| at + 1).collect()
}

#[test]
fn each_error_code_has_a_section_and_each_section_a_code() {
    let source = read("workflow-runtime/src/error/code.rs");
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Code::")?.split_once(" => \""));
    let codes: Vec<&str> = arms.filter_map(|(_, text)| text.strip_suffix("\",")).collect();
    assert!(codes.len() > 40 && codes.contains(&"user"), "the codes could not be read: {codes:?}");

    let text = read("docs/src/errors.md");
    let sections: Vec<&str> = prose(&text).filter_map(|(_, line)| line.strip_prefix("## ")).collect();
    assert_eq!(sections, codes, "docs/src/errors.md has a section for each code, in the order of `Code::as_str`");

    for section in text.split("\n## ").skip(1) {
        for part in ["**Cause.**", "**Example.**", "**Remedy.**"] {
            let name = section.lines().next().unwrap_or_default();
            assert_eq!(section.matches(part).count(), 1, "docs/src/errors.md: {part} of `{name}`");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "the README has {lines} lines; the limit is 200: move details to the guide");
}

#[test]
fn the_summary_lists_every_file_of_the_guide_and_nothing_else() {
    let listed: Vec<String> = read("docs/src/SUMMARY.md").lines().flat_map(links).collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "SUMMARY.md lists a chapter twice");
    assert_eq!(unique, chapters());
}

#[test]
fn each_picture_is_shown_by_a_chapter() {
    let text: String = chapters().iter().map(|name| read(&format!("docs/src/{name}"))).collect();
    for picture in files().difference(&chapters()) {
        assert!(text.contains(&format!("]({picture})")), "no chapter shows docs/src/{picture}");
    }
}

#[test]
fn each_relative_link_has_a_target() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for (number, link) in
            prose(&text).flat_map(|(number, line)| links(line).into_iter().map(move |link| (number, link)))
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&page),
                file => root().join(&page).with_file_name("").join(file),
            };
            if !target.is_file() {
                broken.push(format!("{page}:{number}: {link}: no such file"));
            } else if !fragment.is_empty() {
                let there = fs::read_to_string(&target).expect("the target is text");
                let headings = prose(&there).filter(|(_, line)| line.starts_with('#'));
                if !headings.map(|(_, line)| anchor(line.trim_start_matches('#'))).any(|anchor| anchor == fragment) {
                    broken.push(format!("{page}:{number}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 50, "only {count} links were found");
}

#[test]
fn ignored_rust_code_is_explained() {
    for page in pages() {
        assert_eq!(unexplained(&read(&page)), [0; 0], "{page}: say in the paragraph before why the block is ignored");
    }
    let text =
        "a\n\n```rust,ignore\nx\n```\n\nNot compiled, because y.\n\n```rust,ignore\nx\n```\n\n```rust,no_run\nx\n```\n";
    assert_eq!(unexplained(text), [3]);
}

#[test]
fn each_chapter_with_rust_code_is_compiled() {
    let included = read("examples/src/lib.rs");
    for name in chapters() {
        let include = format!("#[doc = include_str!(\"../../docs/src/{name}\")]");
        assert!(
            included.contains(&include),
            "examples/src/lib.rs does not include {name}, so its examples are not compiled"
        );
    }
}
