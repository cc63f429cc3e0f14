//! Helpers for stores that wrap another store.

/// Forwards the reading methods of a [`Store`](workflow_runtime::store::Store) to `self.inner`, each after awaiting
/// `self.reading("its name")`. The server's clock is not forwarded, so the engine's environment determines the time.
macro_rules! forward_reads {
    () => {
        forward_reads! {
            fn run['a](id: &'a str) -> Option<::workflow_runtime::store::RunRow>;
            fn journal['a](
                run: ::workflow_runtime::store::RunKey, generation: u64, from: u64, limit: usize
            ) -> Vec<::workflow_runtime::store::JournalRow>;
            fn last['a](
                run: ::workflow_runtime::store::RunKey, generation: u64
            ) -> Option<::workflow_runtime::store::JournalRow>;
            fn inbox['a](run: ::workflow_runtime::store::RunKey) -> (u64, Vec<::workflow_runtime::store::InboxRow>);
            fn state['a](run: &'a str) -> Option<::std::sync::Arc<str>>;
            fn attributes['a](run: &'a str) -> ::workflow_runtime::store::Attributes;
            fn list['a](
                filter: &'a ::workflow_runtime::store::Filter,
                after: Option<::workflow_runtime::store::Position>,
                limit: usize
            ) -> Vec<::workflow_runtime::store::RunRow>;
            fn counts['a](
                filter: &'a ::workflow_runtime::store::Filter, most: usize
            ) -> ::workflow_runtime::store::Counts;
            fn hour_counts['a](from: u64) -> Vec<::workflow_runtime::store::HourCount>;
            fn ended_before['a](
                status: ::workflow_runtime::store::Status, most: u64
            ) -> Option<::workflow_runtime::store::Ended>;
            fn continued['a](
                least: u64, after: Option<(u64, ::workflow_runtime::store::RunKey)>, limit: usize
            ) -> Vec<::workflow_runtime::store::RunRow>;
            fn notices['a](
                statuses: &'a [::workflow_runtime::store::Status],
                after: u64,
                limit: usize
            ) -> Vec<::workflow_runtime::store::Notice>;
            fn children['a](run: &'a str) -> Vec<::std::sync::Arc<str>>;
            fn open_tokens['a](
                run: ::workflow_runtime::store::RunKey
            ) -> Vec<(::std::sync::Arc<str>, ::workflow_runtime::store::TokenRow)>;
            fn delivery['a](
                token: &'a str, key: &'a str, now: u64
            ) -> Option<::workflow_runtime::store::DeliveryRow>;
            fn token['a](token: &'a str) -> Option<::workflow_runtime::store::TokenRow>;
            fn chunks['a](
                run: ::workflow_runtime::store::RunKey, stream: &'a str, from: u64, limit: usize
            ) -> ::workflow_runtime::store::ChunkPage;
            fn follow['a](
                run: ::workflow_runtime::store::RunKey, id: &'a ::std::sync::Arc<str>, what: ::workflow_runtime::store::Follow
            ) -> Option<Box<dyn ::workflow_runtime::store::Following>>;
            fn streams['a](run: ::workflow_runtime::store::RunKey) -> Vec<::std::sync::Arc<str>>;
            fn news['a](owner: u64) -> Vec<::workflow_runtime::store::RunKey>;
            fn register['a](
                worker: &'a ::workflow_runtime::store::NewWorker
            ) -> Option<Box<dyn ::workflow_runtime::store::Registration>>;
            fn deploy['a](change: &'a ::workflow_runtime::store::Deploy) -> u64;
            fn workers['a]() -> Vec<::workflow_runtime::store::WorkerRow>;
            fn deployments['a]() -> Vec<::workflow_runtime::store::DeploymentRow>;
            fn claimable['a](deployment: &'a str) -> ::workflow_runtime::store::Claimable;
        }

        fn transactions(&self) -> Option<::workflow_runtime::store::Transactions> {
            self.inner.transactions()
        }

        fn followed(&self) -> ::workflow_runtime::store::Followed {
            self.inner.followed()
        }

        fn changed<'a>(
            &'a self,
            environment: &'a dyn ::workflow_runtime::engine::Environment,
        ) -> ::futures::future::BoxFuture<'a, ()> {
            self.inner.changed(environment)
        }
    };
    ($(fn $name:ident[$life:lifetime]($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            fn $name<$life>(
                &$life self,
                $($argument: $type),*
            ) -> ::futures::future::BoxFuture<$life, Result<$output, ::workflow_runtime::Error>> {
                Box::pin(async move {
                    self.reading(stringify!($name)).await;
                    self.inner.$name($($argument),*).await
                })
            }
        )*
    };
}
