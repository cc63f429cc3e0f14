//! What the attributes generate, and what they ask for, under all lints that clippy has no objection to itself.

#![deny(warnings, missing_docs, missing_debug_implementations, unused_qualifications)]
#![deny(single_use_lifetimes, unused_lifetimes, trivial_casts, let_underscore_drop, rust_2018_idioms)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery)]

use super::{Program, program};

mod shop {
    //! Steps and workflows of all kinds.

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use futures::future::join_all;
    use serde::{Deserialize, Serialize};
    use workflow_runtime::{Error, Failure, Result, durable, step, workflow};

    /// What is bought.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Order {
        /// Its number.
        pub id: u64,
        /// What is in it.
        pub lines: Vec<String>,
    }

    /// Why it is not bought.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Refused {
        /// For no reason of the shop's.
        Other(String),
    }

    impl From<Error> for Refused {
        fn from(error: Error) -> Self {
            Self::Other(error.to_string())
        }
    }

    impl std::fmt::Display for Refused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let Self::Other(text) = self;
            f.write_str(text)
        }
    }

    impl Failure for Refused {}

    /// Takes its arguments by value, as a step has to, and awaits nothing.
    ///
    /// # Errors
    ///
    /// None.
    #[step(retries = 1, backoff = "1ms..2ms", timeout = "1m", heartbeat = "1m")]
    pub async fn price(order: Order, by_name: BTreeMap<String, u64>, _: u8) -> Result<u64> {
        Ok(order.id + by_name.len() as u64 + order.lines.len() as u64)
    }

    #[step]
    fn blocking(text: String, _unused: bool) -> Result<usize, Refused> {
        Ok(text.len())
    }

    #[step]
    async fn nothing() -> Result<()> {
        Ok(())
    }

    #[step]
    async fn shared(#[resource] names: &Arc<Vec<String>>, n: usize) -> Result<Option<String>> {
        Ok(names.get(n).cloned())
    }

    /// Borrows.
    struct Cart<'a> {
        names: &'a [String],
    }

    impl Cart<'_> {
        #[durable]
        async fn total(&self, times: u64) -> Result<u64> {
            const NONE: u64 = 0;
            let mut total = NONE;
            for name in self.names {
                let order = Order { id: times, lines: vec![name.clone()] };
                total += price(order, BTreeMap::new(), 1).await?;
            }
            Ok(total)
        }
    }

    #[durable]
    async fn first_of<T: Clone + Sync>(all: &[T]) -> Option<T> {
        nothing().await.ok()?;
        all.first().cloned()
    }

    /// A workflow.
    ///
    /// # Errors
    ///
    /// None.
    #[workflow]
    pub async fn pedantic(order: Order, text: String, count: u64) -> Result<u64> {
        let cart = Cart { names: &order.lines };
        let mut total = cart.total(count).await?;
        total += blocking(text, true).await.map_err(|refused| Error::new(refused.to_string()))? as u64;
        let prices = join_all((0..2).map(|_| price(order.clone(), BTreeMap::new(), 0))).await;
        for one in prices {
            total += one?;
        }
        let add = async |n: u64| price(Order { id: n, lines: Vec::new() }, BTreeMap::new(), 0).await;
        total += add(1).await?;
        let (a, b) = tokio::join!(first_of(&order.lines), async { nothing().await });
        b?;
        tokio::select! {
            done = nothing() => done?,
        }
        if total > 1_000_000 {
            shared(0).await?;
        }
        Ok(total + a.map_or(0, |name| name.len() as u64))
    }

    /// A workflow without arguments, with an error of its own.
    ///
    /// # Errors
    ///
    /// None.
    #[workflow(validate = check)]
    pub async fn pedantic_checked(order: Order) -> Result<u64, Refused> {
        nothing().await?;
        Ok(order.id)
    }

    fn check(order: &Order) -> Result<()> {
        if order.id > 100 { Err(Error::new("too much")) } else { Ok(()) }
    }
}

use self::shop::{Order, pedantic, pedantic_checked};

/// See above.
pub const PROGRAMS: &[Program] = &[
    program!(pedantic, (Order { id: 1, lines: vec!["ab".to_owned()] }, "abc".to_owned(), 4), 5 + 3 + 2 + 2 + 1 + 2),
    program!(pedantic_checked, Order { id: 4, lines: Vec::new() }, 4),
];
