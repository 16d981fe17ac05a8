//! Time: [`now`], [`sleep`] and [`timeout`], by the clock of the loop.
//!
//! As everything that Rust calls a future, and as asyncio's coroutines, a sleep does nothing before it is polled: its time counts from
//! the first poll. What must not drift is given a point in time instead ([`sleep_until`]).

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::current;
use crate::instant::Instant;
use crate::reactor::{LoopRef, is_same};
use crate::timers::TimerKey;

/// The time on the running loop's clock.
///
/// # Panics
///
/// Outside of a running loop.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let start = oneloop::now();
/// oneloop::sleep(Duration::from_millis(2)).await;
/// assert!(oneloop::now() - start >= Duration::from_millis(2));
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use]
#[track_caller]
pub fn now() -> Instant {
    current::expect().now()
}

/// Waits for `duration`, counted from when the future is first polled.
///
/// Even a sleep of no length gives every other entry that is ready a turn. Sleeps are precise to the nanosecond where the kernel is, and
/// never end early.
///
/// # Panics
///
/// When polled outside of a running loop.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// fn main() -> std::io::Result<()> {
///     oneloop::run(async {
///         println!("Hello...");
///         oneloop::sleep(Duration::from_secs(1)).await;
///         println!("...Asyncio World!");
///     })
/// }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep {
        end: End::After(duration),
        armed: None,
    }
}

/// Waits until `deadline` is reached on the loop's clock. Like [`sleep`], it gives others a turn even if that is in the past.
///
/// # Panics
///
/// When polled outside of a running loop.
///
/// # Examples
///
/// Ten ticks a second, however long the work between them takes:
///
/// ```no_run
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let mut next = oneloop::now();
/// for tick in 0..100 {
///     println!("tick {tick}");
///     next = next + Duration::from_millis(100);
///     oneloop::sleep_until(next).await;
/// }
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        end: End::At(deadline),
        armed: None,
    }
}

/// The future of [`sleep`] and [`sleep_until`]. Dropping it cancels its timer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// struct Backoff {
///     pause: oneloop::Sleep,
/// }
///
/// # oneloop::run(async {
/// let backoff = Backoff { pause: oneloop::sleep(Duration::from_millis(1)) };
/// backoff.pause.await;
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    end: End,
    armed: Option<Armed>,
}

/// When a sleep ends.
#[derive(Clone, Copy)]
enum End {
    /// This long after the first poll, which turns it into the next.
    After(Duration),
    At(Instant),
}

/// A timer that was armed; it may have fired.
struct Armed {
    event_loop: LoopRef,
    timer: TimerKey,
    waker: Waker,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let event_loop = current::expect();
        let now = event_loop.now();
        let deadline = match self.end {
            End::At(deadline) => deadline,
            End::After(duration) => now + duration,
        };
        self.end = End::At(deadline);
        // The first poll is never the last: a timer that is due comes after everything that is ready by now.
        if now >= deadline && self.armed.is_some() {
            self.armed = None;
            return Poll::Ready(());
        }
        let waits = |armed: &Armed| {
            armed.waker.will_wake(context.waker()) && is_same(&armed.event_loop, &event_loop)
        };
        if !self.armed.as_ref().is_some_and(waits) {
            let waker = context.waker().clone();
            // The timer before it, of another waker or of a loop that is closed by now, goes after the new one stands.
            self.armed = Some(Armed {
                timer: event_loop.arm(deadline, waker.clone()),
                event_loop,
                waker,
            });
        }
        Poll::Pending
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.event_loop.cancel(self.timer);
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::After(duration) => f.debug_tuple("Sleep").field(&duration).finish(),
            End::At(deadline) => f.debug_tuple("Sleep").field(&deadline).finish(),
        }
    }
}

/// Gives `future` this long, counted from the first poll; then drops it and answers [`Elapsed`].
///
/// If both are true at once, that the future is done and that its time is over, it is done.
///
/// # Errors
///
/// [`Elapsed`] if the time was over first.
///
/// # Panics
///
/// When polled outside of a running loop.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let quick = oneloop::timeout(Duration::from_secs(60), async { 7 });
/// assert_eq!(quick.await, Ok(7));
///
/// let stuck = oneloop::timeout(Duration::from_millis(1), std::future::pending::<()>());
/// assert_eq!(stuck.await, Err(oneloop::Elapsed));
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut sleep = pin!(sleep(duration));
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// The time that a [`timeout`] gave was over.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// async fn impatient() -> io::Result<()> {
///     oneloop::timeout(Duration::from_millis(1), std::future::pending::<()>()).await?;
///     Ok(())
/// }
///
/// let error = oneloop::run(impatient())?.unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// # io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time given for this is over")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
