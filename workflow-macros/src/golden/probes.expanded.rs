#[deny(unused_must_use)]
#[allow(clippy::type_complexity)]
#[track_caller]
fn probes(
    orders: HashMap<u64, u64>,
    start: Instant,
) -> ::workflow_runtime::__private::v1::Invocation<
    impl ::workflow_runtime::__private::v1::Workflow<
        Args = (HashMap<u64, u64>, Instant),
        Output = Result<()>,
    >,
> {
    #[doc(hidden)]
    struct __Workflow;
    static __DEFINITION: ::workflow_runtime::__private::v1::WorkflowDefinition = ::workflow_runtime::__private::v1::WorkflowDefinition::new::<
        __Workflow,
    >(
        ::core::concat!(::core::module_path!(), "::probes"),
        "af878745a707854519bd51a070905ae55332060b5d210074cc08fc83bfe1b317",
        ::core::cfg!(test),
        ::workflow_runtime::__private::v1::described!(
            ["orders", "start"], [HashMap < u64, u64 >, Instant], Result < () >
        ),
    );
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Workflow(& __DEFINITION)
    }
    impl ::workflow_runtime::__private::v1::Workflow for __Workflow {
        type Form = ::workflow_runtime::__private::v1::Tuple;
        type Args = (HashMap<u64, u64>, Instant);
        type Output = Result<()>;
        const DEFINITION: &'static ::workflow_runtime::__private::v1::WorkflowDefinition = &__DEFINITION;
        fn run(
            args: Self::Args,
        ) -> ::std::boxed::Box<
            dyn ::core::future::Future<Output = Self::Output> + ::core::marker::Send,
        > {
            let (orders, start) = args;
            ::std::boxed::Box::new(__body(orders, start))
        }
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body(orders: HashMap<u64, u64>, start: Instant) -> Result<()> {
        #[allow(unused_imports, clippy::items_after_statements)]
        use ::workflow_runtime::__private::v1::Pass as _;
        let a = (::workflow_runtime::__private::v1::SameClock(
                ::workflow_runtime::__private::v1::SameClock(
                        ::workflow_runtime::__private::v1::SameClock(
                                Instant::now,
                                ::std::time::SystemTime::now,
                            )
                            .pass(),
                        ::std::time::Instant::now,
                    )
                    .pass(),
                ::workflow_runtime::__private::v1::tokio::time::Instant::now,
            )
            .last())();
        let b = (::workflow_runtime::__private::v1::SameEnvironment(
                var,
                ::std::env::var::<&'static str>,
            )
            .last())("KEY");
        let c = ::workflow_runtime::__private::v1::TimeOf(
                (::workflow_runtime::__private::v1::SameClock(
                        ::workflow_runtime::__private::v1::SameClock(
                                ::workflow_runtime::__private::v1::SameClock(
                                        Utc::now,
                                        ::std::time::SystemTime::now,
                                    )
                                    .pass(),
                                ::std::time::Instant::now,
                            )
                            .pass(),
                        ::workflow_runtime::__private::v1::tokio::time::Instant::now,
                    )
                    .last())(),
            )
            .pass();
        let d = ::workflow_runtime::__private::v1::second(
            ::workflow_runtime::__private::v1::ElapsedOf(&start).pass(),
            start.elapsed(),
        );
        let exit = |n| n;
        exit(1);
        for (order, _) in ::workflow_runtime::__private::v1::second(
            ::workflow_runtime::__private::v1::OrderOf(&orders).pass(),
            &orders,
        ) {
            (::workflow_runtime::__private::v1::durable(charge(*order))).await?;
        }
        for order in ::workflow_runtime::__private::v1::second(
                ::workflow_runtime::__private::v1::OrderOf(&orders).pass(),
                orders.keys(),
            )
            .copied()
        {
            (::workflow_runtime::__private::v1::durable(charge(order))).await?;
        }
        let e = (::workflow_runtime::__private::v1::durable(
            nondeterministic(async { reqwest::get("url").await }),
        ))
            .await?;
        let _ = ::workflow_runtime::__private::v1::Unawaited(charge(1)).pass();
        let clock = ::workflow_runtime::__private::v1::SameClock(
                ::workflow_runtime::__private::v1::SameClock(
                        ::workflow_runtime::__private::v1::SameClock(
                                Instant::now,
                                ::std::time::SystemTime::now,
                            )
                            .pass(),
                        ::std::time::Instant::now,
                    )
                    .pass(),
                ::workflow_runtime::__private::v1::tokio::time::Instant::now,
            )
            .last();
        fn used() -> Instant {
            (::workflow_runtime::__private::v1::SameClock(
                    ::workflow_runtime::__private::v1::SameClock(
                            ::workflow_runtime::__private::v1::SameClock(
                                    <Instant>::now,
                                    ::std::time::SystemTime::now,
                                )
                                .pass(),
                            ::std::time::Instant::now,
                        )
                        .pass(),
                    ::workflow_runtime::__private::v1::tokio::time::Instant::now,
                )
                .last())()
        }
        fn unused() -> Instant {
            Instant::now()
        }
        const CLOCK: fn() -> Instant = Instant::now;
        #[allow(warnings, clippy::all, clippy::pedantic)]
        const _: fn() = || {
            let _probed: fn() -> Instant = ::workflow_runtime::__private::v1::SameClock(
                    ::workflow_runtime::__private::v1::SameClock(
                            ::workflow_runtime::__private::v1::SameClock(
                                    Instant::now,
                                    ::std::time::SystemTime::now,
                                )
                                .pass(),
                            ::std::time::Instant::now,
                        )
                        .pass(),
                    ::workflow_runtime::__private::v1::tokio::time::Instant::now,
                )
                .last();
        };
        let both = (used(), CLOCK());
        for order in ::workflow_runtime::__private::v1::OrderOfValue(stock()).pass() {
            (::workflow_runtime::__private::v1::durable(charge(order))).await?;
        }
        Ok(())
    }
    ::workflow_runtime::__private::v1::Invocation::<__Workflow>::new((orders, start))
}
