//! When the driver is asked, and how many system calls that costs: counted, not timed.
//!
//! With work ready a poll may wait for 100 µs, but never on the first tick of a run, nor after anything was registered or released.

use std::rc::Rc;
use std::time::Duration;

use oneloop::engine::{Call, Direction, Reactor};

use crate::support::{Loop, Rig, call, rig, say, says, this_loop};

const NOW: Option<Duration> = Some(Duration::ZERO);

/// Entries that follow one another, one a tick, and let this much time pass each. The last one stops the loop.
fn push_chain(event_loop: &Rc<Loop>, length: u32, each: Duration) {
    event_loop.push(call(move |event_loop| {
        if let Some(clock) = &event_loop.host().clock {
            clock.advance(each);
        }
        match length {
            1 => event_loop.stop(),
            _ => push_chain(event_loop, length - 1, each),
        }
    }));
}

fn run(rig: &Rig) -> Vec<Option<Duration>> {
    rig.event_loop.run().expect("a run");
    let waits = rig.script.waits();
    assert_eq!(
        rig.script.syscalls(),
        rig.script.take_calls().len(),
        "each call of these runs is one system call"
    );
    waits
}

#[test]
fn ready_work_in_no_time_polls_once() {
    let rig = rig();
    push_chain(&rig.event_loop, 1_000, Duration::ZERO);
    assert_eq!(run(&rig), [NOW]);
}

#[test]
fn ready_work_polls_every_hundred_microseconds() {
    let rig = rig();
    push_chain(&rig.event_loop, 30, Duration::from_micros(10));
    // On the first, the 11th and the 21st tick.
    assert_eq!(run(&rig), [NOW; 3]);
}

#[test]
fn slow_work_polls_on_every_tick() {
    let rig = rig();
    push_chain(&rig.event_loop, 30, Duration::from_micros(100));
    assert_eq!(run(&rig), [NOW; 30]);
}

#[test]
fn a_time_of_the_hosts_own_is_read_on_every_tick_and_no_poll_is_skipped() {
    let rig = rig();
    rig.event_loop.host().keeps_own_time.set(true);
    push_chain(&rig.event_loop, 30, Duration::ZERO);
    assert_eq!(run(&rig), [NOW; 30]);
    assert_eq!(rig.event_loop.host().clock_reads.get(), 30);
}

#[test]
fn without_timers_the_clock_is_not_read() {
    let rig = rig();
    push_chain(&rig.event_loop, 30, Duration::from_micros(100));
    assert_eq!(run(&rig), [NOW; 30]);
    assert_eq!(rig.event_loop.host().clock_reads.get(), 0);
}

#[test]
fn the_first_tick_of_a_run_polls() {
    let rig = rig();
    for _ in 0..3 {
        push_chain(&rig.event_loop, 1, Duration::ZERO);
        rig.event_loop.run().expect("a run");
    }
    assert_eq!(rig.script.waits(), [NOW; 3]);
}

#[test]
fn a_stopped_loop_polls_without_waiting() {
    let rig = rig();
    assert_eq!(rig.tick(), Vec::<String>::new());
    assert_eq!(rig.script.calls(), [Call::Wait(NOW)]);
}

#[test]
fn watching_a_descriptor_makes_the_next_tick_poll() {
    let rig = rig();
    rig.script.deliver([]);
    rig.event_loop.push(call(|event_loop| {
        let watched = event_loop.watch(5, Direction::Read, says("io").patient());
        assert!(watched.is_ok());
        event_loop.push(call(|event_loop| {
            event_loop.host().log.say("second");
            event_loop.push(call(|event_loop| event_loop.stop()));
        }));
    }));
    rig.event_loop.run().expect("a run");
    // The first tick, and the one after the watch; the third is free again.
    assert_eq!(rig.script.waits(), [NOW; 2]);
}

#[test]
fn registering_and_releasing_make_the_next_tick_poll() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let token = event_loop
            .register(std::os::fd::AsRawFd::as_raw_fd(&ours))
            .expect("a registration");
        event_loop.push(call(move |event_loop| {
            event_loop.release(token, ours.into());
            event_loop.push(call(|event_loop| {
                event_loop.push(call(|event_loop| event_loop.stop()));
            }));
        }));
    }));
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 3]);
}

/// Timers that are due when they are set, one a tick, in no time. The last one stops the loop.
fn arm_chain(event_loop: &Rc<Loop>, length: u32) {
    let now = event_loop.host().monotonic_after(Duration::ZERO);
    let step = call(move |event_loop: &Rc<Loop>| match length {
        1 => event_loop.stop(),
        _ => arm_chain(event_loop, length - 1),
    });
    event_loop.arm(now, step);
}

#[test]
fn timers_that_overtake_nothing_poll_no_more_often_than_ready_work() {
    let rig = rig();
    arm_chain(&rig.event_loop, 1_000);
    assert_eq!(run(&rig), [NOW]);
}

#[test]
fn timers_that_overtake_nothing_come_after_what_was_ready() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        event_loop.arm(
            event_loop.host().monotonic_after(Duration::ZERO),
            say("timer"),
        );
        event_loop.push(say("ready"));
        event_loop.push(call(|event_loop| event_loop.stop()));
    }));
    assert_eq!(run(&rig), [NOW]);
    assert_eq!(rig.log.take(), ["ready", "timer"]);
}

#[test]
fn a_cancelled_timer_at_the_head_neither_fires_nor_spins() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        let now = event_loop.host().monotonic_after(Duration::ZERO);
        let timer = event_loop.arm(now, say("cancelled"));
        assert!(event_loop.cancel(timer).is_some());
    }));
    rig.arm(5, "later");
    assert_eq!(rig.run_dry(), ["later"]);
}

#[test]
fn timers_poll_each_time_while_they_could_overtake_a_watch() {
    let rig = rig();
    rig.script.deliver([]);
    let watched = rig
        .event_loop
        .watch(5, Direction::Read, says("io").patient());
    assert!(watched.is_ok());
    arm_chain(&rig.event_loop, 30);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 30]);
    assert!(rig.event_loop.unwatch(5, Direction::Read).is_some());
    arm_chain(&rig.event_loop, 30);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 31]);
}

#[test]
fn timers_poll_each_time_while_they_could_overtake_a_registered_descriptor() {
    let rig = rig();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
    let token = rig.event_loop.register(fd).expect("a registration");
    arm_chain(&rig.event_loop, 30);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 30]);
    rig.event_loop.release(token, ours.into());
    arm_chain(&rig.event_loop, 30);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 31]);
}

#[test]
fn a_watch_whose_number_was_registered_anew_wants_no_polls_any_more() {
    let rig = rig();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
    // Watched, and closed behind the loop's back: afterwards its number is somebody else's.
    let watched = rig.event_loop.watch(fd, Direction::Read, says("io"));
    assert!(watched.is_ok());
    rig.script.forget(fd);
    let token = rig.event_loop.register(fd).expect("a registration");
    push_chain(&rig.event_loop, 30, Duration::ZERO);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW], "as a watch it would want 30");
    rig.event_loop.release(token, ours.into());
    arm_chain(&rig.event_loop, 30);
    rig.event_loop.run().expect("a run");
    assert_eq!(rig.script.waits(), [NOW; 2], "there is none to overtake");
}

#[test]
fn work_in_the_inbox_is_work() {
    let rig = rig();
    fn again(event_loop: &Rc<Loop>, left: u32) {
        match left {
            0 => event_loop.stop(),
            _ => assert!(
                event_loop
                    .push_remote(call(move |event_loop| again(event_loop, left - 1)))
                    .is_ok()
            ),
        }
    }
    rig.event_loop
        .push(call(|event_loop| again(event_loop, 100)));
    // Neither a poll nor a notification for any of them.
    assert_eq!(run(&rig), [NOW]);
}

#[test]
fn a_parked_loop_is_notified_once_however_much_is_pushed() {
    let rig = rig();
    rig.arm(1_000, "timer");
    rig.script
        .deliver_after(Duration::from_millis(10), Vec::new());
    let clock = rig.clock.clone();
    let mut names = vec!["a", "b", "c"];
    // Called at the end of a wait, when the loop is parked still.
    rig.script.on_elapse(move |time| {
        clock.advance(time);
        let event_loop = this_loop().expect("the loop that waits");
        for name in names.drain(..) {
            assert!(event_loop.push_remote(say(name)).is_ok());
        }
    });
    assert_eq!(rig.run_dry(), ["a", "b", "c", "timer"]);
    let millis = |millis| Call::Wait(Some(Duration::from_millis(millis)));
    assert_eq!(
        rig.script.calls(),
        [
            millis(1_000),
            Call::Notify,
            millis(990), // ended by that notification
            millis(990),
            Call::Wait(None),
        ]
    );
}

#[test]
fn a_busy_loop_costs_other_threads_no_notification() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        for _ in 0..100 {
            assert!(event_loop.push_remote(call(|_| {})).is_ok());
        }
        event_loop.stop();
    }));
    assert_eq!(run(&rig), [NOW]);
}

#[test]
fn a_wake_ends_one_wait_and_runs_nothing() {
    let rig = rig();
    rig.event_loop.remote().wake();
    // The wake before the wait makes it a poll; the one after it would block.
    assert_eq!(rig.run_dry(), Vec::<String>::new());
    assert_eq!(rig.script.waits(), [NOW, None]);
}
