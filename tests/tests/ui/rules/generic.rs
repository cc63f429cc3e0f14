use workflow_runtime::{Result, step, workflow};

#[workflow]
async fn generic<T: Clone>(value: T) -> Result<()> {
    drop(value);
    Ok(())
}

#[step]
async fn bounded() -> Result<()>
where
    String: Clone,
{
    Ok(())
}

#[workflow]
async fn impl_trait(values: impl Iterator<Item = u32>) -> Result<impl Clone> {
    Ok(values.count())
}

fn main() {}
