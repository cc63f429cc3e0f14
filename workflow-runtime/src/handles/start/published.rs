//! Starting a workflow that this build does not have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Start;
use crate::definition::{Described, Source, WorkflowDefinition};
use crate::engine::Client;
use crate::handles::catalog::AnyWorkflow;
use crate::model::CatalogueWorkflow;

impl Start<AnyWorkflow> {
    /// Starts a workflow that this build does not have, by what another build has published of it. The arguments are checked
    /// by their number, and by their schemas if that build has the feature `schema`.
    pub(crate) fn published(engine: Client, workflow: CatalogueWorkflow, args: serde_json::Value) -> Self {
        let definition = published(workflow.clone());
        let args = (definition.accept)(definition, args).and_then(|args| workflow.check(&args).map(|()| args));
        Start::of(Some(engine), Ok(definition), args)
    }
}

/// The definition of a workflow of another build. Definitions live as long as the process, so that each is made once for what
/// was published, however many runs are started.
fn published(workflow: CatalogueWorkflow) -> &'static WorkflowDefinition {
    type Known = HashMap<(String, String, u32, Vec<String>, Vec<String>), &'static WorkflowDefinition>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let CatalogueWorkflow { id, was, fingerprint, line, arguments, .. } = workflow;
    let arguments: Vec<String> = arguments.into_iter().map(|(name, _)| name).collect();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry((id, fingerprint, line, was, arguments)).or_insert_with_key(
        |(id, fingerprint, line, was, arguments)| {
            let text = |text: &String| -> &'static str { text.clone().leak() };
            let texts =
                |texts: &[String]| -> &'static [&'static str] { texts.iter().map(text).collect::<Vec<_>>().leak() };
            let source = Source { id: text(id), file: "", line: *line, fingerprint: text(fingerprint), test: false };
            let described = Described { arguments: texts(arguments), ..Described::NOTHING };
            let mut definition = WorkflowDefinition::of::<AnyWorkflow>(source, described).was(texts(was));
            definition.is_published = true;
            Box::leak(Box::new(definition))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_of_another_build_is_defined_once_for_what_was_published() {
        let workflow = |fingerprint: &str| CatalogueWorkflow {
            id: "far".to_owned(),
            was: Vec::new(),
            pinned: false,
            fingerprint: fingerprint.to_owned(),
            file: "far.rs".to_owned(),
            line: 1,
            arguments: vec![("order".to_owned(), None)],
            result_schema: None,
        };
        assert!(std::ptr::eq(published(workflow("1")), published(workflow("1"))));
        assert!(!std::ptr::eq(published(workflow("1")), published(workflow("2"))));
    }
}
