//! The loop's threads for calls that block: across a fork, and where the system gives no thread.

use std::num::NonZero;
use std::sync::mpsc;

use oneloop::engine::{Pool, Reactor};
use oneloop::{Builder, spawn, yield_now};

use crate::support::{KINDS, call, real, this_loop};
use crate::{Child, End, exit, in_child};

fn pool(limit: usize) -> Pool {
    Pool::new(NonZero::new(limit).expect("not zero"), "a-pool-thread")
}

#[test]
fn a_child_has_threads_of_its_own_and_is_told_of_the_lost_ones() {
    for &kind in KINDS {
        let end = in_child(|| {
            let pool = pool(1);
            let (begin, begun) = mpsc::channel();
            let (end, ended) = mpsc::channel();
            let mut child = None;
            let answers = Builder::new().driver(kind).run(async {
                let running = spawn(pool.run(move || {
                    begin.send(()).expect("a test that listens");
                    ended.recv().is_ok()
                }));
                let queued = spawn(pool.run(|| "queued"));
                let done = pool.run(|| "never begun, and given up in both");
                yield_now().await;
                begun.recv().expect("begun");
                child = Child::fork_here();
                drop(done);
                if child.is_some() {
                    end.send(()).expect("a call");
                }
                let fresh = pool.run(|| "fresh").await;
                (running.await, queued.await, fresh)
            });
            let (running, queued, fresh) = answers.expect("a run");
            assert_eq!(fresh.expect("an answer"), "fresh");
            let Some(child) = child else {
                let lost = "the thread of this call was lost when the process was forked";
                assert_eq!(running.expect_err("lost").to_string(), lost);
                assert_eq!(queued.expect_err("lost").to_string(), lost);
                exit(true);
            };
            assert!(running.expect("an answer"));
            assert_eq!(queued.expect("an answer"), "queued");
            assert_eq!(child.wait(), End::Well);
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn a_childs_loop_tells_those_who_wait_for_its_own_pool() {
    for &kind in KINDS {
        let end = in_child(|| {
            let event_loop = real(kind);
            event_loop.push(call(|event_loop| {
                let (begin, begun) = mpsc::channel();
                let (end, ended) = mpsc::channel::<()>();
                let answer = event_loop.pool().run(move || {
                    begin.send(()).expect("a test that listens");
                    ended.recv().is_ok()
                });
                spawn(async move {
                    let answer = answer.await;
                    this_loop().expect("the loop").stop();
                    // Only the child gets here: the parent's call waits for a word that never comes.
                    assert!(answer.is_err());
                    drop(end);
                    exit(true);
                })
                .detach();
                begun.recv().expect("begun");
                event_loop.stop();
            }));
            event_loop.run().expect("a run");
            // One more tick, for the task to wait before the fork.
            event_loop.stop();
            event_loop.run().expect("a run");
            let child = Child::fork(|| {
                event_loop.run().expect("a run");
                panic!("nobody was told");
            });
            assert_eq!(child.wait(), End::Well);
            event_loop.close().expect("closing");
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[cfg(target_os = "linux")] // elsewhere the limit of memory is none of the stacks'
#[test]
fn without_a_thread_the_answer_is_an_error_and_later_ones_are_served() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let end = in_child(|| {
        let run = |answer| oneloop::run(answer).expect("a run");
        let pool = pool(2);
        let before = getrlimit(Resource::As);
        let mut starved = before;
        starved.current = Some(1 << 20);
        setrlimit(Resource::As, starved).expect("a limit");
        let refused = pool.run(|| 1);
        setrlimit(Resource::As, before).expect("a limit");
        let refusal = run(refused).expect_err("no thread");
        assert_eq!(refusal.raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(run(pool.run(|| 2)).expect("an answer"), 2);
    });
    assert_eq!(end, End::Well);
}
