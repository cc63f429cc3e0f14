#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
#[track_caller]
fn macros() -> ::workflow_runtime::__private::v1::Invocation<
    impl ::workflow_runtime::__private::v1::Workflow<Args = (), Output = Result<()>>,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: ::workflow_runtime::__private::v1::WorkflowDefinition = ::workflow_runtime::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
        ::core::concat!(::core::module_path!(), "::macros"),
        "3fda199332294417bc0258d72b5b77c1b6706d92d3fabe2dc672fc5f03f7a418",
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
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body() -> Result<()> {
        #[allow(unused_imports, clippy::items_after_statements)]
        use ::workflow_runtime::__private::v1::Pass as _;
        let (a, b) = tokio::join!(
            biased; (::workflow_runtime::__private::v1::durable(charge(1))),
            (::workflow_runtime::__private::v1::durable(::workflow_runtime::__private::v1::DurableBlock::new(async
            { (::workflow_runtime::__private::v1::durable(charge(2))). await })))
        );
        let (c, d) = join!(
            ::workflow_runtime::__private::v1::Operand(charge(1)).pass(),
            ::workflow_runtime::__private::v1::Operand(charge(2)).pass()
        );
        let (e, f) = futures::try_join!(
            (::workflow_runtime::__private::v1::durable(charge(1))),
            (::workflow_runtime::__private::v1::durable(charge(2)))
        )?;
        tokio::select! {
            biased; n = (::workflow_runtime::__private::v1::durable(charge(1))), if a
            .is_ok() => (::workflow_runtime::__private::v1::durable(log(n))). await, _ =
            (::workflow_runtime::__private::v1::durable(& mut timer)) => {}, else => {},
        }
        {
            ::workflow_runtime::__private::v1::is_durable(&fast);
            futures::select_biased! {
                n = fast => n, m = (::workflow_runtime::__private::v1::durable(charge(3)
                .fuse())) => m, complete => {},
            }
        }
        println!(
            "{} {n}", (::workflow_runtime::__private::v1::durable(charge(1))). await ?, n
            = (::workflow_runtime::__private::v1::durable(charge(2))). await ?
        );
        own!((::workflow_runtime::__private::v1::durable(charge(1))). await, Utc::now());
        Ok(())
    }
    ::workflow_runtime::__private::v1::Invocation::<__Workflow>::new(())
}
