//! An agent: it calls a model and tools in a loop, asks a person before it books, and answers.
//!
//! ```text
//! cargo run --bin agent                             # from the task to the answer; the program itself approves
//! cargo run --bin agent -- ask "a weekend in Ulm"   # the same, but a person approves
//! cargo run --bin agent -- show                     # from another terminal: what the agent has done, and what it asks
//! cargo run --bin agent -- approve yes              # from another terminal: the answer
//! ```
//!
//! The model is a function without a network that always gives the same answers. As with a real model, each call of the
//! model and of a tool is a step. Kill the program at any moment and run it again: no recorded call is made again.
//! `agent.db` has the run; remove the file to start over.

use std::{fs::OpenOptions, io::Write};

use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use workflow_runtime::{Client, Engine, Error, Result, Run, RunEventKind, set_state, step, suspend, workflow, writer};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    Task(String),
    Tool(String),
    Person(bool),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Thought {
    Use { tool: String, input: String },
    Ask(String),
    Answer(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    turn: usize,
    doing: String,
}

fn model(messages: &[Message]) -> Result<(&'static str, Thought)> {
    use Message::{Person, Task, Tool};
    use Thought::{Answer, Ask};
    let call = |tool: &str, input| Thought::Use { tool: tool.into(), input };
    Ok(match messages {
        [Task(task)] => ("I look up the price .", call("search", format!("price of {task}"))),
        [Task(_), Tool(price)] => ("There are two of you .", call("multiply", format!("{price} 2"))),
        [Task(task), _, Tool(total)] => ("I ask first .", Ask(format!("Book {task} for {total}?"))),
        [Task(task), _, Tool(total), Person(true)] => ("Good .", Answer(format!("{task} is booked for {total}."))),
        [Task(task), .., Person(false)] => ("As you like .", Answer(format!("{task} is not booked."))),
        _ => return Err(Error::fatal(format!("the model has no answer to {messages:?}"))),
    })
}

/// Calls the model, and writes its words to a stream.
#[step(retries = 5, backoff = "100ms..10s")]
async fn think(messages: Vec<Message>) -> Result<Thought> {
    let (said, thought) = model(&messages)?;
    let words = writer::<String>("thoughts");
    for word in said.split(' ') {
        words.write(&word.to_owned()).await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(thought)
}

/// Calls a tool. Each call is a line in `agent.log`.
#[step]
async fn call(tool: String, input: String) -> Result<String> {
    let mut log = OpenOptions::new().create(true).append(true).open("agent.log")?;
    writeln!(log, "{tool} {input}")?;
    match tool.as_str() {
        "search" => Ok((input.len() * 10).to_string()),
        "multiply" => Ok(input.split(' ').flat_map(str::parse::<u64>).product::<u64>().to_string()),
        other => Ok(format!("there is no tool {other}")), // the model gets this text and can choose another tool
    }
}

#[workflow(id = "agent")]
async fn agent(task: String) -> Result<String> {
    let mut messages = vec![Message::Task(task)];
    loop {
        let show = |doing: String| set_state(&Progress { turn: messages.len(), doing });
        show("thinking".into())?;
        let next = match think(messages.clone()).await? {
            Thought::Answer(answer) => return Ok(answer),
            Thought::Ask(question) => {
                show("asking".into())?;
                Message::Person(suspend(&question).label("approval").await?)
            }
            Thought::Use { tool, input } => {
                show(format!("using {tool}"))?;
                Message::Tool(call(tool, input).await?)
            }
        };
        messages.push(next);
    }
}

async fn ask(url: &str, task: &str, approves: bool) -> Result<()> {
    let engine = Engine::open(url).await?;
    let run = engine.start(agent, task.to_owned()).id("agent").await?;
    let words = run.stream::<String>("thoughts").try_for_each(async |word| {
        print!("{} ", word.value);
        Ok(std::io::stdout().flush()?)
    });
    let questions = run.events().try_for_each(async |event| {
        if let RunEventKind::HookOpened { .. } = event.kind {
            for question in run.suspended().await? {
                println!("\nthe agent asks: {} (answer with: agent approve yes)", question.payload);
                if approves {
                    run.resume(&true).of(question.id).await?;
                }
            }
        }
        Ok(())
    });
    let (answer, ..) = tokio::try_join!(async { (&run).await }, words, questions)?;
    println!("\n{answer}\n(trace {})", run.outcome().await?.trace_id.unwrap_or_default());
    engine.shutdown().await
}

async fn show(run: &Run<String>) -> Result<()> {
    println!("{}: {:?}", run.status().await?, run.state::<Progress>().await?);
    for step in run.steps().await? {
        println!("  {} {:?}: {}", step.step, step.status, step.output.unwrap_or_default());
    }
    for suspended in run.suspended().await? {
        println!("  it waits for `{}`: {}", suspended.label, suspended.payload);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("WORKFLOW_URL").unwrap_or_else(|_| "sqlite:agent.db".to_owned());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let run = async || Ok::<Run<String>, Error>(Client::connect(&url).await?.get_run("agent"));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ask(&url, "a weekend in Ulm", true).await,
        ["ask", task] => ask(&url, task, false).await,
        ["show"] => show(&run().await?).await,
        ["approve", answer @ ("yes" | "no")] => run().await?.resume(&(answer == "yes")).label("approval").await,
        _ => Err(Error::new("usage: agent [ask TASK | show | approve yes | approve no]")),
    }
}

#[cfg(test)]
#[path = "tests/agent.rs"]
mod tests;
