//! Checks the order of the runtime's modules: a module imports only modules of its own floor and of the floors below
//! it.
//!
//! The order is that of the block `floors` in `ARCHITECTURE.md`, from the top floor to the ground. The check reads
//! every path that begins with `crate`, `super` or `self`, in `use` items, in code and in the bodies of macros, and
//! follows re-exports to the module that defines the item.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Item, UseTree, Visibility};

/// A module's path from the root of the crate.
type Module = Vec<String>;

/// A path, made absolute: from the root of the crate.
type Target = Vec<String>;

#[derive(Default)]
struct Source {
    /// The paths in the module, outside its tests.
    paths: BTreeSet<Target>,
    /// The items that the module re-exports: the path of the item by its name in this module.
    exports: HashMap<String, Target>,
    /// The modules that this module re-exports with a glob.
    globs: Vec<Target>,
    /// The names that the module defines.
    defines: BTreeSet<String>,
}

struct Reader<'a> {
    module: &'a Module,
    source: Source,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let is_cfg_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    };
    attributes.iter().any(is_cfg_test)
}

impl Reader<'_> {
    /// Makes a path absolute; `None` if it does not begin with `crate`, `self` or `super`.
    fn absolute(&self, path: &[String]) -> Option<Target> {
        let mut target = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for (at, segment) in path.iter().enumerate().skip(1) {
            if segment == "super" && path[..at].iter().all(|before| before == "super" || before == "self") {
                target.pop()?;
            } else {
                target.push(segment.clone());
            }
        }
        Some(target)
    }

    fn name(&mut self, path: &[String]) {
        self.source.paths.extend(self.absolute(path));
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_public: bool) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &with(&path.ident), is_public),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(item, before, is_public)),
            UseTree::Glob(_) => {
                self.name(before);
                if is_public {
                    self.source.globs.extend(self.absolute(before));
                }
            }
            UseTree::Name(_) | UseTree::Rename(_) => {
                let (ident, name) = match tree {
                    UseTree::Rename(rename) => (&rename.ident, rename.rename.to_string()),
                    UseTree::Name(name) => (&name.ident, name.ident.to_string()),
                    _ => unreachable!("the tree is a name or a rename"),
                };
                let path = if ident == "self" { before.to_vec() } else { with(ident) };
                self.name(&path);
                if is_public && let Some(target) = self.absolute(&path) {
                    self.source.exports.insert(name, target);
                }
            }
        }
    }

    /// Reads the paths in the tokens of a macro's body or arguments.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while let [TokenTree::Punct(a), TokenTree::Punct(b), TokenTree::Ident(next), ..] = &tokens[at + 1..]
                        && a.as_char() == ':'
                        && b.as_char() == ':'
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.name(&path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Mod(item) => (&item.attrs, Some(&item.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => return syn::visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.source.defines.extend(name.map(ToString::to_string));
        if let Item::Use(item) = item {
            return self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() && segments.len() > 1 {
            self.name(&segments);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        syn::visit::visit_macro(self, item);
    }
}

fn read(module: &Module, text: &str) -> Source {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module:?}: {error}"));
    let mut reader = Reader { module, source: Source::default() };
    reader.visit_file(&file);
    reader.source
}

struct Crate(BTreeMap<Module, Source>);

impl Crate {
    fn of(sources: &[(&str, &str)]) -> Self {
        let read = |(name, text): &(&str, &str)| {
            let module: Module = name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            (module.clone(), read(&module, text))
        };
        Crate(sources.iter().map(read).collect())
    }

    fn at(root: &Path) -> Self {
        let mut sources = BTreeMap::new();
        let mut folders = vec![(root.to_owned(), Module::new())];
        while let Some((folder, module)) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let inner = [module.clone(), vec![stem.clone()]].concat();
                if path.is_dir() {
                    folders.push((path, inner));
                } else if path.extension().is_some_and(|extension| extension == "rs") && stem != "tests" {
                    let module = if stem == "lib" { Module::new() } else { inner };
                    sources.insert(module.clone(), read(&module, &fs::read_to_string(path).unwrap()));
                }
            }
        }
        Crate(sources)
    }

    /// The module that defines the item of a path.
    fn origin(&self, target: &[String], depth: usize) -> Option<Module> {
        if depth > 16 {
            return None;
        }
        let known = (0..=target.len()).rev().find(|length| self.0.contains_key(&target[..*length]))?;
        let (module, rest) = target.split_at(known);
        let source = &self.0[module];
        let Some(name) = rest.first() else { return Some(module.to_vec()) };
        if let Some(export) = source.exports.get(name)
            && export != target
        {
            return self.origin(&[export, &rest[1..]].concat(), depth + 1);
        }
        if !source.defines.contains(name) {
            for glob in &source.globs {
                let target = [glob, rest].concat();
                if self.0.get(glob).is_some_and(|source| source.defines.contains(name)) {
                    return self.origin(&target, depth + 1);
                }
            }
        }
        Some(module.to_vec())
    }

    /// The imports of each module. A re-export from a module's own submodule is not an import.
    fn imports(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let imports = self.0.iter().map(|(module, source)| {
            let exported: BTreeSet<&Target> = source.exports.values().chain(&source.globs).collect();
            let paths = source.paths.iter().filter(|path| !(exported.contains(path) && path.starts_with(module)));
            let origins = paths.filter_map(|path| self.origin(path, 0)).filter(|origin| origin != module);
            (module, origins.collect())
        });
        imports.collect()
    }

    /// The imports from higher floors, and the modules without a floor.
    fn upward(&self, floors: &[&str]) -> Vec<String> {
        let floor = |module: &Module| module.first().map(|name| floors.iter().position(|floor| floor == name));
        let mut found = Vec::new();
        for (module, imports) in self.imports() {
            // The root declares the modules and re-exports the public items.
            let Some(own) = floor(module) else { continue };
            let Some(own) = own else {
                found.push(format!("{} has no floor", module.join("::")));
                continue;
            };
            for import in imports {
                if floor(&import).flatten().is_some_and(|other| other < own) {
                    found.push(format!("{} imports {}", module.join("::"), import.join("::")));
                }
            }
        }
        found
    }

    /// The strongly connected sets of modules, the largest first.
    fn circles(&self) -> Vec<Vec<String>> {
        let imports = self.imports();
        let mut reached: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
        for module in imports.keys() {
            let (mut seen, mut next) = (BTreeSet::new(), vec![*module]);
            while let Some(at) = next.pop() {
                let known =
                    imports[at].iter().filter_map(|import| imports.get_key_value(import)).map(|(name, _)| *name);
                next.extend(known.filter(|import| !import.is_empty() && seen.insert(*import)).collect::<Vec<_>>());
            }
            reached.insert(module, seen);
        }
        let circle = |module: &&Module| {
            let others = reached[*module].iter().filter(|other| reached[**other].contains(*module));
            others.map(|other| other.join("::")).collect::<Vec<_>>()
        };
        let circles: BTreeSet<Vec<String>> = imports.keys().map(circle).filter(|circle| circle.len() > 1).collect();
        let mut circles: Vec<_> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn each_module_imports_only_its_own_floor_and_those_below() {
    let architecture = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let (_, block) = architecture.split_once("```floors\n").expect("ARCHITECTURE.md has the block `floors`");
    let (block, _) = block.split_once("```").expect("the block ends");
    let floors: Vec<&str> = block.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let runtime = Crate::at(&repository().join("workflow-runtime/src"));
    let upward = runtime.upward(&floors);
    assert!(upward.is_empty(), "upward imports:\n{}", upward.join("\n"));
    let crossing = runtime.circles().into_iter().filter(|circle| {
        let floors: BTreeSet<&str> = circle.iter().filter_map(|module| module.split("::").next()).collect();
        floors.len() > 1
    });
    assert_eq!(crossing.collect::<Vec<_>>(), Vec::<Vec<String>>::new(), "circles that cross floors");
}

#[test]
fn the_parts_of_an_engine_do_not_import_what_uses_them() {
    let runtime = Crate::at(&repository().join("workflow-runtime/src"));
    let layer = |module: &Module| match module.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["engine", "parts", ..] => 0,
        ["engine", "inner"] => 1,
        ["engine", ..] => 2,
        _ => -1,
    };
    let mut upward = Vec::new();
    for (module, imports) in runtime.imports() {
        let own = layer(module);
        if own >= 0 {
            let higher = imports.iter().filter(|import| layer(import) > own);
            upward.extend(higher.map(|import| format!("{} imports {}", module.join("::"), import.join("::"))));
        }
    }
    assert_eq!(upward, Vec::<String>::new());
}

/// The size of the largest circle. Lower it when a circle is broken.
const CIRCLE_MAX: usize = 5;

#[test]
fn no_circle_inside_a_folder_grows() {
    let circles = Crate::at(&repository().join("workflow-runtime/src")).circles();
    let largest = circles.first().map_or(0, Vec::len);
    assert!(largest <= CIRCLE_MAX, "{circles:#?}");
}

#[test]
fn an_upward_import_is_found_in_each_form() {
    let forms = [
        "use crate::upper::Thing;",
        "use crate::{upper::{self, Thing}};",
        "fn f() { crate::upper::thing(); }",
        "fn f(thing: super::super::upper::Thing) {}",
        "macro_rules! m { () => { $crate::upper::thing() } }",
        "fn f() { println!(\"{}\", crate::upper::thing()); }",
        "use crate::Exported;",
        "use super::Exported;",
        "pub(crate) use crate::upper::Thing;",
    ];
    for form in forms {
        let sources = [
            ("", "mod lower; mod upper; pub use self::upper::Thing as Exported;"),
            ("lower", "pub(crate) mod inner; pub(crate) use crate::Exported;"),
            ("lower::inner", form),
            ("upper", "pub(crate) struct Thing; pub(crate) fn thing() {}"),
        ];
        let upward = Crate::of(&sources).upward(&["upper", "lower"]);
        assert!(upward.contains(&"lower::inner imports upper".to_owned()), "{form}: {upward:?}");
        assert_eq!(Crate::of(&sources).upward(&["lower", "upper"]), Vec::<String>::new(), "{form}");
    }
}
