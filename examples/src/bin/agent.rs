//! An agent: it thinks, uses tools, asks a person, and answers. Kill it at any moment and start it again: no thought is thought
//! twice that was recorded, and no tool is used twice.
//!
//! ```text
//! cargo run --bin agent -- ask "a weekend in Ulm"   # begins, or goes on; ends with the answer
//! cargo run --bin agent -- show                     # from another terminal: what it is doing, and what it waits for
//! cargo run --bin agent -- approve yes              # from another terminal: answers what it asks
//! ```
//!
//! The model is a stand-in that needs no network and always says the same. Everything else is as with a real one: a loop over
//! steps, in which each call of the model and of a tool is recorded.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::{
    Client, Engine, Error, Result, Run, TracingOptions, set_state, step, suspend, workflow, writer,
};

const RUN: &str = "agent";
/// Where the tools write that they were used.
const LOG: &str = "agent.log";

/// What was said so far, by whomever.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    Task(String),
    Tool { name: String, result: String },
    Person(bool),
}

/// What the model wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Thought {
    Use { tool: String, input: String },
    Ask(String),
    Answer(String),
}

/// What is shown while it runs.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    turn: usize,
    doing: String,
}

/// The model: it streams what it thinks, word by word.
#[step(retries = 5, backoff = "100ms..10s")]
async fn think(messages: Vec<Message>) -> Result<Thought> {
    let task = messages.iter().find_map(|message| match message {
        Message::Task(task) => Some(task.as_str()),
        _ => None,
    });
    let task = task.ok_or_else(|| Error::fatal("there is nothing to think about"))?;
    let results = messages.iter().filter_map(|message| match message {
        Message::Tool { result, .. } => Some(result.as_str()),
        _ => None,
    });
    let results: Vec<&str> = results.collect();
    let person = messages.iter().find_map(|message| match message {
        Message::Person(said) => Some(*said),
        _ => None,
    });
    let (said, thought) = match (&results[..], person) {
        ([], _) => {
            ("I look the prices up .", Thought::Use { tool: "search".into(), input: format!("price of {task}") })
        }
        ([price], _) => {
            ("There are two of you .", Thought::Use { tool: "multiply".into(), input: format!("{price} 2") })
        }
        ([_, total, ..], None) => ("I had better ask .", Thought::Ask(format!("Book {task} for {total}?"))),
        ([_, total, ..], Some(true)) => ("Good .", Thought::Answer(format!("{task} is booked for {total}."))),
        (_, Some(false)) => ("As you like .", Thought::Answer(format!("{task} is not booked."))),
    };
    let words = writer::<String>("thoughts");
    for word in said.split(' ') {
        words.write(&word.to_owned()).await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(thought)
}

/// A line for each use, written at once: it survives the kill of this process.
fn used(tool: &str, input: &str) -> Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(LOG)?;
    Ok(log.write_all(format!("{tool} {input}\n").as_bytes())?)
}

#[step]
async fn search(query: String) -> Result<String> {
    used("search", &query)?;
    Ok((query.len() * 10).to_string())
}

#[step]
async fn multiply(input: String) -> Result<String> {
    used("multiply", &input)?;
    let numbers = input.split(' ').map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?;
    Ok(numbers.iter().product::<u64>().to_string())
}

#[workflow(id = "agent")]
async fn agent(task: String) -> Result<String> {
    let mut messages = vec![Message::Task(task)];
    loop {
        let turn = messages.len();
        let doing = |doing: &str| set_state(&Progress { turn, doing: doing.to_owned() });
        doing("thinking")?;
        let next = match think(messages.clone()).await? {
            Thought::Answer(answer) => {
                doing("done")?;
                return Ok(answer);
            }
            Thought::Ask(question) => {
                doing("asking")?;
                Message::Person(suspend(&question).label("approval").await?)
            }
            Thought::Use { tool, input } => {
                doing(&format!("using {tool}"))?;
                let result = match tool.as_str() {
                    "search" => search(input).await?,
                    "multiply" => multiply(input).await?,
                    other => format!("there is no tool {other}"),
                };
                Message::Tool { name: tool, result }
            }
        };
        messages.push(next);
    }
}

async fn ask(url: &str, task: String) -> Result<()> {
    let engine = Engine::open(url).await?;
    let tracing = TracingOptions::new().metadata("program", &"agent").root_span_name("an agent's work");
    let run = engine.start(agent, task).id(RUN).tracing(tracing).await?;
    println!("run {} goes on; `agent show` tells how far it is", run.id());
    let words = async {
        let mut words = run.stream::<String>("thoughts");
        while let Some(word) = words.try_next().await? {
            print!("{} ", word.value);
            std::io::stdout().flush()?;
        }
        Ok::<_, Error>(())
    };
    let questions = async {
        let mut events = run.events();
        while let Some(event) = events.try_next().await? {
            if let workflow_runtime::RunEventKind::HookOpened { metadata: Some(question), .. } = event.kind
                && !run.suspended().await?.is_empty()
            {
                println!("\nit asks: {question} (answer with: agent approve yes)");
            }
        }
        Ok(())
    };
    let (answer, ..) = tokio::try_join!(async { (&run).await }, words, questions)?;
    let trace = run.outcome().await?.trace_id.unwrap_or_default();
    println!("\n{answer}\n(trace {trace})");
    engine.shutdown().await
}

async fn show(url: &str) -> Result<()> {
    let client = Client::connect(url).await?;
    let run: Run<String> = client.get_run(RUN);
    println!("{}: {:?}", run.status().await?, run.state::<Progress>().await?);
    for step in run.steps().await? {
        println!("  {} {:?}: {}", step.step, step.status, step.output.unwrap_or_default());
    }
    for suspended in run.suspended().await? {
        println!("  it waits for `{}`: {}", suspended.label, suspended.payload);
    }
    Ok(())
}

async fn approve(url: &str, yes: bool) -> Result<()> {
    let client = Client::connect(url).await?;
    let run: Run<String> = client.get_run(RUN);
    run.resume(&yes).label("approval").await?;
    println!("told");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let url = std::env::var("WORKFLOW_URL").unwrap_or_else(|_| "sqlite:agent.db".to_owned());
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["ask", task] => ask(&url, task.to_owned()).await,
        ["show"] => show(&url).await,
        ["approve", answer @ ("yes" | "no")] => approve(&url, answer == "yes").await,
        _ => Err(Error::new("agent ask TASK | show | approve yes | approve no")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
