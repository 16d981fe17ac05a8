//! Task groups: everything in one ends together, whatever ends it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;

use oneloop::{GroupTask, TaskGroup, run, spawn, task_group, yield_now};

use crate::panic_message;

/// Counts how many of its guards are alive.
#[derive(Clone, Default)]
struct Alive(Rc<Cell<u32>>);

struct Guard(Rc<Cell<u32>>);

impl Alive {
    fn guard(&self) -> Guard {
        self.0.set(self.0.get() + 1);
        Guard(Rc::clone(&self.0))
    }

    fn count(&self) -> u32 {
        self.0.get()
    }

    /// A task that goes on until it is cancelled.
    fn stuck<E: 'static>(&self, group: &TaskGroup<E>) -> GroupTask<()> {
        let guard = self.guard();
        group.spawn(async move {
            let _guard = guard;
            pending::<Result<(), E>>().await
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn turns(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn a_group_ends_when_the_last_of_it_does() -> io::Result<()> {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let outcome: Result<&str, ()> = task_group(async |group| {
            for length in [3, 1, 2] {
                let log = Rc::clone(&log);
                group.spawn(async move {
                    turns(length).await;
                    log.borrow_mut().push(length);
                    Ok(())
                });
            }
            Ok("the body's value")
        })
        .await;
        assert_eq!(outcome, Ok("the body's value"));
        assert_eq!(*log.borrow(), [1, 2, 3]);
    })
}

#[test]
fn a_body_may_borrow_and_await_its_tasks() -> io::Result<()> {
    let words = [String::from("one"), String::from("three")];
    run(async {
        let total: Result<usize, ()> = task_group(async |group| {
            let lengths = words.iter().map(|word| {
                let length = word.len();
                group.spawn(async move {
                    turns(length as u32).await;
                    Ok(length)
                })
            });
            let lengths = oneloop::join_all(lengths.collect::<Vec<_>>()).await;
            Ok(lengths.iter().sum())
        })
        .await;
        assert_eq!(total, Ok(8));
    })
}

#[test]
fn an_empty_group_is_its_body() -> io::Result<()> {
    run(async {
        assert_eq!(task_group(async |_| Ok::<_, ()>(7)).await, Ok(7));
        assert_eq!(task_group(async |_| Err::<(), _>(8)).await, Err(8));
    })
}

#[test]
fn the_first_failure_cancels_the_rest_and_the_body() -> io::Result<()> {
    run(async {
        let alive = Alive::default();
        let outcome: Result<(), &str> = task_group(async |group| {
            for _ in 0..10 {
                alive.stuck(&group);
            }
            group.spawn(async {
                turns(2).await;
                Err::<(), _>("the first")
            });
            group.spawn(async {
                turns(3).await;
                Err::<(), _>("too late")
            });
            let _body = alive.guard();
            pending().await
        })
        .await;
        assert_eq!(outcome, Err("the first"));
        assert_eq!(
            alive.count(),
            0,
            "all of it is gone before the group answers"
        );
    })
}

#[test]
fn a_failing_body_cancels_the_tasks() -> io::Result<()> {
    run(async {
        let alive = Alive::default();
        let outcome: Result<(), &str> = task_group(async |group| {
            alive.stuck(&group);
            turns(2).await;
            alive.stuck(&group);
            Err("the body")
        })
        .await;
        assert_eq!((outcome, alive.count()), (Err("the body"), 0));
    })
}

/// What the group's future ends with, and how many guards are alive at that moment.
fn end_of_panicking_group<F>(alive: &Alive, group: F) -> (String, u32)
where
    F: Future<Output = Result<(), &'static str>>,
{
    let mut left = u32::MAX;
    let message = panic_message(|| {
        run(async {
            // Dropped when the panic passes by, before the loop is closed.
            let _look = Look(alive, &mut left);
            let _ = group.await;
        })
    });
    (message, left)
}

struct Look<'a>(&'a Alive, &'a mut u32);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        *self.1 = self.0.count();
    }
}

#[test]
fn a_panic_is_a_failure_and_comes_out_when_all_is_gone() {
    let alive = Alive::default();
    let group = task_group(async |group| {
        alive.stuck(&group);
        yield_now().await;
        panic!("in the body")
    });
    let end = end_of_panicking_group(&alive, group);
    assert_eq!(end, ("in the body".to_owned(), 0));

    let group = task_group(async |group| {
        alive.stuck(&group);
        group.spawn::<(), _>(async { panic!("in a task") });
        let _body = alive.guard();
        pending().await
    });
    let end = end_of_panicking_group(&alive, group);
    assert_eq!(end, ("in a task".to_owned(), 0));
}

#[test]
fn a_panic_while_the_body_is_dropped_outranks_the_error() {
    let alive = Alive::default();
    let group = task_group(async |group| {
        alive.stuck(&group);
        group.spawn(async { Err::<(), _>("an error") });
        alive.stuck(&group);
        let _panics = PanicsOnDrop;
        pending().await
    });
    let mut group = std::pin::pin!(group);
    // Polled on every tick, so that it learns of the failure before its tasks have had the turn at which they are dropped.
    let busy = std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        group.as_mut().poll(context)
    });
    let end = end_of_panicking_group(&alive, busy);
    assert_eq!(end, ("in a drop".to_owned(), 0));
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

#[test]
fn a_dropped_group_cancels_everything() -> io::Result<()> {
    run(async {
        let alive = Alive::default();
        let mut group = Box::pin(task_group(async |group| {
            alive.stuck(&group);
            let _body = alive.guard();
            pending::<Result<(), ()>>().await
        }));
        let limited = oneloop::timeout(std::time::Duration::ZERO, group.as_mut()).await;
        assert!(limited.is_err());
        assert_eq!(alive.count(), 2);
        drop(group);
        assert_eq!(alive.count(), 1, "the body goes at once");
        yield_now().await;
        assert_eq!(alive.count(), 0, "its task at the next turn");
    })
}

#[test]
fn tasks_may_spawn_into_their_group() -> io::Result<()> {
    fn grow(group: &TaskGroup<()>, depth: u32, grown: &Rc<Cell<u32>>) {
        grown.set(grown.get() + 1);
        for _ in 0..depth {
            let (inner, grown) = (group.clone(), Rc::clone(grown));
            group.spawn(async move {
                yield_now().await;
                grow(&inner, depth - 1, &grown);
                Ok(())
            });
        }
    }
    run(async {
        let grown = Rc::new(Cell::new(0));
        let outcome = task_group(async |group| {
            grow(&group, 4, &grown);
            Ok(())
        })
        .await;
        // 1 + 4 (1 + 3 (1 + 2 (1 + 1)))
        assert_eq!((outcome, grown.get()), (Ok(()), 65));
    })
}

#[test]
fn a_group_that_is_ending_drops_what_comes_too_late() -> io::Result<()> {
    run(async {
        let alive = Alive::default();
        let late = alive.clone();
        let outcome: Result<(), &str> = task_group(async |group| {
            let inner = group.clone();
            group.spawn(async move {
                // Runs while this task is dropped, after the other one's failure.
                let _late = SpawnsOnDrop(inner, late);
                pending::<Result<(), &str>>().await
            });
            yield_now().await;
            Err("over")
        })
        .await;
        assert_eq!((outcome, alive.count()), (Err("over"), 0));
    })
}

struct SpawnsOnDrop(TaskGroup<&'static str>, Alive);

impl Drop for SpawnsOnDrop {
    fn drop(&mut self) {
        assert!(self.1.stuck(&self.0).is_finished());
    }
}

#[test]
fn a_group_that_has_ended_takes_no_more_tasks() -> io::Result<()> {
    run(async {
        let kept: Result<TaskGroup<()>, ()> = task_group(async |group| Ok(group)).await;
        let group = kept.expect("a group");
        let message = panic_message(|| group.spawn(async { Ok(()) }));
        assert_eq!(message, "the task group has ended, and takes no more tasks");
    })
}

#[test]
fn an_outsider_who_awaits_a_cancelled_task_is_told() {
    let message = panic_message(|| {
        run(async {
            let outsider: RefCell<Option<oneloop::Task<()>>> = RefCell::default();
            let outcome: Result<(), ()> = task_group(async |group| {
                let task = Alive::default().stuck(&group);
                outsider.replace(Some(spawn(task)));
                turns(3).await;
                Err(())
            })
            .await;
            assert_eq!(outcome, Err(()));
            let outsider = outsider.take().expect("a task");
            outsider.await
        })
    });
    assert_eq!(
        message,
        "the task failed or was cancelled with its task group"
    );
}

#[test]
fn groups_nest() -> io::Result<()> {
    run(async {
        let alive = Alive::default();
        let outcome: Result<(), &str> = task_group(async |outer| {
            let inner_alive = alive.clone();
            outer.spawn(task_group(async move |inner| {
                inner_alive.stuck(&inner);
                inner_alive.stuck(&inner);
                pending::<Result<(), &str>>().await
            }));
            turns(3).await;
            assert_eq!(alive.count(), 2);
            Err("outside")
        })
        .await;
        assert_eq!(outcome, Err("outside"));
        // The inner group's tasks are cancelled by its drop, which the outer one has awaited, and go at the next turn.
        yield_now().await;
        assert_eq!(alive.count(), 0);
    })
}
