//! What a task group's future, its handles and its tasks share: who is in the group, and how it ends.
//!
//! A failure acts at once: the failing task cancels the others and wakes the group, whose next poll drops the body. What a task leaves
//! behind when its future is dropped, finished or not, is a [`Member`]'s signing off, and the last one to do so wakes the group again.

use std::any::Any;
use std::rc::Rc;
use std::task::Waker;

use slab::Slab;

use crate::cell::OwnerCell;
use crate::task::Task;

/// Why a group ends early.
pub(super) enum Failure<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// What the group's future, its handles and its tasks share.
pub(super) struct Shared<E> {
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
    pub(super) fn new() -> Self {
        Self {
            state: OwnerCell::new(State {
                tasks: Slab::new(),
                phase: Phase::Open,
                waker: None,
            }),
        }
    }

    /// A place for one more task, if the group is open.
    pub(super) fn admit(this: &Rc<Self>) -> Option<Member<E>> {
        let number = this.state.with(|state| match state.phase {
            Phase::Open => Some(state.tasks.insert(None)),
            _ => None,
        })?;
        Some(Member {
            shared: Rc::clone(this),
            number,
        })
    }

    pub(super) fn keep(&self, number: usize, task: Task<()>) {
        // On a closed loop the task is dropped by now, and has signed off.
        let gone = self.state.with(|state| match state.tasks.get_mut(number) {
            Some(place) => place.replace(task),
            None => Some(task),
        });
        drop(gone);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.with(|state| state.tasks.is_empty())
    }

    pub(super) fn is_ending(&self) -> bool {
        self.state
            .with(|state| matches!(state.phase, Phase::Ending(_)))
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let waker = waker.clone();
        let old = self.state.with(|state| state.waker.replace(waker));
        drop(old);
    }

    /// Ends the group: cancels every task and wakes the group's future. The first failure counts; but a panic, which only the drop of the
    /// body can add, outranks an error.
    pub(super) fn fail(&self, failure: Failure<E>) {
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
    pub(super) fn end(&self) -> Option<Failure<E>> {
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
pub(super) struct Member<E> {
    pub(super) shared: Rc<Shared<E>>,
    pub(super) number: usize,
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
pub(super) struct CancelOnDrop<E>(pub(super) Rc<Shared<E>>);

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
