//! One long stream in one direction; a request is a mebibyte of it.
//!
//! Upwards, nobody could check the bytes but the server that is measured, so it only counts them: once the stream has ended
//! it says how many it got. Downwards every byte is compared: it is its own position, modulo 256.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::meter::{Meter, Report};
use crate::options::Load;
use crate::payload;
use crate::socket::Socket;

const MEBIBYTE: u64 = 1 << 20;
const PIECE: usize = 256 * 1024;
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Sends until it is over, and has the server's count agree.
pub(crate) fn up(load: &Load) -> io::Result<Report> {
    let mut socket = Socket::connect(&load.place)?;
    ready(&socket, PollFlags::OUT)?;
    let stream = payload::bulk(PIECE + 256);
    let mut meter = Meter::begin(load)?;
    let mut count = Mebibytes::default();
    while !meter.is_over() {
        let offset = (count.bytes % 256) as usize;
        match socket.write(&stream[offset..offset + PIECE]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready(&socket, PollFlags::OUT)?,
            sent => count.add(sent?, &mut meter)?,
        }
        meter.look(Instant::now())?;
    }
    socket.end()?;
    let counted = rest(&mut socket)?;
    if counted != count.bytes.to_string().as_bytes() {
        let told = String::from_utf8_lossy(&counted);
        return Err(io::Error::other(format!(
            "the server counted {told:?} bytes of {}",
            count.bytes
        )));
    }
    meter.report()
}

/// Reads until it is over.
pub(crate) fn down(load: &Load) -> io::Result<Report> {
    let mut socket = Socket::connect(&load.place)?;
    let stream = payload::bulk(PIECE + 256);
    let mut buffer = vec![0; PIECE];
    let mut meter = Meter::begin(load)?;
    let mut count = Mebibytes::default();
    while !meter.is_over() {
        match socket.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready(&socket, PollFlags::IN)?,
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server ended the stream",
                ));
            }
            received => {
                let received = received?;
                let offset = (count.bytes % 256) as usize;
                if buffer[..received] != stream[offset..offset + received] {
                    return Err(io::Error::other(format!(
                        "the stream is wrong after byte {}",
                        count.bytes
                    )));
                }
                count.add(received, &mut meter)?;
            }
        }
        meter.look(Instant::now())?;
    }
    meter.report()
}

/// What has passed.
#[derive(Default)]
struct Mebibytes {
    bytes: u64,
    since: Option<Instant>,
}

impl Mebibytes {
    fn add(&mut self, bytes: usize, meter: &mut Meter) -> io::Result<()> {
        let before = self.bytes / MEBIBYTE;
        self.bytes += bytes as u64;
        if self.bytes / MEBIBYTE > before {
            let now = Instant::now();
            meter.finish(self.since.unwrap_or(now), now)?;
            self.since = Some(now);
        }
        Ok(())
    }
}

/// All that the server has to say until its end.
fn rest(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 64]);
    let until = Instant::now() + Duration::from_secs(PATIENCE.tv_sec as u64);
    while Instant::now() < until {
        match socket.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready(socket, PollFlags::IN)?,
            Ok(0) => return Ok(answer),
            received => answer.extend_from_slice(&buffer[..received?]),
        }
    }
    Err(io::Error::new(
        ErrorKind::TimedOut,
        "the server does not say what it got",
    ))
}

fn ready(socket: &Socket, what: PollFlags) -> io::Result<()> {
    if poll(&mut [PollFd::new(socket, what)], Some(&PATIENCE))? == 0 {
        return Err(io::Error::new(
            ErrorKind::TimedOut,
            "the stream stands still",
        ));
    }
    Ok(())
}
