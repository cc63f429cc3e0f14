use std::rc::Rc;
use std::sync::mpsc::Receiver;
use workflow_runtime::{Result, step, workflow};

struct Plain;

#[workflow]
async fn one(order: u64, plain: Plain) -> Result<()> {
    let _ = (order, plain);
    Ok(())
}

#[workflow]
async fn only(plain: Plain) -> Result<()> {
    let _ = plain;
    Ok(())
}

#[step]
async fn local(shared: Rc<u32>, count: u32, plain: Vec<Plain>) -> Result<()> {
    let _ = (shared, count, plain);
    Ok(())
}

#[step]
async fn several(count: u32, plain: Plain, plains: Vec<Plain>) -> Result<()> {
    let _ = (count, plain, plains);
    Ok(())
}

#[workflow]
async fn only_local(shared: std::rc::Rc<Vec<u32>>) -> Result<()> {
    let _ = shared;
    Ok(())
}

#[step]
async fn inside(pairs: Vec<(u32, Option<Rc<String>>)>) -> Result<Rc<u32>> {
    Ok(Rc::new(pairs.len() as u32))
}

#[step]
async fn channel(receiver: Receiver<u32>) -> Result<()> {
    drop(receiver);
    Ok(())
}

fn main() {}
