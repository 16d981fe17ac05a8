//! A connection, plain or under TLS, which is sent to and received from without ever waiting.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::options::Load;
use crate::poll::Interest;
use crate::socket::{Place, Socket};

/// How long a server may take to let a connection in.
const PATIENCE: Duration = Duration::from_secs(60);

/// How connections are made.
pub(crate) struct Dialer {
    place: Place,
    tls: Option<Arc<ClientConfig>>,
}

pub(crate) struct Link {
    socket: Socket,
    tls: Option<ClientConnection>,
}

#[must_use]
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Received {
    Bytes(usize),
    /// There is nothing yet.
    Nothing,
    /// There will be nothing more.
    End,
}

impl Dialer {
    pub(crate) fn new(load: &Load) -> io::Result<Self> {
        Ok(Self {
            place: load.place.clone(),
            tls: load.tls.as_deref().map(client).transpose()?,
        })
    }

    /// Begins a connection.
    pub(crate) fn dial(&self) -> io::Result<Link> {
        let began = Instant::now();
        let socket = loop {
            match Socket::connect(&self.place) {
                // A Unix server's queue is full, and the kernel keeps nobody waiting: the one case in which we do.
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && began.elapsed() < PATIENCE =>
                {
                    std::thread::yield_now();
                }
                other => break other?,
            }
        };
        let tls = match &self.tls {
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Some(ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?)
            }
            None => None,
        };
        Ok(Link { socket, tls })
    }
}

/// TLS 1.3, every handshake a full one, for a server that the authority in that file vouches for.
fn client(authority: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(authority)?) {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

impl Link {
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What has to happen before there is anything to do here, if `more` says whether there is more to send.
    pub(crate) fn interest(&self, more: bool) -> Interest {
        if more || self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            Interest::ReadWrite
        } else {
            Interest::Read
        }
    }

    /// Waits until it has connected, and TLS has agreed.
    pub(crate) fn establish(&mut self) -> io::Result<()> {
        wait_for(&self.socket, PollFlags::OUT)?;
        self.socket.connected()?;
        self.flush()?;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            wait_for(&self.socket, PollFlags::IN)?;
            // Nothing of the program's comes before the handshake is over.
            let _ = self.receive(&mut [0; 1])?;
        }
        self.flush()
    }

    /// Takes as many of the bytes as it can, and says how many.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return unblocked(self.socket.write(bytes));
        };
        let taken = tls.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    /// Sends what TLS has made.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.tls
            .as_mut()
            .map_or(Ok(()), |tls| send_made(tls, &mut self.socket))
    }

    /// Puts what has come into the buffer.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else {
            return received(self.socket.read(buffer));
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                decrypted => return received(decrypted),
            }
            match tls.read_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) => return Err(error),
                // The reader tells an end that was announced from one that was not, which is an error.
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
            }
            send_made(tls, &mut self.socket)?;
        }
    }

    /// Says goodbye, where that is done.
    pub(crate) fn close(mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()
    }
}

fn send_made(tls: &mut ClientConnection, socket: &mut Socket) -> io::Result<()> {
    while tls.wants_write() && unblocked(tls.write_tls(socket))? > 0 {}
    Ok(())
}

fn wait_for(socket: &Socket, what: PollFlags) -> io::Result<()> {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    if poll(&mut [PollFd::new(socket, what)], Some(&patience))? == 0 {
        return Err(io::Error::new(
            ErrorKind::TimedOut,
            "the server lets nobody in",
        ));
    }
    Ok(())
}

/// A call that would block has done nothing.
fn unblocked(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn received(result: io::Result<usize>) -> io::Result<Received> {
    match result {
        Ok(0) => Ok(Received::End),
        Ok(length) => Ok(Received::Bytes(length)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
        Err(error) => Err(error),
    }
}
