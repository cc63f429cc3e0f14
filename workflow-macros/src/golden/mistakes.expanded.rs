::core::compile_error! {
    "a workflow is an async function: write `async fn`"
}
::core::compile_error! {
    "a workflow returns a `Result`: write `-> workflow_runtime::Result<()>` and end with `Ok(())`"
}
::core::compile_error! {
    "an argument of a workflow is a plain name: take the value under a name and take it apart with `let`"
}
#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
#[track_caller]
fn not_async(
    argument0: (u32, u32),
) -> ::workflow_runtime::__private::v1::Invocation<
    impl ::workflow_runtime::__private::v1::Workflow<
        Args = (u32, u32),
        Output = ::core::result::Result<(), ::workflow_runtime::__private::v1::Error>,
    >,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: ::workflow_runtime::__private::v1::WorkflowDefinition = ::workflow_runtime::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
        ::core::concat!(::core::module_path!(), "::not_async"),
        "09b610bfd14afeee4e39a25ef46bc59970e9981cc988d6f4a35dd8e1cd36db69",
        ::core::cfg!(test),
        ::workflow_runtime::__private::v1::described!(
            ["argument0"], [(u32, u32)], ::core::result::Result < (),
            ::workflow_runtime::__private::v1::Error >
        ),
    );
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Workflow(& __DEFINITION)
    }
    impl ::workflow_runtime::__private::v1::Workflow for __Workflow {
        type Form = ::workflow_runtime::__private::v1::One;
        type Args = (u32, u32);
        type Output = ::core::result::Result<
            (),
            ::workflow_runtime::__private::v1::Error,
        >;
        const DEFINITION: &'static ::workflow_runtime::__private::v1::WorkflowDefinition = &__DEFINITION;
        fn run(
            args: Self::Args,
        ) -> ::std::boxed::Box<
            dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send,
        > {
            let argument0 = args;
            ::std::boxed::Box::new(__body(argument0))
        }
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body(
        (a, b): (u32, u32),
    ) -> ::core::result::Result<(), ::workflow_runtime::__private::v1::Error> {
        #![allow(unused)]
        loop {}
    }
    ::workflow_runtime::__private::v1::Invocation::<__Workflow>::new(argument0)
}
::core::compile_error! {
    "#[step] has no option `retires`: did you mean `retries`? (there is `id = \"charge\"`, `was = \"shop::pay::charge\"`, `retries = 5`, `backoff = \"100ms..30s\"`, `timeout = \"10s\"`, `heartbeat = \"30s\"`, `queue = \"gpu\"`, `transaction`, `crate = my_prelude::workflow_runtime`)"
}
#[allow(clippy::type_complexity)]
#[track_caller]
fn misspelled() -> ::workflow_runtime::__private::v1::StepCall<Result<()>> {
    static __DEFINITION: ::workflow_runtime::__private::v1::StepDefinition = ::workflow_runtime::__private::v1::StepDefinition::new::<
        (),
        Result<()>,
        _,
    >(
        ::core::concat!(::core::module_path!(), "::misspelled"),
        "bccbe1fc50d2a3b731a4a01e20b5709e7e3349fdccd8de93bdb776b5faa204d2",
        ::core::cfg!(test),
        ::workflow_runtime::__private::v1::described!([], [], Result < () >),
        &::workflow_runtime::__private::v1::Attempt(|(), _| ::core::result::Result::Ok(
            ::workflow_runtime::__private::v1::Execution::future(
                ::std::boxed::Box::new(__body()),
            ),
        )),
        __body,
    );
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Step(& __DEFINITION)
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body() -> Result<()> {
        Ok(())
    }
    ::workflow_runtime::__private::v1::call(&__DEFINITION, ())
}
#[doc(hidden)]
mod __refused_generic {
    ::core::compile_error! {
        "a workflow cannot be generic: a run is stored under one id and continues in another process, which could not determine the types; write one function for each type and share the body in a generic `#[durable]` function"
    }
}
#[allow(unused)]
fn generic<T>(value: T) -> __refused_generic::__Refused {
    async fn generic<T>(value: T) -> Result<()> {
        Ok(())
    }
    loop {}
}
