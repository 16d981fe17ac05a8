//! What the machine asks for, event by event.

use super::{Aim, Datagrams};
use crate::push::{Actions, Admission, Farewell, Limits, Machine};

fn endpoint() -> Datagrams<Vec<u8>, u16> {
    Datagrams::new(Aim::Free, 8)
}

/// Pushes a datagram of `size` bytes to address 1, which must be taken.
fn push(datagrams: &mut Datagrams<Vec<u8>, u16>, size: usize) -> Actions {
    datagrams
        .push(vec![0; size], 1)
        .expect("it is not lost, so it queues")
}

fn warns(admission: Admission) -> Option<bool> {
    match admission {
        Admission::Discard { warn } => Some(warn),
        Admission::Send | Admission::Queue => None,
    }
}

#[test]
fn what_cannot_be_sent_at_once_waits_in_order() {
    let mut datagrams = endpoint();
    assert_eq!(datagrams.admit(), Admission::Send);
    assert_eq!(
        datagrams.push(b"one".to_vec(), 1),
        Ok(Actions::START_WRITING)
    );
    assert_eq!(datagrams.admit(), Admission::Queue);
    assert_eq!(datagrams.push(b"".to_vec(), 2), Ok(Actions::NONE));
    assert_eq!(datagrams.size(), 3 + 8 + 8);

    let (chunk, address) = datagrams.take().expect("two wait");
    assert_eq!((chunk.as_slice(), address), (&b"one"[..], 1));
    assert_eq!(datagrams.size(), 8);
    assert_eq!(datagrams.put_back(chunk, address), Ok(()));
    assert_eq!(datagrams.sent() | datagrams.settle(), Actions::NONE);

    assert_eq!(datagrams.take(), Some((b"one".to_vec(), 1)));
    assert_eq!(datagrams.take(), Some((Vec::new(), 2)));
    assert_eq!(datagrams.take(), None);
    assert_eq!(datagrams.settle(), Actions::STOP_WRITING);
    assert_eq!((datagrams.size(), datagrams.settle()), (0, Actions::NONE));
}

#[test]
fn the_protocol_pauses_above_one_mark_and_goes_on_at_the_other() {
    let mut datagrams = endpoint();
    let limits = Limits { low: 10, high: 30 };
    assert_eq!(datagrams.set_limits(limits), Actions::NONE);
    assert_eq!(push(&mut datagrams, 22), Actions::START_WRITING); // 30: not above
    assert_eq!(push(&mut datagrams, 0), Actions::PAUSE_WRITING);
    assert_eq!(push(&mut datagrams, 0), Actions::NONE);
    assert!(datagrams.is_writing_paused());
    drop(datagrams.take());
    assert_eq!(datagrams.sent(), Actions::NONE); // 16
    drop(datagrams.take());
    assert_eq!(datagrams.sent(), Actions::RESUME_WRITING); // 8
    assert_eq!(datagrams.sent(), Actions::NONE);
    assert_eq!(
        datagrams.set_limits(Limits { low: 0, high: 7 }),
        Actions::PAUSE_WRITING
    );
    assert_eq!(datagrams.set_limits(limits), Actions::NONE);
}

#[test]
fn closing_sends_what_waits() {
    let mut datagrams = endpoint();
    let _ = push(&mut datagrams, 1);
    assert_eq!(datagrams.close(), Actions::STOP_READING);
    assert!(datagrams.is_closing() && !datagrams.is_lost());
    assert_eq!(datagrams.close(), Actions::NONE);
    // Even what is sent now.
    assert_eq!(datagrams.admit(), Admission::Queue);
    assert_eq!(push(&mut datagrams, 2), Actions::NONE);
    drop((datagrams.take(), datagrams.take()));
    assert_eq!(
        datagrams.settle(),
        Actions::STOP_WRITING | Actions::LOSE_NOW
    );
    assert_eq!(datagrams.settle(), Actions::NONE);
    assert_eq!(datagrams.farewell(), Farewell::Due);
    assert_eq!(datagrams.farewell(), Farewell::Done);
}

#[test]
fn closing_with_nothing_to_send_ends_soon() {
    let mut datagrams = endpoint();
    let end = Actions::STOP_READING | Actions::LOSE_SOON;
    assert_eq!(datagrams.close(), end);
    let (actions, dropped) = datagrams.abort();
    assert_eq!((actions, dropped.into_iter().count()), (Actions::NONE, 0));
}

#[test]
fn aborting_hands_out_what_waits() {
    let mut datagrams = endpoint();
    let _ = push(&mut datagrams, 1);
    let _ = datagrams.close();
    let (actions, dropped) = datagrams.abort();
    assert_eq!(actions, Actions::STOP_WRITING | Actions::LOSE_SOON);
    assert_eq!(dropped.into_iter().collect::<Vec<_>>(), [(vec![0], 1)]);
    assert_eq!((datagrams.size(), datagrams.take()), (0, None));
    assert_eq!(datagrams.push(vec![5], 5), Err((vec![5], 5)));
    assert_eq!(datagrams.put_back(vec![6], 6), Err((vec![6], 6)));
}

#[test]
fn the_watch_outlives_a_datagram_that_failed() {
    let mut datagrams = endpoint();
    let _ = push(&mut datagrams, 1);
    drop(datagrams.take()); // it failed: no `sent`, no `settle`
    assert_eq!(datagrams.admit(), Admission::Send);
    assert_eq!(push(&mut datagrams, 1), Actions::NONE); // watched already
    drop(datagrams.take());
    let end = Actions::STOP_READING | Actions::STOP_WRITING | Actions::LOSE_SOON;
    assert_eq!(datagrams.close(), end);
}

#[test]
fn only_an_endpoint_with_one_peer_gives_up_before_its_descriptor_is_closed() {
    let mut free = endpoint();
    let mut fixed = Datagrams::<Vec<u8>, u16>::new(Aim::Fixed, 0);
    assert_eq!(
        (free.admit(), fixed.admit()),
        (Admission::Send, Admission::Send)
    );
    let _ = (free.close(), fixed.close());
    assert_eq!(free.admit(), Admission::Send);
    assert_eq!(warns(fixed.admit()), Some(false));
    assert_eq!(
        (free.farewell(), fixed.farewell()),
        (Farewell::Due, Farewell::Due)
    );
    // The loss was the first, the write before it the second.
    let warned: Vec<_> = (0..5).map(|_| warns(fixed.admit())).collect();
    assert_eq!(warned, [false, false, false, true, true].map(Some));
    let warned: Vec<_> = (0..6).map(|_| warns(free.admit())).collect();
    assert_eq!(warned, [false, false, false, false, true, true].map(Some));
}

#[test]
fn nothing_is_received_that_is_not_wanted() {
    let mut datagrams = endpoint();
    assert_eq!(datagrams.start_reading(), Actions::START_READING);
    assert_eq!(datagrams.pause_reading(), Actions::STOP_READING);
    assert_eq!(datagrams.pause_reading(), Actions::NONE);
    assert_eq!(datagrams.start_reading(), Actions::NONE);
    assert!(!datagrams.is_reading());
    assert_eq!(datagrams.resume_reading(), Actions::START_READING);
    assert_eq!(datagrams.resume_reading(), Actions::NONE);
    let _ = (datagrams.pause_reading(), datagrams.close());
    assert_eq!(datagrams.resume_reading(), Actions::NONE);
    assert_eq!(datagrams.start_reading(), Actions::NONE);
}
