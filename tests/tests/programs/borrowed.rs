//! What is only shown to others need not be owned, nor be of a type that can be read back.

use serde::Serialize;
use workflow_runtime::{Result, Run, finish, hook, set_state, start, suspend, workflow, writer};

use super::{Program, program};

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    parts: &'a [u32],
}

#[workflow]
pub async fn state_of_any_value(name: String) -> Result<String> {
    set_state("a text")?;
    set_state(&"a borrowed text")?;
    set_state(&name)?;
    set_state(name.as_str())?;
    set_state(&[1, 2][..])?;
    set_state(&Shown { name: &name, parts: &[1, 2] })?;
    Ok(name)
}

#[workflow]
pub async fn chunks_of_any_value(name: String) -> Result<()> {
    let words = writer::<str>("words");
    words.write("one").await?;
    words.write(&name).await?;
    words.clone().close().await?;
    writer("more words").write(&"two").await?;
    writer("shown").write(&Shown { name: &name, parts: &[] }).await
}

#[workflow]
pub async fn metadata_of_any_value(name: String) -> Result<bool> {
    let one = hook::<u32>().metadata("a text").open();
    let two = hook::<u32>().metadata(&"a borrowed text").open();
    let three = hook::<u32>().metadata(&Shown { name: &name, parts: &[3] }).open();
    Ok(one.token() != two.token() && two.token() != three.token())
}

#[workflow]
pub async fn finished_with_a_borrowed_value(name: String) -> Result<String> {
    finish("early").await?;
    Ok(name)
}

/// Compiles, that is all: nobody resumes it here.
#[allow(dead_code)]
#[workflow]
pub async fn suspended_with_any_value(name: String) -> Result<()> {
    let _: u32 = suspend("a text").label("one").await?;
    let _: u32 = suspend(&"a borrowed text").label("two").await?;
    suspend(&Shown { name: &name, parts: &[] }).label("three").await
}

/// Compiles: everything that others are given or send.
#[allow(dead_code)]
async fn from_outside(name: &str) -> Result<()> {
    let run = start(state_of_any_value, name.to_owned()).initial_state("a text").await?;
    start(state_of_any_value, name.to_owned()).initial_state(&"a borrowed text").await?;
    start(state_of_any_value, name.to_owned()).initial_state(&Shown { name, parts: &[] }).await?;
    run.resume("a text").await?;
    run.resume(&"a borrowed text").await?;
    workflow_runtime::resume_hook("token", "a text").await?;
    workflow_runtime::resume_hook("token", &Shown { name, parts: &[] }).await?;
    workflow_runtime::RequestContext::new().set("name", name)
}

/// Compiles: what a server awaits in a task of its own can be sent between threads.
#[allow(dead_code)]
fn futures_that_can_be_sent(run: Run<u32>) {
    fn is_send<T: Send>(_: &T) {}
    is_send(&run.stream::<std::rc::Rc<u32>>("one").tail());
    is_send(&async { run.stream::<u32>("one").tail().await });
    is_send(&run.exists());
    is_send(&run.status());
    is_send(&run.wake_up());
    is_send(&run.cancel("enough"));
    is_send(&run.steps());
    is_send(&run.retry());
    is_send(&run.suspended());
    is_send(&run.delete());
    is_send(&run.state::<u32>());
    is_send(&run.attributes());
    is_send(&run.children());
    is_send(&run.streams());
    is_send(&run.info());
    is_send(&run.events());
    is_send(&run.stream::<u32>("one"));
    is_send(&workflow_runtime::runs().count());
    is_send(&workflow_runtime::runs().into_future());
    is_send(&workflow_runtime::get_hook("token"));
    is_send(&start(state_of_any_value, String::new()).into_future());
    is_send(&run.into_future());
}

pub const PROGRAMS: &[Program] = &[
    program!(state_of_any_value, "Ada".to_owned(), "Ada"),
    program!(chunks_of_any_value, "Ada".to_owned(), null),
    program!(metadata_of_any_value, "Ada".to_owned(), true),
    program!(finished_with_a_borrowed_value, "Ada".to_owned(), "early"),
];
