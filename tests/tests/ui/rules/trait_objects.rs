use workflow_runtime::{Result, durable, step, workflow};

#[step]
async fn post(n: u32) -> Result<u32> {
    Ok(n)
}

trait Carrier {
    #[durable]
    async fn ship(&self, n: u32) -> Result<u32>;
}

struct Post;

impl Carrier for Post {
    #[durable]
    async fn ship(&self, n: u32) -> Result<u32> {
        post(n).await
    }
}

#[workflow]
async fn ships(n: u32) -> Result<u32> {
    let carrier: Box<dyn Carrier> = Box::new(Post);
    carrier.ship(n).await
}

fn main() {}
