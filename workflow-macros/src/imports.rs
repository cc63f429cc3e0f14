//! The origin of a macro's name of one segment, as far as the imports show it.
//!
//! A name cannot be resolved here. `tokio::select!` and `futures::select!` need different rewritings, so the `use` items of
//! the file of the call are read. This decides only which error is reported: a file that cannot be read, or whose
//! imports do not decide it, is treated as if nothing were imported.

use std::path::Path;

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{ItemUse, UseTree};

/// Whether `name`, used at `span`, is imported from `futures` in its file, and from nowhere else.
pub(crate) fn is_of_futures(name: &str, span: Span) -> bool {
    // Outside a compiler, as in the tests of this crate, spans have no file.
    let file = if proc_macro::is_available() { span.unwrap().local_file() } else { None };
    file.is_some_and(|file| roots_in(&file, name).is_some_and(|roots| are_of_futures(&roots)))
}

fn are_of_futures(roots: &[String]) -> bool {
    !roots.is_empty() && roots.iter().all(|root| root == "futures" || root == "futures_util")
}

fn roots_in(file: &Path, name: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(file).ok()?;
    // Parsing is slow, and most files do not mention it.
    text.contains("futures").then(|| roots(&text, name)).flatten()
}

/// The first segments of all imports of the name.
fn roots(text: &str, name: &str) -> Option<Vec<String>> {
    let mut collector = Collector { name, roots: Vec::new() };
    collector.visit_file(&syn::parse_file(text).ok()?);
    Some(collector.roots)
}

struct Collector<'a> {
    name: &'a str,
    roots: Vec<String>,
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&item.tree, &[]);
        visit::visit_item_use(self, item);
    }
}

impl Collector<'_> {
    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(path) => {
                let mut before = before.to_vec();
                before.push(path.ident.to_string());
                self.tree(&path.tree, &before);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
            UseTree::Name(name) if name.ident == self.name => self.roots.extend(before.first().cloned()),
            UseTree::Rename(rename) if rename.rename == self.name => self.roots.extend(before.first().cloned()),
            // Only of the crate root: the macro is there, and not in its modules.
            UseTree::Glob(_) if matches!(before, [root] if root.starts_with("futures")) => {
                self.roots.extend(before.first().cloned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{are_of_futures, roots};

    fn is_of_futures(text: &str) -> bool {
        are_of_futures(&roots(text, "select").unwrap())
    }

    #[test]
    fn an_import_of_futures_is_found_in_every_form() {
        assert!(is_of_futures("use futures::select;"));
        assert!(is_of_futures("use futures::{FutureExt, select};"));
        assert!(is_of_futures("mod inner { fn f() { use futures_util::select; } }"));
        assert!(is_of_futures("use futures::select_biased as select;"));
        assert!(is_of_futures("use futures::*;"));
    }

    #[test]
    fn undecided_imports_are_ignored() {
        assert!(!is_of_futures("use futures::{FutureExt, join};"));
        assert!(!is_of_futures("use tokio::select;"));
        assert!(!is_of_futures("mod a { use tokio::select; } mod b { use futures::select; }"));
        assert!(!is_of_futures("use futures::select as pick;"));
        assert!(!is_of_futures("use futures::stream::*;"));
        assert!(!is_of_futures("use futures::future::{self, *};"));
    }
}
