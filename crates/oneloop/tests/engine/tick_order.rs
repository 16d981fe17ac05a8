//! The order in which entries run: what was ready, then I/O, then timers; and a tick runs its snapshot, no more.

use std::rc::Rc;
use std::time::Duration;

use crate::support::{Loop, call, rig, say, says};
use oneloop::engine::{Direction, Event};

#[test]
fn what_is_ready_runs_before_io_and_io_before_timers() {
    let rig = rig();
    rig.arm(0, "timer");
    let watched = rig.event_loop.watch(5, Direction::Read, says("io"));
    assert!(watched.is_ok_and(|old| old.is_none()));
    rig.script.deliver([rig.readable(5)]);
    rig.push(&["ready"]);
    assert!(rig.event_loop.push_remote(say("from elsewhere")).is_ok());
    assert_eq!(rig.tick(), ["ready", "from elsewhere", "io", "timer"]);
}

#[test]
fn events_run_in_the_order_of_the_wait_and_readers_before_writers() {
    let rig = rig();
    for (fd, reader, writer) in [(5, "r5", "w5"), (6, "r6", "w6")] {
        for (direction, name) in [(Direction::Write, writer), (Direction::Read, reader)] {
            let watched = rig.event_loop.watch(fd, direction, says(name));
            assert!(watched.is_ok());
        }
    }
    let both = |fd| Event {
        writable: true,
        ..rig.readable(fd)
    };
    rig.script.deliver([both(6), both(5)]);
    assert_eq!(rig.tick(), ["r6", "w6", "r5", "w5"]);
}

#[test]
fn an_event_in_a_direction_that_nobody_watches_is_not_delivered() {
    let rig = rig();
    let watched = rig.event_loop.watch(5, Direction::Write, says("writer"));
    assert!(watched.is_ok());
    rig.script.deliver([rig.readable(5)]);
    assert_eq!(rig.tick(), Vec::<String>::new());
    assert_eq!(rig.event_loop.backend(), "scripted");
}

#[test]
fn a_tick_runs_its_snapshot_and_no_more() {
    let rig = rig();
    for name in ["one", "two"] {
        rig.event_loop.push(call(move |event_loop| {
            event_loop.host().log.say(name);
            event_loop.push(say(format!("after {name}")));
        }));
    }
    assert_eq!(rig.tick(), ["one", "two"]);
    assert_eq!(rig.tick(), ["after one", "after two"]);
}

#[test]
fn a_timer_that_an_entry_arms_in_the_past_waits_for_the_next_tick() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        event_loop.arm(oneloop::Instant::from_nanos(-1), say("late"));
        event_loop.push(say("next"));
    }));
    assert_eq!(rig.tick(), Vec::<String>::new());
    assert_eq!(rig.tick(), ["next", "late"]);
}

#[test]
fn timers_run_by_deadline_and_equal_ones_in_the_order_of_arming() {
    let rig = rig();
    for (millis, name) in [(20, "c"), (10, "a"), (20, "d"), (10, "b"), (0, "now")] {
        rig.arm(millis, name);
    }
    let cancelled = rig.arm(15, "cancelled");
    assert!(rig.event_loop.cancel(cancelled).is_some());
    assert!(rig.event_loop.cancel(cancelled).is_none());
    assert_eq!(rig.run_dry(), ["now", "a", "b", "c", "d"]);
    assert_eq!(rig.clock.now().as_nanos(), 20_000_000);
}

#[test]
fn a_wait_ends_at_the_next_deadline_to_the_nanosecond() {
    let rig = rig();
    let deadline = rig.clock.now() + Duration::new(3, 141_592_653);
    rig.event_loop.arm(deadline, say("pi"));
    assert_eq!(rig.run_dry(), ["pi"]);
    let waits = rig.script.waits();
    assert_eq!(waits, [Some(Duration::new(3, 141_592_653)), None]);
}

#[test]
fn a_timer_that_fell_due_while_waiting_runs_after_the_event_that_ended_the_wait() {
    let rig = rig();
    let watched = rig.event_loop.watch(5, Direction::Read, says("io"));
    assert!(watched.is_ok());
    rig.arm(3, "three");
    rig.arm(5, "five");
    rig.arm(9, "nine");
    // Due at 5 ms together with the second timer; the third one's wait goes on after it.
    let event = rig.readable(5);
    rig.script.deliver_after(Duration::from_millis(5), [event]);
    assert_eq!(rig.run_dry(), ["three", "io", "five", "nine"]);
}

#[test]
fn pushes_from_this_thread_and_from_others_are_one_queue() {
    let rig = rig();
    rig.push(&["a"]);
    let remote = |name| assert!(rig.event_loop.push_remote(say(name)).is_ok());
    remote("b");
    rig.push(&["c"]);
    remote("d");
    remote("e");
    rig.push(&["f"]);
    rig.event_loop.push(call(|event_loop| {
        assert!(event_loop.push_remote(say("h")).is_ok());
        event_loop.push(say("i"));
    }));
    rig.push(&["g"]);
    assert_eq!(rig.run_dry(), ["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
}

#[test]
fn tasks_and_entries_are_one_queue() {
    let rig = rig();
    let log = rig.log.clone();
    rig.event_loop.push(call(move |event_loop| {
        for name in ["first", "second"] {
            event_loop.push(say(format!("before {name}")));
            let log = log.clone();
            let task = oneloop::spawn(async move {
                log.say(format!("{name} begins"));
                oneloop::yield_now().await;
                log.say(format!("{name} goes on"));
            });
            task.detach();
        }
        event_loop.push(say("after both"));
    }));
    assert_eq!(
        rig.run_dry(),
        [
            "before first",
            "first begins",
            "before second",
            "second begins",
            "after both",
            "first goes on",
            "second goes on",
        ]
    );
}

/// Work without a pause: entries that follow one another, each of which takes 30 µs.
fn work(event_loop: &Rc<Loop>, left: u32) {
    if let Some(clock) = &event_loop.host().clock {
        clock.advance(Duration::from_micros(30));
    }
    event_loop.host().log.say(format!("work {left}"));
    if left > 0 {
        event_loop.push(call(move |event_loop| work(event_loop, left - 1)));
    }
}

#[test]
fn io_waits_while_polls_are_skipped() {
    let rig = rig();
    let watched = rig
        .event_loop
        .watch(5, Direction::Read, says("io").patient());
    assert!(watched.is_ok());
    rig.script.deliver([]);
    rig.script.deliver([rig.readable(5)]);
    rig.event_loop.push(call(|event_loop| work(event_loop, 5)));
    assert_eq!(
        rig.run_dry(),
        [
            "work 5", "work 4", "work 3", "work 2", "work 1", "io", "work 0"
        ]
    );
}

#[test]
fn nothing_is_skipped_while_a_watch_wants_polls() {
    let rig = rig();
    let watched = rig.event_loop.watch(5, Direction::Read, says("io"));
    assert!(watched.is_ok());
    rig.script.deliver([]);
    rig.script.deliver([]);
    rig.script.deliver([rig.readable(5)]);
    rig.event_loop.push(call(|event_loop| work(event_loop, 4)));
    assert_eq!(
        rig.run_dry(),
        ["work 4", "work 3", "work 2", "io", "work 1", "work 0"]
    );
}

#[test]
fn a_timer_that_falls_due_ends_the_skipping_and_does_not_overtake_io() {
    let rig = rig();
    let watched = rig
        .event_loop
        .watch(5, Direction::Read, says("io").patient());
    assert!(watched.is_ok());
    rig.script.deliver([]);
    rig.script.deliver([rig.readable(5)]);
    rig.event_loop
        .arm(rig.clock.now() + Duration::from_micros(50), say("timer"));
    rig.event_loop.push(call(|event_loop| work(event_loop, 5)));
    assert_eq!(
        rig.run_dry(),
        [
            "work 5", "work 4", "work 3", "io", "timer", "work 2", "work 1", "work 0"
        ]
    );
}
