//! Fork with a loop open: the child goes on with a set of its own, the parent does not notice; a child that lost the loop's thread is told.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
#[cfg(target_os = "linux")]
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[cfg(target_os = "linux")]
use oneloop::engine::Reactor;
use oneloop::engine::{Direction, Kind, Place};
use oneloop::{Builder, Handle, LoopClosed, join_all, sleep, spawn, yield_now};

use crate::support::{KINDS, Loop, Watch, call, fail, real, say, says};
#[cfg(target_os = "linux")]
use crate::support::{adopt_shared, this_loop};
use crate::{Child, End, exit, in_child};

fn on_every_driver(test: impl Fn(Kind)) {
    for &kind in KINDS {
        // In a child of its own, since a fork copies whatever other tests are doing.
        assert_eq!(in_child(|| test(kind)), End::Well, "{kind:?}");
    }
}

#[test]
fn both_sides_go_on_with_the_tasks_that_they_have() {
    on_every_driver(|kind| {
        let mut child = None;
        let output = Builder::new().driver(kind).run(async {
            // Sleeping across the fork, on both sides.
            let sleepers = (0..10).map(|number| {
                spawn(async move {
                    sleep(Duration::from_millis(number)).await;
                    number
                })
            });
            let sleepers: Vec<_> = sleepers.collect();
            yield_now().await;
            let handle = Handle::current();
            child = Child::fork_here();
            // The loop can still be woken from other threads, which takes a descriptor of its own in the child.
            let other = thread::spawn(move || handle.spawn(|| async { 7 })?.join());
            assert_eq!(join_all(sleepers).await, Vec::from_iter(0..10));
            while !other.is_finished() {
                sleep(Duration::from_millis(1)).await;
            }
            other.join().expect("a thread")
        });
        let output = output.expect("a run");
        let Some(child) = child else {
            exit(output == Ok(7));
        };
        assert_eq!(output, Ok(7));
        assert_eq!(child.wait(), End::Well);
    });
}

/// Runs until something is said.
fn run_until_said(event_loop: &Rc<Loop>) -> Vec<String> {
    let deadline = event_loop.host().monotonic_after(Duration::from_secs(20));
    let watchdog = event_loop.arm(deadline, fail("nothing was said"));
    let mut said = Vec::new();
    while said.is_empty() {
        event_loop.push(call(|_| {}));
        event_loop.stop();
        event_loop.run().expect("a tick");
        said = event_loop.host().log.take();
    }
    event_loop.cancel(watchdog);
    said
}

#[test]
fn the_child_watches_in_a_set_of_its_own_and_the_parents_stays_whole() {
    on_every_driver(|kind| {
        let event_loop = real(kind);
        let (reader, mut writer) = UnixStream::pair().expect("a pair");
        let watched = event_loop.watch(reader.as_raw_fd(), Direction::Read, says("inherited"));
        assert!(watched.is_ok());
        event_loop.push(say("before"));
        assert_eq!(run_until_said(&event_loop), ["before"]);

        let (mut told, mut tell) = UnixStream::pair().expect("a pair");
        let child = Child::fork(|| {
            // What it inherited works, and so does what is new.
            writer.write_all(b"x").expect("a byte");
            assert_eq!(run_until_said(&event_loop), ["inherited"]);
            assert_eq!(event_loop.host().after_fork.get(), 1);
            (&reader).read_exact(&mut [0]).expect("the byte");
            assert!(
                event_loop
                    .unwatch(reader.as_raw_fd(), Direction::Read)
                    .is_some()
            );
            let (own, mut other) = UnixStream::pair().expect("a pair");
            let watched = event_loop.watch(own.as_raw_fd(), Direction::Read, says("own"));
            assert!(watched.is_ok());
            other.write_all(b"x").expect("a byte");
            assert_eq!(run_until_said(&event_loop), ["own"]);
            event_loop.close().expect("closing");
            told.read_exact(&mut [0]).expect("the parent's word");
        });
        // The child removes and closes while the parent goes on with its own set.
        tell.write_all(b"x").expect("a word");
        assert_eq!(child.wait(), End::Well);
        writer.write_all(b"y").expect("a byte");
        assert_eq!(run_until_said(&event_loop), ["inherited"]);
        assert_eq!(event_loop.host().after_fork.get(), 0);
        assert!(event_loop.push_remote(say("woken")).is_ok());
        event_loop.close().expect("closing");
    });
}

#[test]
fn a_fork_in_the_middle_of_an_entry() {
    on_every_driver(|kind| {
        let event_loop = real(kind);
        let children = Rc::new(std::cell::RefCell::new(Vec::new()));
        let (reader, mut writer) = UnixStream::pair().expect("a pair");
        let forks = Rc::clone(&children);
        // The watch of a level-triggered descriptor is still to run on both sides.
        let watch = Watch::new(move || {
            let child = Child::fork_here();
            let side = if child.is_some() { "parent" } else { "child" };
            forks.borrow_mut().extend(child);
            say(side)
        });
        let watched = event_loop.watch(reader.as_raw_fd(), Direction::Read, watch);
        assert!(watched.is_ok());
        writer.write_all(b"x").expect("a byte");
        let said = run_until_said(&event_loop);
        let Some(child) = children.borrow_mut().pop() else {
            // The child, by now: its place is what it was, and its loop goes on.
            assert_eq!(said, ["child"]);
            assert!(
                event_loop
                    .unwatch(reader.as_raw_fd(), Direction::Read)
                    .is_some()
            );
            event_loop.push(say("goes on"));
            assert_eq!(run_until_said(&event_loop), ["goes on"]);
            assert_eq!(event_loop.place(), Place::Stopped);
            exit(true);
        };
        assert_eq!(said, ["parent"]);
        assert_eq!(child.wait(), End::Well);
    });
}

#[test]
fn a_fork_by_another_thread_leaves_the_child_without_that_loop() {
    on_every_driver(|kind| {
        let (send, receive) = mpsc::channel();
        let running = thread::spawn(move || {
            Builder::new().driver(kind).run(async move {
                let (done, wait) = mpsc::channel();
                send.send((Handle::current(), done)).expect("a thread");
                while wait.try_recv() != Ok(()) {
                    sleep(Duration::from_millis(1)).await;
                }
            })
        });
        let (handle, done) = receive.recv().expect("a loop");
        let stuck = handle.spawn(std::future::pending::<()>).expect("open");
        let finished = handle.spawn(|| async { 7 }).expect("open");
        while !finished.is_finished() {
            thread::yield_now();
        }

        // In the child the loop's thread does not exist: nobody would ever answer, so the answer comes from the handle.
        let (handle_there, kept) = (handle.clone(), finished);
        let child = Child::fork(move || {
            assert_eq!(handle_there.spawn(|| async {}).map(drop), Err(LoopClosed));
            handle_there.wake();
            assert_eq!(kept.join(), Ok(7), "what was done is done");
            assert_eq!(stuck.join(), Err(LoopClosed));
            // A loop of its own is another matter.
            let output = Builder::new().driver(kind).run(async {
                sleep(Duration::from_millis(1)).await;
                let handle = Handle::current();
                thread::spawn(move || handle.spawn(|| async { 8 })?.join())
            });
            drop(output.expect("a run"));
        });
        assert_eq!(child.wait(), End::Well);

        // The parent's loop has not noticed anything.
        let answer = handle.spawn(|| async { 9 }).expect("open");
        assert_eq!(answer.join(), Ok(9));
        done.send(()).expect("a loop");
        running.join().expect("a thread").expect("a run");
    });
}

/// As a Python program may do it: there the loop is an object that any thread can get hold of.
#[cfg(target_os = "linux")] // whether a thread sleeps
#[test]
fn a_loop_whose_thread_was_lost_while_it_waited_can_be_run_by_the_child() {
    on_every_driver(|kind| {
        let (send, receive) = mpsc::channel();
        let runner = thread::spawn(move || {
            let event_loop = real(kind);
            event_loop.push(call(move |event_loop| {
                let address = Rc::as_ptr(event_loop).expose_provenance();
                let remote = Arc::clone(event_loop.remote());
                let thread = rustix::thread::gettid().as_raw_nonzero();
                send.send((address, remote, thread)).expect("a thread");
            }));
            event_loop.run().expect("a run");
        });
        let (address, remote, thread) = receive.recv().expect("a loop");
        while !is_asleep(thread.get()) {
            thread::yield_now();
        }
        let child = Child::fork(|| run_inherited(address));
        assert_eq!(child.wait(), End::Well);
        // In a new thread of the child, which may well get the memory of the lost one and be mistaken for it.
        let child = Child::fork(|| {
            let runner = thread::spawn(move || run_inherited(address));
            runner.join().expect("a thread");
        });
        assert_eq!(child.wait(), End::Well);
        let stopped = remote.call(Box::new(|| this_loop().expect("the loop").stop()));
        assert!(stopped.is_ok());
        runner.join().expect("a thread");
    });
}

/// In a child without the thread that made this loop and ran it.
#[cfg(target_os = "linux")]
fn run_inherited(address: usize) {
    let event_loop: *const Loop = std::ptr::with_exposed_provenance(address);
    #[expect(
        unsafe_code,
        reason = "a Python object outlives the thread that used it"
    )]
    // SAFETY: the thread that owns the `Rc` does not exist in this process, so nobody else uses or drops the loop.
    let event_loop = unsafe {
        Rc::increment_strong_count(event_loop);
        Rc::from_raw(event_loop)
    };
    adopt_shared(&event_loop);
    event_loop.push(call(|event_loop| {
        event_loop.host().log.say("run by the child");
        event_loop.stop();
    }));
    event_loop.run().expect("a run");
    assert_eq!(event_loop.host().log.take(), ["run by the child"]);
    assert_eq!(event_loop.place(), Place::Stopped);
    event_loop.close().expect("closing");
}

#[cfg(target_os = "linux")]
fn is_asleep(thread: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    // The state is the field after the name, which is in parentheses.
    let status = status.expect("a thread's status");
    status
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('S'))
}
