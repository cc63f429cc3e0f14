use workflow_runtime::{Result, step, workflow};

struct Shop;

impl Shop {
    #[workflow]
    async fn open(&self) -> Result<u32> {
        Ok(1)
    }

    #[step]
    async fn close(self: Box<Self>) -> Result<u32> {
        Ok(2)
    }

    #[workflow]
    async fn associated() -> Result<u32> {
        drop(Self::name());
        Ok(3)
    }

    fn name() -> String {
        String::new()
    }
}

trait Bank {
    #[step]
    async fn charge(order: u64) -> Result<u32>;
}

fn main() {}
