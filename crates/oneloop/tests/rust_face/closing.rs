//! What a run leaves behind: nothing. Every task is dropped before `run` returns, on its thread, whatever it does in its drop.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use oneloop::{Builder, Handle, Task, run, sleep, spawn, task_group, timeout, yield_now};

use crate::support::KINDS;

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn every_task_is_dropped_on_this_thread() -> io::Result<()> {
    for &kind in KINDS {
        let (here, drops) = (std::thread::current().id(), Rc::new(Cell::new(0)));
        let guard = || {
            let drops = Rc::clone(&drops);
            OnDrop(move || {
                assert_eq!(std::thread::current().id(), here);
                drops.set(drops.get() + 1);
            })
        };
        let kept: RefCell<Option<Task<()>>> = RefCell::default();
        Builder::new().driver(kind).run(async {
            for begun in [true, false] {
                for _ in 0..100 {
                    let guard = guard();
                    spawn(async move {
                        let _guard = guard;
                        sleep(Duration::from_secs(3600)).await;
                    })
                    .detach();
                }
                if begun {
                    yield_now().await;
                }
            }
            let guard = guard();
            kept.replace(Some(spawn(async move {
                let _guard = guard;
                pending().await
            })));
        })?;
        assert_eq!(drops.get(), 201);
        assert!(kept.take().is_some_and(|task| task.is_finished()));
    }
    Ok(())
}

#[test]
fn a_task_that_spawns_in_its_drop_does_not_keep_the_loop_open() -> io::Result<()> {
    /// Spawns another of its kind for as long as it may.
    struct Hydra {
        heads: Rc<Cell<u32>>,
        left: u32,
    }

    impl Drop for Hydra {
        fn drop(&mut self) {
            self.heads.set(self.heads.get() + 1);
            if self.left > 0 {
                let next = Hydra {
                    heads: Rc::clone(&self.heads),
                    left: self.left - 1,
                };
                let refused = spawn(async move {
                    let _next = next;
                    unreachable!("a closed loop runs nothing");
                });
                assert!(refused.is_finished());
                refused.detach();
            }
        }
    }

    let heads = Rc::new(Cell::new(0));
    run(async {
        let hydra = Hydra {
            heads: Rc::clone(&heads),
            left: 10,
        };
        spawn(async move {
            let _hydra = hydra;
            pending::<()>().await;
        })
        .detach();
        yield_now().await;
    })?;
    assert_eq!(heads.get(), 11);
    Ok(())
}

#[test]
fn everything_may_be_called_in_a_drop_while_the_loop_closes() -> io::Result<()> {
    let called = Rc::new(Cell::new(false));
    let flag = Rc::clone(&called);
    run(async move {
        let guard = OnDrop(move || {
            let handle = Handle::current();
            assert!(oneloop::now() < oneloop::Instant::FAR_FUTURE);
            assert!(run(async {}).is_err(), "this loop is current still");
            drop((
                sleep(Duration::ZERO),
                timeout(Duration::ZERO, pending::<()>()),
            ));
            // Accepted or refused: it does not run, and it does not stay.
            drop(handle.spawn(|| async { unreachable!() }));
            handle.wake();
            flag.set(true);
        });
        spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        })
        .detach();
        yield_now().await;
    })?;
    assert!(called.get());
    Ok(())
}

#[test]
fn the_main_future_is_dropped_while_the_loop_still_spawns() -> io::Result<()> {
    let ran = Rc::new(Cell::new(false));
    let theirs = Rc::clone(&ran);
    run(async {
        // Two futures: the one that ends the run, and one beside it that is dropped in the middle.
        let guard = OnDrop(move || {
            let theirs = Rc::clone(&theirs);
            spawn(async move { theirs.set(true) }).detach();
        });
        let _ = timeout(Duration::ZERO, async move {
            let _guard = guard;
            pending::<()>().await;
        })
        .await;
        yield_now().await;
        assert!(ran.get());
    })
}

#[test]
fn a_group_is_dropped_with_its_run() -> io::Result<()> {
    let drops = Rc::new(Cell::new(0));
    let theirs = Rc::clone(&drops);
    run(async {
        spawn(async move {
            let outcome: Result<(), ()> = task_group(async |group| {
                for _ in 0..3 {
                    let drops = Rc::clone(&theirs);
                    let guard = OnDrop(move || drops.set(drops.get() + 1));
                    group.spawn(async move {
                        let _guard = guard;
                        pending::<Result<(), ()>>().await
                    });
                }
                pending().await
            })
            .await;
            unreachable!("{outcome:?}");
        })
        .detach();
        yield_now().await;
        yield_now().await;
    })?;
    assert_eq!(drops.get(), 3);
    Ok(())
}
