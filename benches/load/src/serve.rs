//! The plainest servers there can be: an epoll set, one thread, and the two system calls that a message takes.
//!
//! They are the limit rows: what the kernel asks for, and nearly nothing else. They serve until they are killed.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::options::Service;
use crate::payload;
use crate::poll::{Interest, Poll};
use crate::socket::{Place, Socket};

const BUFFER: usize = 256 * 1024;
const LISTENER: usize = usize::MAX;
const FOREVER: Duration = Duration::from_secs(3600);

/// A connection.
struct Client {
    socket: Socket,
    interest: Interest,
    /// What was read and could not be sent yet; nothing more is read before it is.
    unsent: Vec<u8>,
    /// How many bytes have come, or gone.
    count: u64,
}

#[must_use]
enum Next {
    Wait(Interest),
    Close,
}

/// Serves there; `tell` is given the address once there is one.
pub(crate) fn run(service: Service, place: &Place, tell: impl FnOnce(&str)) -> io::Result<()> {
    let socket = Socket::listen(place)?;
    tell(&socket.name(place)?);
    match (place, service) {
        (Place::Udp(_), Service::Echo) => datagrams(&socket),
        (Place::Udp(_), _) => Err(io::Error::other("datagrams can only be echoed")),
        _ => streams(service, &socket),
    }
}

fn datagrams(socket: &Socket) -> io::Result<()> {
    let (mut poll, mut ready, mut buffer) = (Poll::new()?, Vec::new(), vec![0; BUFFER]);
    poll.add(socket, LISTENER, Interest::Read)?;
    loop {
        poll.wait(FOREVER, &mut ready)?;
        if ready.is_empty() {
            continue;
        }
        match socket.receive_from(&mut buffer) {
            // What does not fit the peer's buffer is lost, as datagrams are; a peer that is gone is reported here.
            Ok((length, address)) => drop(socket.send_to(&buffer[..length], &address)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

fn streams(service: Service, listener: &Socket) -> io::Result<()> {
    let (mut poll, mut ready, mut buffer) = (Poll::new()?, Vec::new(), vec![0; BUFFER]);
    let stream = payload::bulk(BUFFER + 256);
    // By descriptor, as the kernel does it.
    let mut clients: Vec<Option<Client>> = Vec::new();
    poll.add(listener, LISTENER, Interest::Read)?;
    loop {
        poll.wait(FOREVER, &mut ready)?;
        for &number in &ready {
            if number == LISTENER {
                accept(service, listener, &poll, &mut clients)?;
                continue;
            }
            let Some(client) = &mut clients[number] else {
                continue;
            };
            let next = match service {
                Service::Echo => echo(client, &mut buffer),
                Service::Sink => sink(client, &mut buffer),
                Service::Source => source(client, &stream),
                Service::Accept => Ok(Next::Close),
            };
            match next {
                Ok(Next::Wait(interest)) if interest == client.interest => {}
                Ok(Next::Wait(interest)) => {
                    poll.modify(&client.socket, number, interest)?;
                    client.interest = interest;
                }
                // A client that went away is no reason to stop serving the others.
                Ok(Next::Close) | Err(_) => clients[number] = None,
            }
        }
    }
}

/// Accepts all that wait; where that is the whole service, none of them stays.
fn accept(
    service: Service,
    listener: &Socket,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok(socket) if service == Service::Accept => drop(socket),
            Ok(socket) => {
                let number = socket.as_fd().as_raw_fd() as usize;
                let interest = if service == Service::Source {
                    Interest::Write
                } else {
                    Interest::Read
                };
                poll.add(&socket, number, interest)?;
                clients.resize_with(clients.len().max(number + 1), || None);
                clients[number] = Some(Client {
                    socket,
                    interest,
                    unsent: Vec::new(),
                    count: 0,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

fn echo(client: &mut Client, buffer: &mut [u8]) -> io::Result<Next> {
    if client.unsent.is_empty() {
        let length = match unblocked_read(client.socket.read(buffer))? {
            Some(0) => return Ok(Next::Close),
            length => length.unwrap_or(0),
        };
        let sent = unblocked(client.socket.write(&buffer[..length]))?;
        client.unsent.extend_from_slice(&buffer[sent..length]);
    } else {
        let sent = unblocked(client.socket.write(&client.unsent))?;
        client.unsent.drain(..sent);
    }
    Ok(Next::Wait(if client.unsent.is_empty() {
        Interest::Read
    } else {
        Interest::Write
    }))
}

/// Counts, and at the end says how many.
fn sink(client: &mut Client, buffer: &mut [u8]) -> io::Result<Next> {
    match unblocked_read(client.socket.read(buffer))? {
        Some(0) => {
            client
                .socket
                .write_all(client.count.to_string().as_bytes())?;
            Ok(Next::Close)
        }
        length => {
            client.count += length.unwrap_or(0) as u64;
            Ok(Next::Wait(Interest::Read))
        }
    }
}

fn source(client: &mut Client, stream: &[u8]) -> io::Result<Next> {
    let offset = (client.count % 256) as usize;
    client.count += unblocked(client.socket.write(&stream[offset..offset + BUFFER]))? as u64;
    Ok(Next::Wait(Interest::Write))
}

/// A call that would block has moved nothing.
fn unblocked(result: io::Result<usize>) -> io::Result<usize> {
    unblocked_read(result).map(|length| length.unwrap_or(0))
}

/// And to have read nothing is not to have read an end.
fn unblocked_read(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}
