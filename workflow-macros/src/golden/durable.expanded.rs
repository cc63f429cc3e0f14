#[deny(unused_must_use)]
#[allow(clippy::items_after_statements)]
pub fn pay_all<'a, T: AsRef<str>>(
    orders: &'a [T],
    argument1: (u32, u32),
    total: u64,
) -> ::workflow_runtime::__private::v1::DurableBlock<
    impl ::core::future::Future<Output = Result<&'a T>>,
>
where
    T: Sync,
{
    ::workflow_runtime::__private::v1::DurableBlock::returning::<
        Result<&'a T>,
        _,
    >(async move {
        let orders = orders;
        let (a, b) = argument1;
        let mut total = total;
        #[allow(unused_imports, clippy::items_after_statements)]
        use ::workflow_runtime::__private::v1::Pass as _;
        for order in ::workflow_runtime::__private::v1::second(
            ::workflow_runtime::__private::v1::OrderOf(&orders).pass(),
            orders,
        ) {
            total
                += (::workflow_runtime::__private::v1::durable(
                    charge(order.as_ref().to_owned()),
                ))
                    .await?;
        }
        let wait = |n: u32| ::workflow_runtime::__private::v1::DurableBlock::new(async move {
            (::workflow_runtime::__private::v1::durable(
                (::workflow_runtime::__private::v1::SameWaiting(
                        sleep,
                        ::std::thread::sleep,
                    )
                    .last())(SECOND * n),
            ))
                .await
        });
        (::workflow_runtime::__private::v1::durable(wait(a + b))).await;
        Ok(&orders[0])
    })
}
#[deny(unused_must_use)]
fn nothing() -> ::workflow_runtime::__private::v1::DurableBlock<
    impl ::core::future::Future<Output = ()>,
> {
    ::workflow_runtime::__private::v1::DurableBlock::returning::<(), _>(async move {})
}
