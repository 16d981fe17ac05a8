//! Watchers that know that there is more: what they say is delivered as a poll would, and costs none.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::support::{Loop, Rig, Watch, call, rig, say, says};
use oneloop::engine::{Direction, POLL_INTERVAL};

/// As [`watch_with`], and 5 is ready.
fn watch(rig: &Rig, count: u32, then: impl Fn(&Rc<Loop>, u32) + Clone + Send + 'static) {
    watch_with(rig, count, then);
    rig.script.deliver([rig.readable(5)]);
}

/// Watches 5 by a reader that finds `count` things, takes one at a time, has an entry for each, and knows of the rest.
fn watch_with(rig: &Rig, count: u32, then: impl Fn(&Rc<Loop>, u32) + Clone + Send + 'static) {
    let taken = Rc::new(Cell::new(0));
    let watch = Watch::new(move || {
        taken.set(taken.get() + 1);
        let (number, then) = (taken.get(), then.clone());
        call(move |event_loop| {
            event_loop.host().log.say(format!("read {number}"));
            event_loop.push(say(format!("scheduled {number}")));
            if number < count {
                event_loop.note_ready(5, Direction::Read);
            }
            then(event_loop, number);
        })
    });
    let watched = rig.event_loop.watch(5, Direction::Read, watch.patient());
    assert!(watched.is_ok_and(|old| old.is_none()));
}

fn watch_another(rig: &Rig) {
    let watched = rig
        .event_loop
        .watch(6, Direction::Read, says("another").patient());
    assert!(watched.is_ok());
}

/// Beside the wait that brings the event, and the last one, which fails.
fn polls(rig: &Rig) -> usize {
    rig.script.waits().len() - 2
}

#[test]
fn what_is_left_is_delivered_behind_what_was_scheduled() {
    let rig = rig();
    watch(&rig, 3, |_, _| {});
    let expected = [
        "read 1",
        "scheduled 1",
        "read 2",
        "scheduled 2",
        "read 3",
        "scheduled 3",
    ];
    assert_eq!(rig.run_dry(), expected);
    assert_eq!(polls(&rig), 0);
}

#[test]
fn it_is_behind_what_later_entries_of_the_same_tick_schedule() {
    let rig = rig();
    let other = Watch::new(|| call(|event_loop| event_loop.push(say("by another"))));
    let watched = rig.event_loop.watch(6, Direction::Read, other.patient());
    assert!(watched.is_ok());
    watch_with(&rig, 2, |_, _| {});
    rig.script.deliver([rig.readable(5), rig.readable(6)]);
    let expected = [
        "read 1",
        "scheduled 1",
        "by another",
        "read 2",
        "scheduled 2",
    ];
    assert_eq!(rig.run_dry(), expected);
    assert_eq!(polls(&rig), 0);
}

#[test]
fn what_was_written_can_reach_nobody_else_where_nobody_else_watches() {
    let rig = rig();
    watch(&rig, 3, |event_loop, _| event_loop.note_io());
    assert_eq!(rig.run_dry().len(), 6);
    assert_eq!(
        polls(&rig),
        1,
        "after the last one, for which there is work"
    );
}

#[test]
fn what_was_written_may_have_reached_another_watch() {
    let rig = rig();
    watch(&rig, 2, |event_loop, _| event_loop.note_io());
    watch_another(&rig);
    let told = rig.readable(5);
    rig.script.deliver([told, rig.readable(6)]);
    assert_eq!(
        rig.run_dry(),
        ["read 1", "scheduled 1", "read 2", "another", "scheduled 2"]
    );
}

#[test]
fn a_poll_that_finds_nothing_knows_better() {
    let rig = rig();
    let clock = rig.clock.clone();
    watch(&rig, 2, move |_, _| clock.advance(POLL_INTERVAL));
    assert_eq!(rig.run_dry(), ["read 1", "scheduled 1"]);
}

#[test]
fn a_timer_that_is_due_does_not_overtake_what_a_poll_would_tell() {
    let rig = rig();
    watch(&rig, 2, |event_loop, number| {
        if number == 1 {
            let past = event_loop.host().monotonic_after(Duration::ZERO);
            event_loop.arm(past, say("timer"));
        }
    });
    rig.script.deliver([rig.readable(5)]);
    assert_eq!(
        rig.run_dry(),
        ["read 1", "scheduled 1", "read 2", "timer", "scheduled 2"]
    );
}

#[test]
fn a_watch_that_has_ended_is_not_known_any_more() {
    let rig = rig();
    watch(&rig, 2, |event_loop, _| {
        assert!(event_loop.unwatch(5, Direction::Read).is_some());
        let again = event_loop.watch(5, Direction::Read, says("somebody else").patient());
        assert!(again.is_ok());
    });
    assert_eq!(rig.run_dry(), ["read 1", "scheduled 1"]);
}

#[test]
fn a_watch_that_was_replaced_is_not_known_any_more() {
    let rig = rig();
    watch(&rig, 2, |event_loop, _| {
        let again = event_loop.watch(5, Direction::Read, says("somebody else").patient());
        assert!(again.is_ok_and(|old| old.is_some()));
    });
    assert_eq!(rig.run_dry(), ["read 1", "scheduled 1"]);
}

#[test]
fn what_nobody_watches_is_not_known() {
    let rig = rig();
    rig.event_loop.push(call(|event_loop| {
        event_loop.note_ready(5, Direction::Read);
        event_loop.note_ready(-1, Direction::Write);
        event_loop.push(say("goes on"));
    }));
    assert_eq!(rig.run_dry(), ["goes on"]);
}

#[test]
fn the_next_run_asks() {
    let rig = rig();
    watch(&rig, 2, |event_loop, _| event_loop.stop());
    assert!(rig.event_loop.run().is_ok());
    assert_eq!(rig.run_dry(), ["read 1", "scheduled 1"]);
}
