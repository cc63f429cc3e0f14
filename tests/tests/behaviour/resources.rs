//! The engine checks the resources of steps when it opens.

use workflow_runtime::{Code, Engine};

case! {
    async fn a_missing_resource_is_an_error_of_the_open_that_names_it_and_its_steps() {
        let error = Engine::open("memory:").await.unwrap_err();
        assert_eq!(error.code(), Code::MissingResource);
        let text = format!("{error:?}");
        assert!(
            text.contains("::Lab for ") && text.contains("::steps::flaky") && text.contains(".resource(value)"),
            "{text}"
        );
    }
}
