//! [`join_all`]: waiting for many futures at once.
//!
//! Polling all of them whenever one is woken would cost n² for n futures. `futures-util`'s queue gives each a waker of its own and polls
//! only what was woken; its intrusive list is the kind of unsafe code that is better shared by everybody than written again.

use std::future::Future;

use futures_util::stream::{FuturesOrdered, StreamExt};

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
pub async fn join_all<I>(futures: I) -> Vec<<I::Item as Future>::Output>
where
    I: IntoIterator<Item: Future>,
{
    futures
        .into_iter()
        .collect::<FuturesOrdered<_>>()
        .collect()
        .await
}
