#[allow(clippy::type_complexity)]
/// Documented.
#[track_caller]
pub fn charge(
    order: u64,
    cents: u32,
) -> ::workflow_runtime::__private::v1::StepCall<Result<String>> {
    static __DEFINITION: ::workflow_runtime::__private::v1::StepDefinition = ::workflow_runtime::__private::v1::StepDefinition::new::<
        (u64, u32),
        Result<String>,
        _,
    >(
            ::core::concat!(::core::module_path!(), "::charge"),
            "a99d780390b4a14364a766b48b819042c907de387412f8e454b6738217dbad93",
            ::core::cfg!(test),
            ::workflow_runtime::__private::v1::described!(
                ["order", "cents"], [u64, u32], Result < String >
            ),
            &::workflow_runtime::__private::v1::Attempt(|
                (argument1, argument2),
                resources|
            {
                let argument0 = ::workflow_runtime::__private::v1::Resources::get::<
                    Bank,
                >(resources)?;
                ::core::result::Result::Ok(
                    ::workflow_runtime::__private::v1::Execution::future(
                        ::std::boxed::Box::new(async move {
                            __body(&argument0, argument1, argument2).await
                        }),
                    ),
                )
            }),
            __body,
        )
        .policy(
            ::workflow_runtime::__private::v1::Policy::DEFAULT
                .retries(5)
                .backoff(
                    ::core::time::Duration::from_millis(100u64),
                    ::core::time::Duration::from_millis(30000u64),
                )
                .timeout(::core::time::Duration::from_millis(10000u64)),
        )
        .requires(&[::workflow_runtime::__private::v1::Requirement::of::<Bank>()]);
    ::workflow_runtime::__private::v1::inventory::submit! {
        ::workflow_runtime::__private::v1::Item::Step(& __DEFINITION)
    }
    #[allow(
        clippy::needless_pass_by_value,
        clippy::too_many_arguments,
        clippy::unnecessary_wraps,
        clippy::unused_async
    )]
    async fn __body(bank: &Bank, order: u64, cents: u32) -> Result<String> {
        bank.charge(order, cents).await
    }
    ::workflow_runtime::__private::v1::call(&__DEFINITION, (order, cents))
}
#[allow(clippy::type_complexity)]
#[track_caller]
fn blocking(path: PathBuf) -> ::workflow_runtime::__private::v1::StepCall<Result<u64>> {
    static __DEFINITION: ::workflow_runtime::__private::v1::StepDefinition = ::workflow_runtime::__private::v1::StepDefinition::new::<
        (PathBuf,),
        Result<u64>,
        _,
    >(
            ::core::concat!(::core::module_path!(), "::blocking"),
            "55c82427b7bdedd83a1e25190db236562e0d74e8f6f929a2704a79d80e51ec7e",
            ::core::cfg!(test),
            ::workflow_runtime::__private::v1::described!(
                ["path"], [PathBuf], Result < u64 >
            ),
            &::workflow_runtime::__private::v1::Attempt(|(argument0,), resources| {
                let argument1 = ::workflow_runtime::__private::v1::Resources::get::<
                    Arc<dyn Cache>,
                >(resources)?;
                ::core::result::Result::Ok(
                    ::workflow_runtime::__private::v1::Execution::Blocking(
                        ::std::boxed::Box::new(move || __body(argument0, &argument1)),
                    ),
                )
            }),
            __body,
        )
        .was(&["old::blocking", "older::blocking"])
        .requires(
            &[::workflow_runtime::__private::v1::Requirement::of::<Arc<dyn Cache>>()],
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
    fn __body(path: PathBuf, cache: &Arc<dyn Cache>) -> Result<u64> {
        cache.len(&path)
    }
    ::workflow_runtime::__private::v1::call(&__DEFINITION, (path,))
}
