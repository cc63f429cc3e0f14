//! Every option of every attribute, defined once: the parser, the suggestions
//! for misspelled names and the documentation of the attributes read this table.

use syn::parse::ParseStream;

use super::{Kind, Options, values};

/// An option of an attribute.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// The option as users write it.
    pub(crate) example: &'static str,
    /// Whether it may occur more than once.
    pub(crate) repeats: bool,
    /// Reads the value.
    pub(crate) read: fn(&mut Options, &Spec, ParseStream<'_>) -> syn::Result<()>,
}

impl Spec {
    /// Whether it has a value: `name = value`.
    pub(crate) fn takes_value(&self) -> bool {
        self.example.contains('=')
    }
}

/// Makes the list of each attribute's options, and a macro with their documentation.
macro_rules! options {
    ($($kind:ident as $docs:ident {
        $($name:literal, $example:literal, $repeats:literal, $read:expr, $text:literal;)*
    })*) => {
        impl Kind {
            /// The options of the attribute, in the order of its documentation.
            pub(crate) fn options(self) -> &'static [Spec] {
                match self {$(
                    Kind::$kind => &[$(Spec { name: $name, example: $example, repeats: $repeats, read: $read }),*],
                )*}
            }
        }

        $(macro_rules! $docs {
            () => { concat!("# Options\n\n" $(, "- `", $example, "`: ", $text, "\n")*) };
        })*
    };
}

options! {
    Workflow as workflow_options {
        "id", "id = \"checkout\"", false, read_id,
            "the id under which runs are stored. The default is the path of the module and the name of the function. Two \
             functions with the same name, in two `impl`s or inside two functions of one module, have the same default: \
             an engine that executes then does not open, and in test code the first start of such a workflow fails. A \
             module that two programs include (`mod shared;` in both) has another default in each, because a path begins \
             with the crate: neither program continues the runs of the other. In both cases set this option.";
        "was", "was = \"shop::pay::checkout\"", true, read_was,
            "a former id, so that runs which were started before the function was moved or renamed continue. Can be given more \
             than once.";
        "pinned", "pinned", false, |options, _, _| {
            options.pinned = true;
            Ok(())
        },
            "only the deployment that starts a run executes it, unless the start names another deployment. Use it for \
             workflows whose code changes in ways that unfinished runs do not survive. Takes no value.";
        "validate", "validate = check_order", false, |options, spec, input| {
            options.validate = Some(values::given(input, spec)?);
            Ok(())
        }, "a function that checks the arguments before a run is started, also by the command line and by other workflows. It \
            gets a reference to each argument; if it returns `Err`, the start fails with `Code::InvalidArguments`: \
            `fn check_order(order: &Order) -> Result<()>`.";
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, if another crate re-exports it.";
    }
    Step as step_options {
        "id", "id = \"charge\"", false, read_id,
            "the id under which calls are recorded. The default is the path of the module and the name of the function, with \
             the same consequences as for `#[workflow]`.";
        "was", "was = \"shop::pay::charge\"", true, read_was,
            "a former id, so that calls which were recorded before the function was moved or renamed count as calls of this \
             step. Can be given more than once.";
        "retries", "retries = 5", false, |options, spec, input| {
            options.retries = Some(values::retries(values::given(input, spec)?)?);
            Ok(())
        }, "the maximum number of attempts after the first. The default is 3.";
        "backoff", "backoff = \"100ms..30s\"", false, |options, spec, input| {
            options.backoff = Some(values::range(&values::given(input, spec)?)?);
            Ok(())
        }, "the delay before a retry: a random duration up to a bound, which is the first value before the first retry and \
            doubles before each further one, up to the second value. The default is the example.";
        "timeout", "timeout = \"10s\"", false, |options, spec, input| {
            options.timeout = Some(values::timeout(&values::given(input, spec)?)?);
            Ok(())
        }, "the maximum duration of an attempt. The default is no limit.";
        "heartbeat", "heartbeat = \"30s\"", false, |options, spec, input| {
            options.heartbeat = Some(values::timeout(&values::given(input, spec)?)?);
            Ok(())
        }, "the maximum time between two calls of `heartbeat()` in an attempt. The default is no limit.";
        "queue", "queue = \"gpu\"", false, |options, spec, input| {
            options.queue = Some(values::queue(values::given(input, spec)?)?);
            Ok(())
        }, "the queue whose workers execute the step: engines, in any process, that were opened with \
            `.queue(\"gpu\", concurrency)`.";
        "transaction", "transaction", false, |options, _, input| {
            options.transaction = Some(input.span());
            Ok(())
        },
            "an attempt runs in a transaction of the PostgreSQL store, which is committed together with the step's result: its \
             SQL takes effect exactly once. The first argument is `tx: &mut Transaction`. Takes no value.";
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, if another crate re-exports it.";
    }
    Durable as durable_options {
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, if another crate re-exports it.";
    }
}

fn read_was(options: &mut Options, spec: &Spec, input: ParseStream<'_>) -> syn::Result<()> {
    let id = values::id(values::given(input, spec)?)?;
    let is = |other: &syn::LitStr| other.value() == id.value();
    if options.was.iter().any(is) {
        return Err(syn::Error::new(id.span(), "this former id is given twice"));
    }
    options.was.push(id);
    Ok(())
}

fn read_id(options: &mut Options, spec: &Spec, input: ParseStream<'_>) -> syn::Result<()> {
    options.id = Some(values::id(values::given(input, spec)?)?);
    Ok(())
}

fn read_crate(options: &mut Options, spec: &Spec, input: ParseStream<'_>) -> syn::Result<()> {
    let path = input.call(syn::Path::parse_mod_style);
    let named = |error: syn::Error| syn::Error::new(error.span(), format!("`crate` takes a path: `{}`", spec.example));
    options.root = Some(path.map_err(named)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options that a text lists, as it writes them.
    fn listed(docs: &str) -> Vec<&str> {
        let items = docs.lines().filter_map(|line| line.trim_start_matches("///").trim().strip_prefix("- `"));
        items.filter_map(|item| item.split_once("`:").map(|(example, _)| example)).collect()
    }

    #[test]
    fn the_documentation_of_each_attribute_lists_its_options() {
        let attributes = include_str!("../lib.rs");
        for (kind, docs, generated, function) in [
            (Kind::Workflow, workflow_options!(), "workflow_options!()", "pub fn workflow("),
            (Kind::Step, step_options!(), "step_options!()", "pub fn step("),
            (Kind::Durable, durable_options!(), "durable_options!()", "pub fn durable("),
        ] {
            let table: Vec<&str> = kind.options().iter().map(|spec| spec.example).collect();
            assert_eq!(listed(docs), table);
            let until = attributes.find(function).expect("the attribute is a function");
            let begin = attributes[..until].rfind("\n}\n").unwrap_or_default();
            let written = &attributes[begin..until];
            assert!(
                written.contains(&format!("#[doc = {generated}]")),
                "{function} has the table in its documentation"
            );
            assert_eq!(listed(written), [""; 0], "{function} lists options beside the table");
        }
    }

    #[test]
    fn examples_of_options_are_accepted_unchanged() {
        for kind in [Kind::Workflow, Kind::Step, Kind::Durable] {
            for spec in kind.options() {
                let mut errors = crate::errors::Errors::default();
                Options::parse(kind, spec.example.parse().expect("it has tokens"), &mut errors);
                assert_eq!(errors.tokens().to_string(), "", "{}", spec.example);
            }
        }
    }
}
