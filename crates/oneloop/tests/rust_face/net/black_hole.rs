//! A listener that lets nobody in: its queue is full, and the system drops who knocks.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().expect("an address");
        let mut queue = Vec::new();
        loop {
            // Whoever is not let in at once is not for a second, in which it is not asked again. Only a machine with much else to do
            // lets somebody wait as long as this though there is room: then nobody is in the queue yet.
            match TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
                Ok(stream) => queue.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    if !queue.is_empty() && has_somebody_waiting(&listener)? {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
            assert!(queue.len() < 10, "the queue does not fill up");
        }
        Ok(Self {
            address,
            _listener: listener,
            _queue: queue,
        })
    }
}

fn has_somebody_waiting(listener: &Socket) -> io::Result<bool> {
    let mut watched = [PollFd::new(listener, PollFlags::IN)];
    Ok(poll(&mut watched, Some(&Timespec::default()))? == 1)
}
