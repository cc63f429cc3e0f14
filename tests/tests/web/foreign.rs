//! A page that is served by a program without the workflows: it has what the deployments have published.

use workflow_runtime::{Client, web};

use crate::support::{get, post, serve, soon};
use crate::tour::Dev;

case! {
    #[threads]
    async fn forms_and_places_in_the_code_are_those_that_another_program_has_published() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("w.db").display());
        let dev = Dev::start(&url);
        dev.command(&["start", "world", "null", "--id", "world", "--wait"]);
        let client = Client::connect(&url).await.expect("a client");
        let to = serve(web::router(&client).access(|_| true).into()).await;
        let text = async |path: &str, wanted: &str| {
            soon(async {
                while !get(to, path).await.body.contains(wanted) {
                    workflow_harness::pause().await;
                }
            })
            .await;
        };
        for path in ["/send?token=order-2", "/resume?run=order-1003"] {
            text(path, "name=\"v.approved\"").await;
            text(path, "Whether it may go on").await;
        }
        text("/run?id=order-1003", "web_world.rs:").await;
        text("/run?id=order-1003&row=0", "web_world.rs:").await;
        let wrong = post(to, "/send", "token=order-2&v.approved=&v.by=Eve").await;
        assert!(wrong.status == 422 && wrong.body.contains("it must not be empty"), "{}", wrong.body);
        assert_eq!(post(to, "/send", "token=order-2&v.approved=true&v.by=Ada").await.status, 303);
        text("/run?id=order-1002", "Completed").await;
    }
}
