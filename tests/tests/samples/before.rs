//! Checks what a client reads from a sample before an engine executes its runs.

use futures::TryStreamExt;
use workflow_runtime::{Chunk, Client, Code, Error, Run, Status, Waiting};
use workflow_tests::samples::{ends, tells};

const RUNS: [(&str, Status); 20] = [
    ("asked early", Status::Pending),
    ("asks", Status::Suspended),
    ("asleep for a day", Status::Suspended),
    ("asleep for a minute", Status::Suspended),
    ("approves", Status::Suspended),
    ("backs off", Status::Running),
    ("cancelled", Status::Cancelled),
    ("completed", Status::Completed),
    ("continues", Status::Suspended),
    ("created", Status::Pending),
    ("failed", Status::Failed),
    ("has got a payload", Status::Completed),
    ("mixes", Status::Suspended),
    ("parent", Status::Suspended),
    ("queues", Status::Suspended),
    ("signs", Status::Suspended),
    ("started by a client", Status::Pending),
    ("stuck", Status::Stuck),
    ("tells", Status::Suspended),
    ("unwinds", Status::Running),
];

/// Runs that the first sample does not have.
const LATER: [(&str, Status); 2] = [("bound", Status::Pending), ("patches", Status::Suspended)];

pub async fn assert_unchanged(client: &Client, number: u32) {
    for (id, status) in RUNS.into_iter().chain(LATER.into_iter().filter(|_| number >= 2)) {
        assert_eq!(run(client, id).status().await.unwrap(), status, "{id}");
    }
    assert_lists(client).await;
    assert_state_and_stream(client).await;
    assert_hooks(client).await;
    assert_results(client).await;
}

fn run(client: &Client, id: &str) -> Run<u64> {
    client.get_run(id)
}

async fn assert_lists(client: &Client) {
    let story: Vec<_> = client.runs().attribute("kind", "story").await.unwrap().runs;
    assert_eq!(story.iter().map(|run| &*run.id).collect::<Vec<_>>(), ["tells"]);
    assert_eq!(client.runs().of(tells).attribute("teller", "Ada").count().await.unwrap()[&Status::Suspended], 1);
    let children = run(client, "parent").children().await.unwrap();
    let listed = client.runs().parent("parent").await.unwrap().runs;
    assert_eq!(listed.iter().map(|run| &run.id).collect::<Vec<_>>(), children.iter().collect::<Vec<_>>());
    assert_eq!(children.len(), 1);
    // One of them is a child.
    let ended = client.runs().of(ends).count().await.unwrap();
    assert_eq!((ended[&Status::Completed], ended[&Status::Failed]), (2, 1));
    let generation = run(client, "continues").info().await.unwrap().generation;
    assert_eq!(generation, 1);
    let reason = run(client, "stuck").info().await.unwrap().reason;
    assert!(matches!(&reason, Some(Waiting::Stuck { details, .. }) if details.contains("echo")), "{reason:?}");
    assert!(run(client, "asleep for a day").info().await.unwrap().wakes_at.is_some());
}

/// Checks a state, attributes and the chunks of a stream.
async fn assert_state_and_stream(client: &Client) {
    let run = run(client, "tells");
    assert_eq!(run.state::<String>().await.unwrap().as_deref(), Some("telling"));
    let attributes = run.attributes().await.unwrap();
    let attributes: Vec<_> = attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(attributes, [("kind", "story"), ("teller", "Ada")]);
    assert_eq!(run.streams().await.unwrap(), ["story"]);
    let story = run.stream::<String>("story");
    assert_eq!(story.tail().await.unwrap(), Some(1));
    let chunks: Vec<Chunk<String>> = story.take_now(2).await;
    assert_eq!(chunks.iter().map(|chunk| (chunk.index, &*chunk.value)).collect::<Vec<_>>(), [(0, "one"), (1, "two")]);
    let continued: Run<Vec<u64>> = client.get_run("continues");
    assert_eq!(continued.state::<Vec<u64>>().await.unwrap(), Some(vec![1]));
}

trait Take<T> {
    /// Reads the first chunks, which must exist already.
    async fn take_now(self, many: usize) -> Vec<Chunk<T>>;
}

impl<T: serde::de::DeserializeOwned + Send + Unpin + 'static> Take<T> for workflow_runtime::Reader<T> {
    async fn take_now(self, many: usize) -> Vec<Chunk<T>> {
        futures::StreamExt::take(self, many).try_collect().await.unwrap()
    }
}

/// Checks hooks and suspensions.
async fn assert_hooks(client: &Client) {
    let hook = client.get_hook("asks").await.unwrap();
    assert_eq!((hook.run.as_deref(), hook.is_open, hook.metadata), (Some("asks"), true, Some("asks".into())));
    for (id, label, payload, is_step) in
        [("signs", "sign", "the contract", false), ("approves", "approve", "the plan", true)]
    {
        let [suspended] = <[_; 1]>::try_from(run(client, id).suspended().await.unwrap()).unwrap();
        assert_eq!((&*suspended.label, suspended.payload.as_str()), (label, Some(payload)));
        assert_eq!((&*suspended.run, suspended.step.is_some()), (id, is_step));
    }
    let error = client.resume_hook("cancelled", &1u64).await.unwrap_err();
    assert_eq!(error.code(), Code::HookFinished);
}

/// Checks results, and the steps that led to them.
async fn assert_results(client: &Client) {
    assert_eq!(run(client, "completed").await.unwrap(), 1);
    assert_eq!(run(client, "has got a payload").await.unwrap(), 7);
    let error: Error = run(client, "failed").await.unwrap_err();
    assert_eq!(error.message(), "not today");
    let error = run(client, "cancelled").await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert!(format!("{error:?}").contains("not needed"), "{error:?}");
    for id in ["completed", "failed", "cancelled", "stuck"] {
        let steps = run(client, id).steps().await.unwrap();
        assert_eq!(steps.iter().map(|step| step.output.clone()).collect::<Vec<_>>(), [Some(1.into())], "{id}");
        let events: Vec<_> = run(client, id).events().so_far().try_collect().await.unwrap();
        assert!(events.iter().zip(0..).all(|(event, index)| event.index == index), "{events:?}");
    }
}
