//! Messages that have to come back: as fast as the server answers them, or at a fixed offered load.
//!
//! One request at a time is under way on each connection. At a fixed load, those that are due while their connection is
//! taken wait for it, and their latency counts from when they were due.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;

use crate::exchange::{Answer, Exchange};
use crate::link::{Dialer, Link, Received};
use crate::meter::{Meter, Report};
use crate::options::Load;
use crate::payload::Messages;
use crate::poll::{Interest, Poll};
use crate::schedule::Schedule;
use crate::socket::Place;

/// A datagram that is not back by then is lost.
const LOST: Duration = Duration::from_millis(500);
const BUFFER: usize = 256 * 1024;

struct Connection {
    link: Link,
    interest: Interest,
    /// The request under way, and since when it counts.
    exchange: Option<(Exchange, Instant)>,
    /// The number of that request, or of the next.
    request: u64,
    /// When the requests were due that wait for this connection.
    waiting: VecDeque<Instant>,
}

/// What does not change in a run, beside what does.
struct Run {
    dialer: Dialer,
    messages: Messages,
    poll: Poll,
    meter: Meter,
    buffer: Vec<u8>,
    closed: bool,
    datagrams: bool,
}

pub(crate) fn run(load: &Load) -> io::Result<Report> {
    let (mut run, mut connections) = open(load)?;
    run.measure(load, &mut connections)
}

/// Says that it is ready, and then measures as often as it is ordered to, over connections that stay.
///
/// A slice is over when all of it is answered, so nothing is under way between two.
pub(crate) fn slices(
    load: &Load,
    orders: impl Iterator<Item = io::Result<String>>,
    tell: impl Fn(&str),
) -> io::Result<()> {
    let (mut run, mut connections) = open(load)?;
    tell("{\"ready\": true}");
    for order in orders {
        order?;
        tell(&run.measure(load, &mut connections)?.as_json());
    }
    Ok(())
}

fn open(load: &Load) -> io::Result<(Run, Vec<Connection>)> {
    // The kernel may let a thread sleep 50 µs longer than it asked for, as much as an answer takes.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let dialer = Dialer::new(load)?;
    let messages = if load.line {
        Messages::lines(load.size)
    } else {
        Messages::binary(load.size)
    };
    let poll = Poll::new()?;
    let connections = (0..load.connections)
        .map(|number| Connection::open(&dialer, &poll, number))
        .collect::<io::Result<Vec<_>>>()?;
    let run = Run {
        dialer,
        messages,
        poll,
        meter: Meter::begin(load)?,
        buffer: vec![0; BUFFER],
        closed: load.rate.is_none(),
        datagrams: matches!(load.place, Place::Udp(_)),
    };
    Ok((run, connections))
}

impl Run {
    fn measure(&mut self, load: &Load, connections: &mut [Connection]) -> io::Result<Report> {
        self.meter = Meter::begin(load)?;
        let schedule = load.rate.map(|rate| Schedule::new(Instant::now(), rate));
        self.finish(connections, schedule)?;
        let report = self.meter.report()?;
        if report.lost > report.requests / 100 {
            return Err(io::Error::other(format!(
                "{} of {} requests were lost",
                report.lost, report.requests
            )));
        }
        Ok(report)
    }

    fn finish(
        &mut self,
        connections: &mut [Connection],
        mut schedule: Option<Schedule>,
    ) -> io::Result<()> {
        if self.closed {
            for (number, connection) in connections.iter_mut().enumerate() {
                self.begin(connection, number, Instant::now())?;
            }
        }
        let mut ready = Vec::new();
        loop {
            let mut now = Instant::now();
            self.meter.look(now)?;
            if self.meter.is_over() {
                return Ok(());
            }
            while let Some((request, due)) =
                schedule.as_mut().and_then(|schedule| schedule.due(now))
            {
                let number = (request % connections.len() as u64) as usize;
                self.offer(&mut connections[number], number, due)?;
                now = Instant::now();
            }
            self.poll
                .wait(self.pause(now, schedule.as_ref()), &mut ready)?;
            for &number in &ready {
                self.advance(&mut connections[number], number)?;
                if self.meter.is_over() {
                    return Ok(());
                }
            }
            if self.datagrams && ready.is_empty() {
                self.replace_the_lost(connections)?;
            }
        }
    }

    fn pause(&self, now: Instant, schedule: Option<&Schedule>) -> Duration {
        let pause = self.meter.pause(now);
        schedule.map_or(pause, |schedule| {
            schedule.next().saturating_duration_since(now).min(pause)
        })
    }

    /// A request is due on that connection: now if it is free.
    fn offer(
        &mut self,
        connection: &mut Connection,
        number: usize,
        due: Instant,
    ) -> io::Result<()> {
        if connection.exchange.is_some() {
            connection.waiting.push_back(due);
            return Ok(());
        }
        self.begin(connection, number, due)
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        number: usize,
        since: Instant,
    ) -> io::Result<()> {
        if self.meter.start() {
            connection.exchange = Some((Exchange::default(), since));
        }
        self.send(connection, number)
    }

    fn send(&mut self, connection: &mut Connection, number: usize) -> io::Result<()> {
        let mut more = false;
        if let Some((exchange, _)) = &mut connection.exchange {
            let message = self.messages.message(number, connection.request);
            let unsent = exchange.unsent(message);
            if !unsent.is_empty() {
                let taken = connection.link.send(unsent)?;
                exchange.sent(taken);
            }
            more = !exchange.unsent(message).is_empty();
        }
        connection.link.flush()?;
        let interest = connection.link.interest(more);
        if interest != connection.interest {
            self.poll
                .modify(connection.link.socket(), number, interest)?;
            connection.interest = interest;
        }
        Ok(())
    }

    /// The connection is ready: for what came, and for what is still to be sent.
    fn advance(&mut self, connection: &mut Connection, number: usize) -> io::Result<()> {
        match connection.link.receive(&mut self.buffer)? {
            Received::Bytes(length) => self.compare(connection, number, length)?,
            Received::End => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed a connection",
                ));
            }
            Received::Nothing => {}
        }
        if connection.interest == Interest::ReadWrite {
            self.send(connection, number)
        } else {
            Ok(())
        }
    }

    fn compare(
        &mut self,
        connection: &mut Connection,
        number: usize,
        length: usize,
    ) -> io::Result<()> {
        let Some((exchange, since)) = &mut connection.exchange else {
            return Err(io::Error::other("an answer to no request"));
        };
        let message = self.messages.message(number, connection.request);
        match exchange
            .received(message, &self.buffer[..length])
            .map_err(|wrong| io::Error::other(wrong.to_string()))?
        {
            Answer::Incomplete => return Ok(()),
            Answer::Complete => {}
        }
        let now = Instant::now();
        self.meter.finish(*since, now)?;
        connection.exchange = None;
        connection.request += 1;
        match connection.waiting.pop_front() {
            Some(due) => self.begin(connection, number, due),
            None if self.closed => self.begin(connection, number, now),
            None => Ok(()),
        }
    }

    /// A new socket for each datagram that does not come: whatever comes after all goes to a socket that is no more.
    fn replace_the_lost(&mut self, connections: &mut [Connection]) -> io::Result<()> {
        for (number, connection) in connections.iter_mut().enumerate() {
            if connection
                .exchange
                .as_ref()
                .is_some_and(|(_, since)| since.elapsed() > LOST)
            {
                self.meter.lose();
                let request = connection.request + 1;
                *connection = Connection {
                    request,
                    ..Connection::open(&self.dialer, &self.poll, number)?
                };
                if self.closed {
                    self.begin(connection, number, Instant::now())?;
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    fn open(dialer: &Dialer, poll: &Poll, number: usize) -> io::Result<Self> {
        let mut link = dialer.dial()?;
        link.establish()?;
        let interest = Interest::Read;
        poll.add(link.socket(), number, interest)?;
        Ok(Self {
            link,
            interest,
            exchange: None,
            request: 0,
            waiting: VecDeque::new(),
        })
    }
}
