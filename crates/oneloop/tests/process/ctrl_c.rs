//! Ctrl-C as an error: nothing is missed between a look and a wait, and SIGINT is given back afterwards.

use std::cell::Cell;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oneloop::{Builder, Handle, sleep, spawn, yield_now};

use crate::support::KINDS;
use crate::{Child, End, in_child, open_descriptors};

const KILLED: End = End::Signal(libc::SIGINT);

fn builder() -> Builder {
    Builder::new().ctrl_c(true)
}

/// Sends SIGINT to this thread; it has been handled when this returns.
fn interrupt() {
    // SAFETY: a system call with a valid signal.
    #[expect(unsafe_code, reason = "rustix has no raise")]
    let result = unsafe { libc::raise(libc::SIGINT) };
    assert_eq!(result, 0);
}

/// Sets what SIGINT does.
fn on_interrupt(handler: libc::sighandler_t) {
    // SAFETY: the handlers of these tests only count.
    #[expect(unsafe_code, reason = "rustix has no signal handlers")]
    let result = unsafe { libc::signal(libc::SIGINT, handler) };
    assert_ne!(result, libc::SIG_ERR);
}

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn it_ends_a_run_that_waits_and_drops_everything_first() {
    for &kind in KINDS {
        let end = in_child(|| {
            let drops = Rc::new(Cell::new(0));
            let guard = || CountsDrop(Rc::clone(&drops));
            let (send, started) = mpsc::channel::<Handle>();
            thread::spawn(move || {
                let handle = started.recv().expect("a loop");
                // Its own thread takes the signal, the loop's thread sleeps or is about to.
                handle
                    .spawn(|| async {})
                    .expect("open")
                    .join()
                    .expect("a turn");
                interrupt();
            });
            let result = builder().driver(kind).run(async {
                let (main, task) = (guard(), guard());
                spawn(async move {
                    let _task = task;
                    pending::<()>().await;
                })
                .detach();
                send.send(Handle::current()).expect("a thread");
                let _main = main;
                pending::<()>().await;
            });
            let error = result.expect_err("Ctrl-C");
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            assert_eq!(error.to_string(), "interrupted by Ctrl-C");
            assert_eq!(drops.get(), 2);
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

struct CountsDrop(Rc<Cell<u32>>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn one_that_comes_before_the_wait_is_not_missed() {
    for &kind in KINDS {
        let end = in_child(|| {
            let result = builder().driver(kind).run(async {
                interrupt(); // handled now; the loop looks at its queue, and then waits for ever
                pending::<()>().await;
            });
            let kind = result.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Interrupted));
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn it_ends_a_run_that_is_busy() {
    let end = in_child(|| {
        let result = builder().run(async {
            interrupt();
            loop {
                yield_now().await;
            }
        });
        let kind = result.map(|never: std::convert::Infallible| match never {});
        let kind = kind.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Interrupted));
    });
    assert_eq!(end, End::Well);
}

#[test]
fn one_that_comes_when_the_future_is_done_is_too_late() {
    let end = in_child(|| {
        let result = builder().run(async {
            interrupt();
            7
        });
        assert_eq!(result.expect("a value"), 7);
    });
    assert_eq!(end, End::Well);
}

#[test]
fn the_second_one_ends_a_process_that_is_stuck() {
    let end = in_child(|| {
        let _ = builder().run(async {
            interrupt();
            interrupt();
            unreachable!("the process is gone");
        });
    });
    assert_eq!(end, KILLED);
}

#[test]
fn afterwards_it_does_what_it_did_before() {
    // By default.
    let end = in_child(|| {
        builder().run(async {}).expect("a run");
        interrupt();
    });
    assert_eq!(end, KILLED);
    let end = in_child(|| {
        let result = builder().run(async {
            interrupt();
            pending::<()>().await;
        });
        assert!(result.is_err());
        interrupt();
    });
    assert_eq!(end, KILLED);
    // By a handler of the program's own.
    let end = in_child(|| {
        on_interrupt(count as *const () as libc::sighandler_t);
        let result = builder().run(async {
            interrupt();
            pending::<()>().await;
        });
        assert!(result.is_err());
        assert_eq!(INTERRUPTS.load(Ordering::Relaxed), 0);
        interrupt();
        assert_eq!(INTERRUPTS.load(Ordering::Relaxed), 1);
    });
    assert_eq!(end, End::Well);
}

#[test]
fn a_handler_that_is_set_during_the_run_stays() {
    let end = in_child(|| {
        builder()
            .run(async { on_interrupt(count as *const () as libc::sighandler_t) })
            .expect("a run");
        interrupt();
        assert_eq!(INTERRUPTS.load(Ordering::Relaxed), 1);
    });
    assert_eq!(end, End::Well);
}

#[test]
fn a_process_that_ignores_it_goes_on_ignoring_it() {
    let end = in_child(|| {
        on_interrupt(libc::SIG_IGN);
        let result = builder().run(async {
            interrupt();
            interrupt();
            sleep(Duration::from_millis(1)).await;
            7
        });
        assert_eq!(result.expect("a value"), 7);
        interrupt();
    });
    assert_eq!(end, End::Well);
}

#[test]
fn unless_it_is_asked_for_nothing_is_changed() {
    let end = in_child(|| {
        let _ = oneloop::run(async {
            interrupt();
            unreachable!("the process is gone");
        });
    });
    assert_eq!(end, KILLED);
}

#[test]
fn one_loop_at_a_time_may_have_it() {
    let end = in_child(|| {
        builder()
            .run(async {
                let other = thread::spawn(|| builder().run(async {}).map_err(|error| error.kind()));
                let result = other.join().expect("a thread");
                assert_eq!(result, Err(ErrorKind::ResourceBusy));
                // Without it the other thread may run as many loops as it likes.
                let other = thread::spawn(|| oneloop::run(async {}).is_ok());
                assert!(other.join().expect("a thread"));
            })
            .expect("a run");
        builder().run(async {}).expect("another run, later");
    });
    assert_eq!(end, End::Well);
}

#[test]
fn it_leaves_no_descriptor() {
    let end = in_child(|| {
        let before = open_descriptors();
        for _ in 0..3 {
            builder().run(async {}).expect("a run");
        }
        assert_eq!(open_descriptors(), before);
    });
    assert_eq!(end, End::Well);
}

#[test]
fn a_forked_childs_is_its_own_and_the_parents_is_not_the_childs() {
    let end = in_child(|| {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut going_on = None;
        let result = builder().run(async {
            // One child is interrupted, which its parent does not notice.
            let interrupted = Child::fork(interrupt);
            assert_eq!(interrupted.wait(), KILLED);
            sleep(Duration::from_millis(1)).await;
            // Another goes on with its copy of the loop, while the parent is interrupted.
            let Some(child) = Child::fork_here() else {
                theirs.read_exact(&mut [0]).expect("the parent's word");
                for _ in 0..3 {
                    sleep(Duration::from_millis(1)).await;
                }
                return 7;
            };
            going_on = Some(child);
            interrupt();
            pending().await
        });
        match going_on {
            Some(child) => {
                assert_eq!(
                    result.map_err(|error| error.kind()),
                    Err(ErrorKind::Interrupted)
                );
                ours.write_all(b"x").expect("a word");
                assert_eq!(child.wait(), End::Well);
            }
            None => assert_eq!(result.expect("the child is not interrupted"), 7),
        }
    });
    assert_eq!(end, End::Well);
}
