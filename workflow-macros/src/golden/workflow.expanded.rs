#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
/// Documented.
#[allow(unused)]
#[track_caller]
pub fn checkout(
    order: u64,
    cents: u32,
) -> ::workflow_runtime::__private::v1::Invocation<
    impl ::workflow_runtime::__private::v1::Workflow<
        Args = (u64, u32),
        Output = Result<String>,
    >,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: ::workflow_runtime::__private::v1::WorkflowDefinition = ::workflow_runtime::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
        ::core::concat!(::core::module_path!(), "::checkout"),
        "f21f7effb8cd0c30ae7ea37fb8dd623b9f8c08c59a80a0e110133f485c12b2b5",
        ::core::cfg!(test),
        ::workflow_runtime::__private::v1::described!(
            ["order", "cents"], [u64, u32], Result < String >
        ),
    );
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Workflow(& __DEFINITION)
    }
    impl ::workflow_runtime::__private::v1::Workflow for __Workflow {
        type Form = ::workflow_runtime::__private::v1::Tuple;
        type Args = (u64, u32);
        type Output = Result<String>;
        const DEFINITION: &'static ::workflow_runtime::__private::v1::WorkflowDefinition = &__DEFINITION;
        fn run(
            args: Self::Args,
        ) -> ::std::boxed::Box<
            dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send,
        > {
            let (order, cents) = args;
            ::std::boxed::Box::new(__body(order, cents))
        }
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body(order: u64, mut cents: u32) -> Result<String> {
        cents += 1;
        let receipt = (::workflow_runtime::__private::v1::durable(charge(order, cents)))
            .await?;
        Ok(receipt)
    }
    ::workflow_runtime::__private::v1::Invocation::<__Workflow>::new((order, cents))
}
#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
#[track_caller]
fn greet(
    name: String,
) -> my::reexport::__private::v1::Invocation<
    impl my::reexport::__private::v1::Workflow<Args = String, Output = Result<String>>,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: my::reexport::__private::v1::WorkflowDefinition = my::reexport::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
            "greet",
            "89df7b43ab6060967cc02e4bcf4c1d77d72b31849ac68754b17bbcd5a792b392",
            ::core::cfg!(test),
            my::reexport::__private::v1::described!(
                ["name"], [String], Result < String >
            ),
        )
        .was(&["old::greet", "older::greet"]);
    my::reexport::__private::v1::inventory::submit! {
        my::reexport::__private::v1::Item::Workflow(& __DEFINITION)
    }
    impl my::reexport::__private::v1::Workflow for __Workflow {
        type Form = my::reexport::__private::v1::One;
        type Args = String;
        type Output = Result<String>;
        const DEFINITION: &'static my::reexport::__private::v1::WorkflowDefinition = &__DEFINITION;
        fn run(
            args: Self::Args,
        ) -> ::std::boxed::Box<
            dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send,
        > {
            let name = args;
            ::std::boxed::Box::new(__body(name))
        }
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body(name: String) -> Result<String> {
        Ok(name)
    }
    my::reexport::__private::v1::Invocation::<__Workflow>::new(name)
}
#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
#[track_caller]
fn nothing() -> ::workflow_runtime::__private::v1::Invocation<
    impl ::workflow_runtime::__private::v1::Workflow<Args = (), Output = Result<()>>,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: ::workflow_runtime::__private::v1::WorkflowDefinition = ::workflow_runtime::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
        ::core::concat!(::core::module_path!(), "::nothing"),
        "6789a0c3283eb9f41c0bb268fe7f96f85e663b9c60eebd7d8d481ffd95fdf1f0",
        ::core::cfg!(test),
        ::workflow_runtime::__private::v1::described!([], [], Result < () >),
    );
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Workflow(& __DEFINITION)
    }
    impl ::workflow_runtime::__private::v1::Workflow for __Workflow {
        type Form = ::workflow_runtime::__private::v1::Tuple;
        type Args = ();
        type Output = Result<()>;
        const DEFINITION: &'static ::workflow_runtime::__private::v1::WorkflowDefinition = &__DEFINITION;
        fn run(
            args: Self::Args,
        ) -> ::std::boxed::Box<
            dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send,
        > {
            let () = args;
            ::std::boxed::Box::new(__body())
        }
    }
    #[tracing::instrument]
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body() -> Result<()> {
        Ok(())
    }
    ::workflow_runtime::__private::v1::Invocation::<__Workflow>::new(())
}
