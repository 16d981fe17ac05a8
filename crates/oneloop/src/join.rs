//! [`join_all`]: waiting for many futures at once.
//!
//! Polling all of them whenever one is woken would cost n² for n futures. `futures-util`'s queue gives each a waker of its own and polls
//! only what was woken; its intrusive list is the kind of unsafe code that is better shared by everybody than written again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{Collect, FuturesOrdered, StreamExt};

/// Runs futures concurrently, within this task, and gives their outputs in the order of the futures.
///
/// Each is polled when it is woken, not when another one is. Unlike tasks they may borrow from their surroundings. To run each as a task
/// of its own, give [`spawn`](crate::spawn)ed tasks to it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let words = ["three", "one", "two"];
/// let lengths = oneloop::join_all(words.iter().map(async |word| {
///     oneloop::sleep(Duration::from_millis(word.len() as u64)).await;
///     word.len()
/// }));
/// assert_eq!(lengths.await, [5, 3, 3]);
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn join_all<I>(futures: I) -> JoinAll<I::Item>
where
    I: IntoIterator<Item: Future>,
{
    let queue: FuturesOrdered<I::Item> = futures.into_iter().collect();
    JoinAll {
        outputs: queue.collect(),
    }
}

/// The future of [`join_all`]. Dropping it drops all that it waits for.
///
/// # Examples
///
/// ```
/// use std::future::Ready;
///
/// # oneloop::run(async {
/// let all: oneloop::JoinAll<Ready<u32>> = oneloop::join_all([1, 2].map(std::future::ready));
/// assert_eq!(all.await, [1, 2]);
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct JoinAll<F: Future> {
    outputs: Collect<FuturesOrdered<F>, Vec<F::Output>>,
}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outputs).poll(context)
    }
}

impl<F: Future> fmt::Debug for JoinAll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinAll").finish_non_exhaustive()
    }
}
