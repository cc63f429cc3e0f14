//! Items of the user's with the names that the expansion uses, and attributes that have to land on the right item.

#![deny(warnings, clippy::all, missing_docs)]

use super::{Program, program};

#[allow(dead_code, missing_docs, non_camel_case_types)]
mod shadowed {
    use workflow_runtime::{step, workflow};

    pub struct Box;
    pub struct Vec;
    pub struct Pin;
    pub struct Marker;
    pub struct Workflow;
    pub struct Step;
    pub trait Future {}
    pub enum Result {}
    pub enum Option {}
    pub fn durable() {}
    pub mod std {}
    pub mod core {}
    pub mod workflow_macros {}
    pub const DEFINITION: u8 = 0;

    #[step(retries = 1, backoff = "1ms..2ms", timeout = "1m")]
    pub async fn one(n: u32) -> workflow_runtime::Result<u32> {
        Ok(n + u32::from(DEFINITION))
    }

    #[step]
    pub fn blocking(n: u32) -> workflow_runtime::Result<u32> {
        Ok(n * 2)
    }

    #[workflow_runtime::durable]
    pub async fn helper(n: u32) -> workflow_runtime::Result<u32> {
        let first = one(n).await?;
        blocking(first).await
    }

    #[workflow]
    pub async fn shadowed(n: u32) -> workflow_runtime::Result<u32> {
        durable();
        let (a, b) = tokio::join!(one(n), async { helper(n).await });
        Ok(a? + b?)
    }
}

mod attributes {
    //! Documentation, lints and conditions.

    use workflow_runtime::{Result, step, workflow};

    /// A step.
    #[step]
    #[cfg(not(any()))]
    #[allow(unused_variables)]
    pub async fn documented(unused: u32) -> Result<u32> {
        Ok(1)
    }

    #[step]
    #[cfg(any())]
    pub async fn documented() {}

    /// A workflow.
    #[workflow(id = "programs::attributes::pinned", was = "old::one", was = "old::two")]
    #[allow(unused_must_use)]
    #[allow(clippy::let_unit_value)]
    pub async fn attributes() -> Result<u32> {
        let _unit = ();
        documented(1);
        documented(2).await
    }
}

mod places {
    //! Workflows and steps in functions and impls.

    use workflow_runtime::{Invocation, Result, Workflow, step, workflow};

    struct Holder;

    impl Holder {
        #[step]
        async fn step(n: u32) -> Result<u32> {
            Ok(n + 1)
        }

        #[workflow]
        async fn associated(n: u32) -> Result<u32> {
            Holder::step(n).await
        }
    }

    /// The workflow that is hidden in an impl.
    pub fn associated(n: u32) -> Invocation<impl Workflow<Args = u32, Output = Result<u32>>> {
        Holder::associated(n)
    }

    /// The workflow that is hidden in a function.
    pub fn local() -> Invocation<impl Workflow<Args = (), Output = Result<u32>>> {
        #[step]
        async fn inner() -> Result<u32> {
            Ok(5)
        }
        #[workflow(id = "programs::places::local")]
        async fn local() -> Result<u32> {
            inner().await
        }
        local()
    }
}

#[allow(missing_docs, non_camel_case_types, non_snake_case, clippy::used_underscore_binding)]
mod names {
    //! Arguments, types and functions with the names that are generated.

    use serde::{Deserialize, Serialize};
    use workflow_runtime::{Result, durable, step, workflow};

    #[derive(Clone, Serialize, Deserialize)]
    pub struct __Workflow(pub u32);
    #[derive(Clone, Serialize, Deserialize)]
    pub struct __Step(pub u32);
    pub const __DEFINITION: u32 = 100;

    fn __body(n: u32) -> u32 {
        n + 1
    }

    #[step]
    async fn one(__body: u32, step: __Step, args: u32, _: u32, argument3: u32) -> Result<u32> {
        let resources = 0;
        Ok(__body + step.0 + args + resources + argument3 + __DEFINITION)
    }

    #[step]
    async fn two(n: u32, step: __Step) -> Result<u32> {
        Ok(__body(n) + step.0)
    }

    #[durable]
    async fn three((a, b): (u32, u32), argument0: u32, receiver: u32) -> Result<u32> {
        one(a, __Step(b), argument0, 0, receiver).await
    }

    #[workflow]
    pub async fn generated_names(__body: u32, argument2: __Workflow, _: u32, args: __Step) -> Result<u32> {
        let __Workflow(n) = argument2;
        let first = one(__body, args.clone(), n, 0, 1).await?;
        let second = two(first, args).await?;
        three((second, 0), __DEFINITION, 0).await
    }

    #[workflow]
    pub async fn generated_functions(n: u32) -> Result<u32> {
        Ok(two(__body(n), __Step(0)).await? + __DEFINITION)
    }
}

pub use self::attributes::attributes;
pub use self::names::{__Step, __Workflow, generated_functions, generated_names};
pub use self::places::{associated, local};
pub use self::shadowed::shadowed;

/// See above.
pub const PROGRAMS: &[Program] = &[
    program!(shadowed, 2, 6),
    program!(attributes, (), 1),
    program!(associated, 1, 2),
    program!(local, (), 5),
    program!(generated_names, (1, __Workflow(2), 3, __Step(4)), (1 + 4 + 2 + 1 + 100) + 1 + 4 + 100 + 100),
    program!(generated_functions, 1, 3 + 100),
];
