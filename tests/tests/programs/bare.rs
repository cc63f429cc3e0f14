//! A module without a prelude, in which the names of the standard library are taken, unsafe code is forbidden and no
//! warning is let through.

use super::{Program, program};

mod module {
    //! As its parent says.

    #![no_implicit_prelude]
    #![forbid(unsafe_code)]
    #![deny(warnings, missing_docs, rust_2018_idioms)]

    mod std {}
    mod core {}
    mod reexport {
        pub use ::workflow_runtime as runtime;
    }

    use self::reexport::runtime::{Result, durable, step, workflow};
    use ::std::option::Option::{self, Some};
    use ::std::result::Result::Ok;
    use ::std::string::String;

    #[step(crate = self::reexport::runtime, retries = 1)]
    async fn one(n: u32) -> Result<u32> {
        Ok(n)
    }

    #[step]
    fn two(n: u32) -> Result<u32> {
        Ok(n)
    }

    #[durable(crate = self::reexport::runtime)]
    async fn helper(text: &str, n: Option<&u32>) -> Result<u32> {
        let mut sum = 0;
        if let Some(n) = n {
            sum += one(*n).await?;
        }
        for n in ::std::iter::IntoIterator::into_iter([1u32, 2]) {
            sum += two(n).await?;
        }
        Ok(sum + text.len() as u32)
    }

    /// Documented.
    pub struct Counter(u32);

    impl Counter {
        #[durable]
        async fn add<'a>(&'a mut self, n: &u32) -> Result<u32> {
            self.0 += one(*n).await?;
            Ok(self.0)
        }
    }

    /// Documented.
    #[workflow(crate = ::workflow_runtime)]
    pub async fn bare(text: String) -> Result<u32> {
        let (a, b) = ::futures::future::join(one(1), async { two(2).await }).await;
        let added = ::std::format!("{}", Counter(1).add(&1).await?);
        Ok(a? + b? + helper(&text, Some(&1)).await? + added.len() as u32)
    }
}

pub use self::module::bare;

pub const PROGRAMS: &[Program] = &[program!(bare, "ab".to_owned(), 10)];
