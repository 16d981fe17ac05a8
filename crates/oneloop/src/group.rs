//! Task groups: tasks that end together.
//!
//! The group's future is the only owner of its tasks. Whatever way it ends (value, first failure, panic, being dropped) no task of it
//! runs on; and where it ends by itself, every task's future is gone before it answers.

mod state;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;

use crate::cell::OwnerCell;
use crate::task;
use state::{CancelOnDrop, Failure, Shared};

/// Runs `body` with a group to spawn tasks into, and ends when the body and every task have ended.
///
/// The first of them to fail cancels the rest, the body included; what failed is the result, once everything is gone. A panic counts as
/// a failure, and is resumed here. Dropping this future cancels everything.
///
/// # Errors
///
/// The first error of the body or a task.
///
/// # Panics
///
/// If the body or a task does.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
///
/// # oneloop::run(async {
/// let total = oneloop::task_group(async |group| {
///     let one = group.spawn(async { io::Result::Ok(1) });
///     let two = group.spawn(async {
///         oneloop::sleep(Duration::from_millis(1)).await;
///         Ok(2)
///     });
///     Ok(one.await + two.await)
/// });
/// assert_eq!(total.await?, 3);
///
/// let failed: io::Result<()> = oneloop::task_group(async |group| {
///     group.spawn(std::future::pending::<io::Result<()>>());
///     group.spawn(async { Err::<(), _>(io::Error::other("broken")) });
///     std::future::pending().await
/// })
/// .await;
/// assert_eq!(failed.unwrap_err().to_string(), "broken");
/// # io::Result::Ok(())
/// # })??;
/// # std::io::Result::Ok(())
/// ```
pub async fn task_group<T, E, B>(body: B) -> Result<T, E>
where
    B: AsyncFnOnce(TaskGroup<E>) -> Result<T, E>,
    E: 'static,
{
    let group = TaskGroup {
        shared: Rc::new(Shared::new()),
    };
    let members = CancelOnDrop(Rc::clone(&group.shared));
    let shared = &*members.0;
    // Dropped before `members`: the body may look after its tasks in its own drops.
    let mut running_body = pin!(Some(
        AssertUnwindSafe(async { body(group).await }).catch_unwind()
    ));
    let mut value = None;
    poll_fn(|context| {
        shared.set_waker(context.waker());
        if shared.is_ending() {
            let give_up = AssertUnwindSafe(|| running_body.set(None));
            if let Err(panic) = catch_unwind(give_up) {
                shared.fail(Failure::Panic(panic));
            }
        }
        if let Some(body) = running_body.as_mut().as_pin_mut()
            && let Poll::Ready(ended) = body.poll(context)
        {
            running_body.set(None);
            match ended {
                Ok(Ok(output)) => value = Some(output),
                Ok(Err(error)) => shared.fail(Failure::Error(error)),
                Err(panic) => shared.fail(Failure::Panic(panic)),
            }
        }
        if running_body.is_none() && shared.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    match (shared.end(), value) {
        (Some(Failure::Panic(panic)), _) => resume_unwind(panic),
        (Some(Failure::Error(error)), _) => Err(error),
        (None, Some(value)) => Ok(value),
        (None, None) => unreachable!("the body is only given up after a failure"),
    }
}

/// What the body of a [`task_group`] spawns its tasks with. A clone may go into the tasks, to spawn more.
///
/// # Examples
///
/// ```
/// use oneloop::TaskGroup;
///
/// /// Visits a tree of this depth, each node in a task of its own.
/// fn visit(group: &TaskGroup<()>, depth: u32) {
///     for _ in 0..depth {
///         let inner = group.clone();
///         group.spawn(async move {
///             visit(&inner, depth - 1);
///             Ok(())
///         });
///     }
/// }
///
/// # oneloop::run(async {
/// let visited = oneloop::task_group(async |group| {
///     visit(&group, 3);
///     Ok(())
/// });
/// assert_eq!(visited.await, Ok(()));
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub struct TaskGroup<E> {
    shared: Rc<Shared<E>>,
}

impl<E: 'static> TaskGroup<E> {
    /// Spawns a task that belongs to the group. To fail, which ends the group, it returns an error.
    ///
    /// If the group is ending because of a failure, the future is dropped at once.
    ///
    /// # Panics
    ///
    /// If the group has ended, and outside of a running loop.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// oneloop::task_group(async |group| {
    ///     let inner = group.clone();
    ///     group.spawn(async move {
    ///         inner.spawn(async { Ok(()) });
    ///         Ok(())
    ///     });
    ///     std::io::Result::Ok(())
    /// })
    /// .await
    /// # })??;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> GroupTask<T>
    where
        T: 'static,
        F: Future<Output = Result<T, E>> + 'static,
    {
        let outcome = Rc::new(Outcome(OwnerCell::new(Progress::Running(None))));
        let handle = GroupTask {
            outcome: Rc::clone(&outcome),
        };
        let Some(member) = Shared::admit(&self.shared) else {
            assert!(
                self.shared.is_ending(),
                "the task group has ended, and takes no more tasks"
            );
            outcome.set(Progress::Cancelled);
            return handle;
        };
        let number = member.number;
        let outcome = Report(outcome);
        let task = task::spawn(async move {
            // Signs off after the future, and after its outcome is told.
            let member = member;
            let outcome = outcome;
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(value)) => outcome.0.set(Progress::Done(value)),
                Ok(Err(error)) => member.shared.fail(Failure::Error(error)),
                Err(panic) => member.shared.fail(Failure::Panic(panic)),
            }
        });
        self.shared.keep(number, task);
        handle
    }
}

impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").finish_non_exhaustive()
    }
}

/// A task of a group. Awaiting it gives its value; dropping it changes nothing, since the task belongs to the group.
///
/// If the task fails there is no value. Whoever awaits it within the group is cancelled with the rest of it.
///
/// # Panics
///
/// Awaiting panics if the task failed or was cancelled with its group, which only somebody outside of the group can meet, and if the value
/// was taken before.
///
/// # Examples
///
/// ```
/// # oneloop::run(async {
/// let sum = oneloop::task_group(async |group| {
///     let tasks: Vec<_> = (0..4).map(|n| group.spawn(async move { Ok(n * n) })).collect();
///     Ok::<_, ()>(oneloop::join_all(tasks).await.iter().sum::<i32>())
/// });
/// assert_eq!(sum.await, Ok(14));
/// # })?;
/// # std::io::Result::Ok(())
/// ```
pub struct GroupTask<T> {
    outcome: Rc<Outcome<T>>,
}

impl<T> GroupTask<T> {
    /// Whether the task has ended, whatever way.
    ///
    /// # Examples
    ///
    /// ```
    /// # oneloop::run(async {
    /// oneloop::task_group(async |group| {
    ///     let task = group.spawn(async { Ok::<_, ()>(()) });
    ///     assert!(!task.is_finished());
    ///     oneloop::yield_now().await;
    ///     assert!(task.is_finished());
    ///     Ok(())
    /// })
    /// .await
    /// # })?.unwrap();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.outcome
            .0
            .with(|progress| !matches!(progress, Progress::Running(_)))
    }
}

impl<T> Future for GroupTask<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let waker = context.waker().clone();
        let progress = self.outcome.0.with(|progress| match progress {
            Progress::Running(waiter) => Progress::Running(waiter.replace(waker)),
            _ => std::mem::replace(progress, Progress::Taken),
        });
        match progress {
            // What comes back is the waker of an earlier poll, to be dropped out here.
            Progress::Running(_) => Poll::Pending,
            Progress::Done(value) => Poll::Ready(value),
            Progress::Taken => panic!("the group task was awaited before"),
            Progress::Cancelled => panic!("the task failed or was cancelled with its task group"),
        }
    }
}

impl<T> fmt::Debug for GroupTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupTask")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// What a group's task has come to.
enum Progress<T> {
    /// With who awaits it.
    Running(Option<Waker>),
    Done(T),
    Taken,
    Cancelled,
}

struct Outcome<T>(OwnerCell<Progress<T>>);

impl<T> Outcome<T> {
    fn set(&self, new: Progress<T>) {
        let old = self.0.with(|progress| std::mem::replace(progress, new));
        if let Progress::Running(Some(waker)) = old {
            waker.wake();
        }
    }
}

/// The task's side of its outcome: dropped without a value, it was cancelled.
struct Report<T>(Rc<Outcome<T>>);

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        let is_running = |progress: &mut Progress<T>| matches!(progress, Progress::Running(_));
        if self.0.0.with(is_running) {
            self.0.set(Progress::Cancelled);
        }
    }
}
