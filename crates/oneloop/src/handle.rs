//! [`Handle`]: a running loop as other threads see it.
//!
//! A handle may be kept for ever: it holds neither the loop nor a descriptor, and once the loop is closed it says so. The same in a
//! forked child that did not inherit the loop's thread: there the loop is as good as closed, and nothing waits for it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use async_task::FallibleTask;

use crate::current;
use crate::executor;
use crate::reactor::{Remote, same_loop};
use crate::sys;

/// A way to a running loop from any thread: to spawn tasks on it, and to wake it.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use std::sync::mpsc;
/// use std::thread;
///
/// // A loop that serves other threads.
/// let (send, receive) = mpsc::channel();
/// thread::spawn(|| {
///     oneloop::run(async move {
///         let _ = send.send(oneloop::Handle::current());
///         std::future::pending::<()>().await
///     })
/// });
///
/// let handle = receive.recv().expect("the loop runs");
/// // The future is made on the loop's thread, and stays there: it need not be Send, only its output is.
/// let task = handle.spawn(|| async { Rc::new(6 * 7).to_string() })?;
/// assert_eq!(task.join()?, "42");
/// # Ok::<_, oneloop::LoopClosed>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    origin: Origin,
}

impl Handle {
    /// The handle of the loop that runs on this thread.
    ///
    /// # Panics
    ///
    /// Outside of a running loop.
    ///
    /// # Examples
    ///
    /// ```
    /// let handle = oneloop::run(async { oneloop::Handle::current() })?;
    /// assert!(handle.spawn(|| async {}).is_err()); // that loop is closed
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn current() -> Self {
        Self {
            origin: Origin {
                remote: Arc::clone(current::expect().remote()),
                thread: sys::thread_token(),
                generation: sys::fork_generation(),
            },
        }
    }

    /// Has `make` called on the loop's thread and the future that it returns run there as a task. From any thread.
    ///
    /// Only `make` and the output cross threads; the future need not be `Send`. Like a thread's, the task runs on if the [`JoinHandle`]
    /// is dropped.
    ///
    /// # Errors
    ///
    /// [`LoopClosed`] if the loop is closed; `make` is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # oneloop::run(async {
    /// let handle = oneloop::Handle::current();
    /// let task = handle.spawn(|| async {
    ///     oneloop::sleep(Duration::from_millis(1)).await;
    ///     "slept on the loop's thread"
    /// })?;
    /// assert_eq!(task.await?, "slept on the loop's thread");
    /// # Ok::<_, oneloop::LoopClosed>(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn spawn<M, F>(&self, make: M) -> Result<JoinHandle<F::Output>, LoopClosed>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        if self.origin.is_lost() {
            return Err(LoopClosed);
        }
        let task = executor::spawn_remote(&self.origin.remote, make).ok_or(LoopClosed)?;
        Ok(JoinHandle {
            task: Some(task.fallible()),
            origin: self.origin.clone(),
        })
    }

    /// Ends the loop's wait, so that it looks at its clock and its descriptors again. From any thread; on a closed loop it does nothing.
    ///
    /// Nothing in this crate asks for it: whatever is spawned or woken wakes its loop by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let handle = oneloop::Handle::current();
    /// std::thread::spawn(move || handle.wake());
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn wake(&self) {
        if !self.origin.is_lost() {
            self.origin.remote.wake();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The loop that something came from, and the thread that runs it.
#[derive(Clone)]
struct Origin {
    remote: Arc<dyn Remote>,
    thread: usize,
    /// The fork generation in which that was so.
    generation: u64,
}

impl Origin {
    /// Whether the loop's thread is missing from this process, which is a forked child.
    fn is_lost(&self) -> bool {
        !sys::survived_forks(self.generation, self.thread)
    }

    fn runs_here(&self) -> bool {
        current::with(|current| current.is_some_and(|own| same_loop(own.remote(), &self.remote)))
    }
}

/// A task that was spawned through a [`Handle`]: `Send`, to be awaited on any loop or waited for by any thread.
///
/// Unlike a [`Task`](crate::Task) it does not cancel when it is dropped, but detaches, as a thread's handle does. A panic of the task is
/// resumed in whoever awaits or joins it.
///
/// # Examples
///
/// ```
/// # oneloop::run(async {
/// let handle = oneloop::Handle::current();
/// assert_eq!(handle.spawn(|| async { 7 })?.await?, 7);
/// # Ok::<_, oneloop::LoopClosed>(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub struct JoinHandle<T> {
    /// `None` only while this is dropped or cancelled.
    task: Option<FallibleTask<T>>,
    origin: Origin,
}

impl<T> JoinHandle<T> {
    /// Blocks this thread until the task is done.
    ///
    /// # Errors
    ///
    /// [`LoopClosed`] if the loop was closed before.
    ///
    /// # Panics
    ///
    /// If the task did, and on the loop's own thread, where it would wait for itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let handle = oneloop::Handle::current();
    /// std::thread::spawn(move || {
    ///     let answer = handle.spawn(|| async { 6 * 7 })?.join()?;
    ///     println!("{answer}");
    ///     Ok::<_, oneloop::LoopClosed>(())
    /// });
    /// # })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join(self) -> Result<T, LoopClosed> {
        assert!(
            !self.origin.runs_here(),
            "a loop's thread cannot block on a task of its own; await the handle instead"
        );
        block_on(self)
    }

    /// Cancels the task and waits until its future is dropped. Gives the output if the task was done already.
    ///
    /// # Panics
    ///
    /// If the task did.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let stuck = oneloop::Handle::current().spawn(std::future::pending::<()>)?;
    /// assert_eq!(stuck.cancel().await, None);
    /// # Ok::<_, oneloop::LoopClosed>(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn cancel(mut self) -> Option<T> {
        if self.origin.is_lost() {
            return None;
        }
        match self.task.take() {
            Some(task) => task.cancel().await,
            None => None,
        }
    }

    /// Whether the task is done or dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// let task = oneloop::Handle::current().spawn(|| async {})?;
    /// assert!(!task.is_finished());
    /// oneloop::yield_now().await;
    /// assert!(task.is_finished());
    /// # Ok::<_, oneloop::LoopClosed>(())
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(FallibleTask::is_finished)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, LoopClosed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.origin.is_lost() && !self.is_finished() {
            return Poll::Ready(Err(LoopClosed));
        }
        match &mut self.task {
            Some(task) => Pin::new(task)
                .poll(context)
                .map(|output| output.ok_or(LoopClosed)),
            None => Poll::Ready(Err(LoopClosed)),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// The loop that was asked is closed.
///
/// # Examples
///
/// ```
/// let handle = oneloop::run(async { oneloop::Handle::current() })?;
/// let refused = handle.spawn(|| async {}).unwrap_err();
/// assert_eq!(refused, oneloop::LoopClosed);
/// assert_eq!(refused.to_string(), "the event loop is closed");
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoopClosed;

impl fmt::Display for LoopClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is closed")
    }
}

impl Error for LoopClosed {}

impl From<LoopClosed> for io::Error {
    fn from(closed: LoopClosed) -> Self {
        io::Error::other(closed)
    }
}

/// Polls `future` on this thread, which sleeps between the polls.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut future).poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
