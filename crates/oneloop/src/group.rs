//! Task groups: tasks that end together.
//!
//! The group's future is the only owner of its tasks. Whatever way it ends (value, first failure, panic, being dropped) no task of it
//! runs on; and where it ends by itself, every task's future is gone before it answers.
//!
//! A failure acts at once: the failing task cancels the others and wakes the group, whose next poll drops the body. What a task leaves
//! behind when its future is dropped, finished or not, is a `Member`'s signing off, and the last one to do so wakes the group again.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use slab::Slab;

use crate::cell::OwnerCell;
use crate::task::{self, Task};

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

/// Why a group ends early.
enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// What the group's future, its handles and its tasks share.
struct Shared<E> {
    state: OwnerCell<State<E>>,
}

struct State<E> {
    /// A number a task, from its admission until its future is dropped; `None` once it is cancelled.
    tasks: Slab<Option<Task<()>>>,
    phase: Phase<E>,
    /// The group's future.
    waker: Option<Waker>,
}

enum Phase<E> {
    Open,
    /// Everything is cancelled; `None` if that is because the group's future was dropped.
    Ending(Option<Failure<E>>),
    Ended,
}

impl<E> Shared<E> {
    fn new() -> Self {
        Self {
            state: OwnerCell::new(State {
                tasks: Slab::new(),
                phase: Phase::Open,
                waker: None,
            }),
        }
    }

    /// A place for one more task, if the group is open.
    fn admit(this: &Rc<Self>) -> Option<Member<E>> {
        let number = this.state.with(|state| match state.phase {
            Phase::Open => Some(state.tasks.insert(None)),
            _ => None,
        })?;
        Some(Member {
            shared: Rc::clone(this),
            number,
        })
    }

    fn keep(&self, number: usize, task: Task<()>) {
        // On a closed loop the task is dropped by now, and has signed off.
        let gone = self.state.with(|state| match state.tasks.get_mut(number) {
            Some(place) => place.replace(task),
            None => Some(task),
        });
        drop(gone);
    }

    fn is_empty(&self) -> bool {
        self.state.with(|state| state.tasks.is_empty())
    }

    fn is_ending(&self) -> bool {
        self.state
            .with(|state| matches!(state.phase, Phase::Ending(_)))
    }

    fn set_waker(&self, waker: &Waker) {
        let waker = waker.clone();
        let old = self.state.with(|state| state.waker.replace(waker));
        drop(old);
    }

    /// Ends the group: cancels every task and wakes the group's future. The first failure counts; but a panic, which only the drop of the
    /// body can add, outranks an error.
    fn fail(&self, failure: Failure<E>) {
        let unheard = self.state.with(|state| match &mut state.phase {
            Phase::Open => {
                state.phase = Phase::Ending(Some(failure));
                None
            }
            Phase::Ending(Some(first @ Failure::Error(_)))
                if matches!(failure, Failure::Panic(_)) =>
            {
                Some(std::mem::replace(first, failure))
            }
            _ => Some(failure),
        });
        drop(unheard);
        self.cancel_tasks();
        self.wake();
    }

    fn cancel_tasks(&self) {
        let tasks: Vec<Task<()>> = self.state.with(|state| {
            let tasks = state.tasks.iter_mut();
            tasks.filter_map(|(_, task)| task.take()).collect()
        });
        drop(tasks);
    }

    fn wake(&self) {
        if let Some(waker) = self.state.with(|state| state.waker.take()) {
            waker.wake();
        }
    }

    /// Closes the group when it is over.
    fn end(&self) -> Option<Failure<E>> {
        let phase = self
            .state
            .with(|state| std::mem::replace(&mut state.phase, Phase::Ended));
        match phase {
            Phase::Ending(failure) => failure,
            Phase::Open | Phase::Ended => None,
        }
    }
}

/// One task's membership, from its admission until its future is dropped.
struct Member<E> {
    shared: Rc<Shared<E>>,
    number: usize,
}

impl<E> Drop for Member<E> {
    fn drop(&mut self) {
        let task = self
            .shared
            .state
            .with(|state| state.tasks.try_remove(self.number));
        drop(task);
        if self.shared.is_empty() {
            self.shared.wake();
        }
    }
}

/// The group's future, as far as its tasks depend on it.
struct CancelOnDrop<E>(Rc<Shared<E>>);

impl<E> Drop for CancelOnDrop<E> {
    fn drop(&mut self) {
        self.0.state.with(|state| {
            if matches!(state.phase, Phase::Open) {
                state.phase = Phase::Ending(None);
            }
        });
        self.0.cancel_tasks();
    }
}
