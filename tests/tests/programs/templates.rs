//! Workflows and steps whose parts a `macro_rules!` passes on.

use workflow_runtime::{Result, durable, step, workflow};

use super::{Program, program};

macro_rules! flow {
    ($name:ident($($argument:ident: $type:ty),*) -> $returns:ty, $body:block) => {
        #[workflow]
        pub async fn $name($($argument: $type),*) -> $returns $body
    };
}

macro_rules! steps {
    ($id:literal, $name:ident, $blocking:ident, $n:ident, $body:block) => {
        #[step(id = $id)]
        async fn $name($n: i64) -> Result<i64> $body

        #[step]
        fn $blocking($n: i64) -> Result<i64> $body
    };
}

macro_rules! helper {
    ($name:ident, $n:ident, $body:block) => {
        #[durable]
        async fn $name($n: i64) -> Result<i64> $body
    };
}

/// Passes everything on once more.
macro_rules! flow_of_flow {
    ($name:ident, $n:ident, $body:block) => { flow!($name($n: i64) -> Result<i64>, $body); };
}

macro_rules! annotated {
    ($step:item $workflow:item) => {
        #[step]
        $step
        #[workflow]
        $workflow
    };
}

macro_rules! sum {
    ($name:ident, $first:expr, $second:expr) => {
        #[workflow]
        pub async fn $name() -> Result<i64> {
            Ok($first.await? + $second.await?)
        }
    };
}

steps!("programs::templates::pinned", add_one, add_two, n, {
    let more = n + 1;
    Ok(more)
});

helper!(add_three, n, {
    let two = add_one(n).await?;
    add_one(add_two(two).await?).await
});

flow!(body_of_a_macro(n: i64, label: String) -> Result<String>, {
    let sum = add_three(n).await?;
    let text = format!("{label} {sum}");
    Ok(text)
});

flow_of_flow!(body_of_a_macro_of_a_macro, n, { add_one(n).await });

annotated! {
    async fn item_step(n: i64) -> Result<i64> {
        Ok(n * 10)
    }
    /// Documented.
    pub async fn items_of_a_macro(n: i64) -> Result<i64> {
        item_step(n).await
    }
}

sum!(expressions_of_a_macro, add_one(1), async { add_two(2).await });

pub const PROGRAMS: &[Program] = &[
    program!(body_of_a_macro, (1, "sum".into()), "sum 4"),
    program!(body_of_a_macro_of_a_macro, 5, 6),
    program!(items_of_a_macro, 4, 40),
    program!(expressions_of_a_macro, (), 5),
];
