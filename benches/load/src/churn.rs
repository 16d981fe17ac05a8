//! Connections that the server closes as soon as it has them: how many it accepts, and with TLS, how many handshakes it does.
//!
//! A number of them is under way at once, so that the server always has the next to accept. The server closes
//! first: so it is the server's end that waits out the old connection, and this side does not run out of ports.

use std::io;
use std::time::Instant;

use crate::link::{Dialer, Link, Received};
use crate::meter::{Meter, Report};
use crate::options::Load;
use crate::poll::{Interest, Poll};

struct Attempt {
    link: Link,
    since: Instant,
    interest: Interest,
}

pub(crate) fn run(load: &Load) -> io::Result<Report> {
    let dialer = Dialer::new(load)?;
    let mut poll = Poll::new()?;
    let mut meter = Meter::begin(load)?;
    let mut attempts = Vec::with_capacity(load.connections);
    for number in 0..load.connections {
        attempts.push(begin(&dialer, &poll, &mut meter, number)?);
    }
    let mut ready = Vec::new();
    while !meter.is_over() {
        let now = Instant::now();
        meter.look(now)?;
        poll.wait(meter.pause(now), &mut ready)?;
        for &number in &ready {
            let Some(attempt) = &mut attempts[number] else {
                continue;
            };
            if !advance(attempt, &poll, number)? {
                continue;
            }
            meter.finish(attempt.since, Instant::now())?;
            if let Some(done) = attempts[number].take() {
                done.link.close().or_else(gone)?;
            }
            if meter.is_over() {
                break;
            }
            attempts[number] = begin(&dialer, &poll, &mut meter, number)?;
        }
    }
    meter.report()
}

fn begin(
    dialer: &Dialer,
    poll: &Poll,
    meter: &mut Meter,
    number: usize,
) -> io::Result<Option<Attempt>> {
    if !meter.start() {
        return Ok(None);
    }
    let since = Instant::now();
    let link = dialer.dial()?;
    let interest = link.interest(false);
    poll.add(link.socket(), number, interest)?;
    Ok(Some(Attempt {
        link,
        since,
        interest,
    }))
}

/// Goes on with a connection, and says whether the server has closed it.
fn advance(attempt: &mut Attempt, poll: &Poll, number: usize) -> io::Result<bool> {
    attempt.link.flush()?;
    match attempt.link.receive(&mut [0; 64])? {
        Received::End => return Ok(true),
        Received::Bytes(_) => return Err(io::Error::other("the server was to close, and sends")),
        Received::Nothing => {}
    }
    let interest = attempt.link.interest(false);
    if interest != attempt.interest {
        poll.modify(attempt.link.socket(), number, interest)?;
        attempt.interest = interest;
    }
    Ok(false)
}

/// Nobody is left to hear the goodbye where the server closed its socket after its own.
fn gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error),
    }
}
