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
            "the id under which runs are stored. Otherwise it is the path of the module and the name of the function. Two \
             functions of one name in two `impl`s or two functions of one module have one id then, and an engine that \
             executes does not open; in test code only the first use of such an id fails. A module that two programs \
             include (`mod shared;` in both) has two ids, since a path begins with the crate, and neither program continues \
             the other's runs. An id of its own solves both.";
        "was", "was = \"shop::pay::checkout\"", true, read_was,
            "a former id. Runs that were started before the function was moved or renamed go on. It may be given several times.";
        "pinned", "pinned", false, |options, _, _| {
            options.pinned = true;
            Ok(())
        },
            "a run is executed by the deployment that starts it, and by no other one, unless its start names another deployment. \
             It is for workflows whose code changes in ways that their unfinished runs do not survive. It takes no value.";
        "validate", "validate = check_order", false, |options, spec, input| {
            options.validate = Some(values::given(input, spec)?);
            Ok(())
        }, "a function that is given a reference to each argument before a run is started, by whatever way, and whose `Err` \
            refuses the start with `Code::InvalidArguments`: `fn check_order(order: &Order) -> Result<()>`.";
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, where it is re-exported.";
    }
    Step as step_options {
        "id", "id = \"charge\"", false, read_id,
            "the id under which calls are recorded. Otherwise it is the path of the module and the name of the function, with \
             the consequences that the option of `#[workflow]` has.";
        "was", "was = \"shop::pay::charge\"", true, read_was,
            "a former id. Calls that were recorded before the function was moved or renamed are calls of this one. It may be given \
             several times.";
        "retries", "retries = 5", false, |options, spec, input| {
            options.retries = Some(values::retries(values::given(input, spec)?)?);
            Ok(())
        }, "how many attempts may follow the first one; 3 if it is not given.";
        "backoff", "backoff = \"100ms..30s\"", false, |options, spec, input| {
            options.backoff = Some(values::range(&values::given(input, spec)?)?);
            Ok(())
        }, "the bounds of the delay before a retry: it is random, at most the first of these before the first retry, and \
            that doubles up to the second. This is also what counts if it is not given.";
        "timeout", "timeout = \"10s\"", false, |options, spec, input| {
            options.timeout = Some(values::timeout(&values::given(input, spec)?)?);
            Ok(())
        }, "how long an attempt may take; without a bound if it is not given.";
        "heartbeat", "heartbeat = \"30s\"", false, |options, spec, input| {
            options.heartbeat = Some(values::timeout(&values::given(input, spec)?)?);
            Ok(())
        }, "how long an attempt may go on without a call of `heartbeat()`; without a bound if it is not given.";
        "queue", "queue = \"gpu\"", false, |options, spec, input| {
            options.queue = Some(values::queue(values::given(input, spec)?)?);
            Ok(())
        }, "the queue whose workers execute it, in whatever process: engines that were opened with \
            `.queue(\"gpu\", concurrency)`.";
        "transaction", "transaction", false, |options, _, input| {
            options.transaction = Some(input.span());
            Ok(())
        },
            "an attempt runs in a transaction of the store, PostgreSQL, which is committed with its result: what it writes is \
             there exactly once. Its first argument is `tx: &mut Transaction`. It takes no value.";
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, where it is re-exported.";
    }
    Durable as durable_options {
        "crate", "crate = my_prelude::workflow_runtime", false, read_crate,
            "the path of the runtime, where it is re-exported.";
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
