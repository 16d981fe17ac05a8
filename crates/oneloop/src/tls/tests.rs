//! What the session promises: stories of a connection by hand, and any order of events against a record of what was said.

use proptest::prelude::*;

use super::{Admission, Close, News, Opened, PeerEnd, Session, Start, Step};

fn open() -> Session {
    let mut session = Session::new(false);
    assert_eq!(session.connected(), Start::Handshake);
    assert_eq!(session.opened(), Opened::Announce);
    session
}

#[test]
fn a_whole_life() {
    let mut session = Session::new(false);
    assert_eq!(
        (session.next(), session.admit()),
        (Step::Wait, Admission::Keep)
    );
    assert_eq!(session.connected(), Start::Handshake);
    assert_eq!(
        (session.next(), session.admit()),
        (Step::Handshake, Admission::Keep)
    );
    assert!(!session.may_encrypt());
    assert_eq!(session.opened(), Opened::Announce);
    assert_eq!(
        (session.next(), session.admit()),
        (Step::Read, Admission::Encrypt)
    );
    assert_eq!(session.close(), Close::Flush);
    assert_eq!(session.close(), Close::Nothing);
    assert!(session.may_deliver() && session.may_encrypt());
    assert!(session.flushed());
    assert_eq!(session.next(), Step::ShutDown);
    assert_eq!(session.admit(), Admission::Discard { warn: false });
    assert!(session.shut_down());
    assert!(!session.shut_down());
    assert_eq!(session.next(), Step::Wait);
    assert_eq!(session.lost(), News::Due);
    assert_eq!(session.lost(), News::Stale);
}

#[test]
fn a_protocol_that_knew_of_the_connection_is_told_of_its_loss_even_if_the_handshake_fails() {
    let mut session = Session::new(true);
    assert_eq!(session.connected(), Start::Handshake);
    session.end();
    assert_eq!(session.opened(), Opened::TooLate);
    assert_eq!(session.lost(), News::Due);
}

#[test]
fn a_protocol_that_never_knew_of_the_connection_is_not_told_of_its_loss() {
    let mut session = Session::new(false);
    assert_eq!(session.connected(), Start::Handshake);
    assert_eq!(session.peer_ended(), PeerEnd::FailHandshake);
    assert_eq!(session.input_ended(), News::Stale);
    assert_eq!(session.lost(), News::Stale);
}

#[test]
fn closing_before_the_connection_is_made_aborts_it() {
    let mut session = Session::new(false);
    assert_eq!(session.close(), Close::Nothing);
    assert_eq!(session.connected(), Start::Abort);
}

#[test]
fn closing_in_the_handshake_aborts() {
    let mut session = Session::new(false);
    assert_eq!(session.connected(), Start::Handshake);
    assert_eq!(session.close(), Close::Abort);
    assert_eq!(session.next(), Step::Wait);
}

#[test]
fn the_peer_s_end_waits_for_a_user_who_has_paused_reading() {
    let mut session = open();
    session.pause_reading();
    assert_eq!(session.peer_ended(), PeerEnd::Hold);
    assert!(!session.flushed() && session.is_held() && !session.may_deliver());
    assert!(session.resume_reading());
    assert!(session.may_deliver());
    assert_eq!(session.next(), Step::Flush);
    assert!(session.flushed());
    assert!(!session.is_held());
}

#[test]
fn a_user_who_pauses_reading_while_the_last_bytes_are_delivered_gets_the_others_later() {
    let mut session = open();
    assert_eq!(session.peer_ended(), PeerEnd::Flush);
    session.pause_reading();
    assert!(!session.flushed() && session.is_held());
    assert_eq!(session.close(), Close::ShutDown);
    assert!(session.flushed() && !session.is_held());
}

#[test]
fn a_user_who_has_closed_is_not_waited_for() {
    let mut session = open();
    session.pause_reading();
    assert_eq!(session.close(), Close::Flush);
    assert_eq!(session.peer_ended(), PeerEnd::Nothing);
    assert!(session.flushed());
}

#[test]
fn what_is_written_last_is_encrypted_though_the_transport_below_is_full() {
    let mut session = open();
    session.block_writing();
    assert!(!session.may_encrypt() && !session.may_send());
    assert_eq!(session.close(), Close::Flush);
    assert!(session.may_encrypt() && !session.may_send());
    assert!(session.flushed());
    assert!(!session.may_send());
    assert!(session.shut_down());
    assert!(session.may_send());
}

#[test]
fn late_writes_are_silent_at_first() {
    let mut session = open();
    session.end();
    for _ in 0..5 {
        assert_eq!(session.admit(), Admission::Discard { warn: false });
    }
    assert_eq!(session.admit(), Admission::Discard { warn: true });
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Connected,
    Opened,
    Ended,
    PeerEnded,
    InputEnded,
    Pause,
    Resume,
    Block,
    Unblock,
    Close,
    Flushed,
    ShutDown,
    Lost,
}

const EVENTS: [Event; 13] = [
    Event::Connected,
    Event::Opened,
    Event::Ended,
    Event::PeerEnded,
    Event::InputEnded,
    Event::Pause,
    Event::Resume,
    Event::Block,
    Event::Unblock,
    Event::Close,
    Event::Flushed,
    Event::ShutDown,
    Event::Lost,
];

/// What was said so far.
#[derive(Default, Debug)]
struct Record {
    knows: bool,
    announced: bool,
    at_end: bool,
    lost: bool,
    began_shutdown: bool,
    closed: bool,
    over: bool,
}

impl Record {
    fn report(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Connected => match session.connected() {
                Start::Handshake => assert!(!self.over && !self.announced),
                Start::Abort => assert!(self.over),
                Start::Nothing => {}
            },
            Event::Opened => match session.opened() {
                Opened::Announce => {
                    assert!(!self.knows && !self.over);
                    (self.announced, self.knows) = (true, true);
                }
                Opened::Known => assert!(self.knows && !self.over),
                Opened::TooLate => {}
            },
            Event::Ended => {
                session.end();
                self.over = true;
            }
            Event::PeerEnded => match session.peer_ended() {
                PeerEnd::FailHandshake => {
                    session.end();
                    self.over = true;
                }
                PeerEnd::Hold => assert!(session.is_held()),
                PeerEnd::Flush => assert!(!session.is_held()),
                PeerEnd::ShutDown => assert!(self.began_shutdown),
                PeerEnd::Nothing => {}
            },
            Event::InputEnded => {
                if session.input_ended() == News::Due {
                    assert!(self.knows && !self.at_end && !self.lost);
                    self.at_end = true;
                }
            }
            Event::Pause => session.pause_reading(),
            Event::Resume => drop(session.resume_reading()),
            Event::Block => session.block_writing(),
            Event::Unblock => session.unblock_writing(),
            Event::Close => {
                match session.close() {
                    Close::Flush | Close::ShutDown => assert!(!self.closed && !self.over),
                    Close::Abort => self.over = true,
                    Close::Nothing => self.over |= session.is_over(),
                }
                self.closed = true;
            }
            Event::Flushed => {
                if session.flushed() {
                    assert!(!self.began_shutdown && !self.over);
                    self.began_shutdown = true;
                }
            }
            Event::ShutDown => {
                if session.shut_down() {
                    assert!(self.began_shutdown && !self.over);
                }
            }
            Event::Lost => {
                assert_eq!(session.lost() == News::Due, self.knows && !self.lost);
                (self.lost, self.over) = (true, true);
            }
        }
        self.check(session);
    }

    fn check(&self, session: &mut Session) {
        if self.over {
            assert_eq!(session.next(), Step::Wait);
            assert!(!session.may_deliver() && !session.may_encrypt());
            assert!(!session.is_in_handshake() && !session.is_shutting_down());
        }
        if self.began_shutdown {
            assert!(!session.may_deliver() && !session.may_encrypt());
            assert_ne!(session.next(), Step::Read);
        }
        if self.closed || self.over || self.began_shutdown {
            assert!(matches!(session.admit(), Admission::Discard { .. }));
        }
        if session.is_held() {
            assert!(session.has_peer_ended());
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_the_promises(
        knows: bool,
        events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..40),
    ) {
        let mut session = Session::new(knows);
        let mut record = Record { knows, ..Record::default() };
        for event in events {
            record.report(&mut session, event);
        }
    }

    /// Whatever happened, closing and then losing the transport below ends everything, and the protocol is told if it ever knew.
    #[test]
    fn there_is_a_way_out_of_every_state(
        knows: bool,
        events in prop::collection::vec(prop::sample::select(&EVENTS[..]), 0..40),
    ) {
        let mut session = Session::new(knows);
        let mut record = Record { knows, ..Record::default() };
        for event in events {
            record.report(&mut session, event);
        }
        let is_resting = session.is_in_handshake() || session.next() == Step::Read || session.is_held();
        prop_assert!(session.close() != Close::Nothing || !is_resting);
        record.report(&mut session, Event::Flushed);
        record.report(&mut session, Event::ShutDown);
        prop_assert_eq!(session.next(), Step::Wait);
        record.report(&mut session, Event::Lost);
        prop_assert_eq!(record.lost, record.knows || record.lost);
    }
}
