//! What else a helper or a body may look like.

#![deny(warnings)]

use futures::future::OptionFuture;
use std::sync::Arc;
use std::time::Duration;
use workflow_runtime::{Durable, Error, Result, durable, sleep, spawn, step, timeout, workflow};

use super::{Program, program};

#[step]
async fn one(n: u32) -> Result<u32> {
    Ok(n)
}

#[durable]
async fn words(text: &str) -> Result<impl Iterator<Item = String> + use<>> {
    one(1).await?;
    Ok(text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter())
}

#[durable]
async fn array<const N: usize>(a: [u32; N]) -> Result<u32> {
    let mut s = 0;
    for x in a {
        s += one(x).await?;
    }
    Ok(s)
}

trait T: Sync {
    fn base(&self) -> u32;
    #[durable]
    async fn plus(&self, n: u32) -> Result<u32> {
        Ok(self.base() + one(n).await?)
    }
}

struct A(u32);

impl T for A {
    fn base(&self) -> u32 {
        self.0
    }
}

impl A {
    #[durable]
    async fn shared(self: Arc<Self>, f: &(dyn Fn(u32) -> u32 + Sync)) -> Result<u32> {
        one(f(self.0)).await
    }
}

#[durable]
async fn early(n: u32) -> std::result::Result<u32, String> {
    if n > 3 {
        return Err("big".into());
    }
    let x = one(n).await.map_err(|e| e.to_string())?;
    Ok(x)
}

#[durable]
async fn looped() -> u32 {
    loop {
        if let Ok(n) = one(1).await {
            break n;
        }
    }
}

#[durable]
async fn never() -> Result<u32> {
    panic!("x")
}

#[workflow]
pub async fn medley() -> Result<u32> {
    let a = words("a b").await?.count() as u32;
    let b = array([1, 2, 3]).await?;
    let c = A(5).plus(1).await?;
    let d = Arc::new(A(3)).shared(&|x| x + 1).await?;
    let e = early(5).await.unwrap_or_else(|e| e.len() as u32);
    let f = looped().await;
    let g = OptionFuture::from(Some(one(7))).await.transpose()?.unwrap_or(0);
    let h = std::future::ready(1).await;
    if a > 100 {
        never().await?;
    }
    #[cfg(any())]
    {
        compile_error!("x")
    }
    #[allow(unused_variables)]
    let z = 3;
    let mut done = 0;
    let mut other = 0;
    let r: Result<u32> = 'l: loop {
        let t = sleep(Duration::from_secs(5));
        tokio::select! {
            biased;
            n = one(2) => { done += n?; if done < 6 { continue; } break 'l Ok(done); }
            () = t => { other += 1; if other > 3 { break Err(Error::new("t")); } }
        };
    };
    let v: Vec<_> = std::iter::repeat_with(|| one(1)).take(3).collect();
    let mut s = 0;
    for call in v {
        s += call.await?;
    }
    let fut = if s > 1 {
        futures::future::Either::Left(one(1))
    } else {
        futures::future::Either::Right(std::future::ready(Ok(2)))
    };
    let i = fut.await?;
    let k = async move |x: u32| -> Result<u32> {
        let y = one(x).await?;
        Ok(y)
    };
    let boxed: Vec<std::pin::Pin<Box<dyn Durable<Output = Result<u32>> + Send>>> =
        vec![Box::pin(one(1)), Box::pin(async { one(2).await })];
    let all = futures::future::try_join_all(boxed).await?;
    let text = String::from("x");
    let len = async { one(text.len() as u32).await }.await?;
    let unit: () = async {}.await;
    let _ = (unit, k(1).await?);
    let res = timeout(Duration::from_secs(5), async {
        let x = one(1).await?;
        Ok::<_, Error>(x)
    })
    .await??;
    let h2 = spawn({
        let text = text.clone();
        async move { one(text.len() as u32).await }
    });
    let (p, q) = futures::join!(one(1), h2);
    Ok(a + b + c + d + e + f + g + h + r? + s + i + all.iter().sum::<u32>() + len + res + p? + q?)
}

pub const PROGRAMS: &[Program] = &[program!(medley, (), 47)];
