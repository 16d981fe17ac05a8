//! Connecting: to the first address that answers, whatever the others do; what is said if none does; who may look on.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
use oneloop::engine::{Connector, Failure, Observer, Phase, Target, Unconnected, Unobserved};
use oneloop::net::{
    ConnectError, ConnectOptions, TcpListener, TcpStream, UnixListener, UnixStream,
};
use oneloop::{now, sleep, spawn, timeout};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::black_hole::BlackHole;
use super::{TemporaryPath, on_every_driver, poll_once};

const MS: Duration = Duration::from_millis(1);

/// An address where nobody listens.
fn refusing() -> io::Result<SocketAddr> {
    // Somebody who only has the port keeps others from getting it.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let address = socket.local_addr()?.as_socket().expect("an address");
    std::mem::forget(socket);
    Ok(address)
}

#[test]
fn an_address_that_does_not_answer_costs_a_delay() {
    on_every_driver(async || {
        let hole = BlackHole::new()?;
        let listener = TcpListener::bind("127.0.0.2:0").await?;
        let good = listener.local_addr()?;
        let options = ConnectOptions::new().delay(Some(20 * MS));
        let start = now();
        let mut stream = options
            .connect(&[hole.address, good, hole.address][..])
            .await?;
        assert!(now() - start >= 20 * MS);
        assert_eq!(stream.peer_addr()?, good);
        let (mut peer, _) = listener.accept().await?;
        peer.write_all(b"x").await?;
        assert_eq!(stream.read(&mut [0; 8]).await?, 1);
        Ok(())
    });
}

#[test]
fn without_a_delay_an_address_that_does_not_answer_is_waited_for() {
    on_every_driver(async || {
        let hole = BlackHole::new()?;
        let listener = TcpListener::bind("127.0.0.2:0").await?;
        let addresses = [hole.address, listener.local_addr()?];
        let options = ConnectOptions::new().delay(None);
        let connected = timeout(100 * MS, options.connect(&addresses[..])).await;
        assert!(connected.is_err());
        Ok(())
    });
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.2:0").await?;
        let addresses = [refusing()?, refusing()?, listener.local_addr()?];
        for delay in [None, Some(Duration::from_secs(3600))] {
            let options = ConnectOptions::new().delay(delay);
            let stream = options.connect(&addresses[..]).await?;
            assert_eq!(stream.peer_addr()?, addresses[2]);
        }
        Ok(())
    });
}

#[test]
fn the_families_take_turns() {
    on_every_driver(async || {
        // Each fails in its own way: nobody may connect to a broadcast address, and a link-local one needs a zone.
        let broadcast = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
        let without_zone = "[fe80::1]:9".parse().expect("an address");
        let addresses = [broadcast, refusing()?, without_zone];
        let codes = async |options: ConnectOptions| {
            let error = options
                .connect(&addresses[..])
                .await
                .expect_err("none answers");
            let each = error
                .get_ref()
                .and_then(|it| it.downcast_ref::<ConnectError>());
            let each = each.expect("three errors").errors().iter();
            Vec::from_iter(each.map(|error| error.raw_os_error()))[1..].to_vec()
        };
        let (refused, invalid) = (Some(libc::ECONNREFUSED), Some(libc::EINVAL));
        assert_eq!(codes(ConnectOptions::new()).await, [invalid, refused]);
        assert_eq!(
            codes(ConnectOptions::new().interleave(2)).await,
            [refused, invalid]
        );
        assert_eq!(
            codes(ConnectOptions::new().interleave(0)).await,
            [refused, invalid]
        );
        Ok(())
    });
}

#[test]
fn if_none_answers_each_reason_is_told() {
    on_every_driver(async || {
        let (one, other) = (refusing()?, refusing()?);
        let error = TcpStream::connect(one).await.expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        let error = TcpStream::connect(&[one, other][..])
            .await
            .expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        // Nobody may connect to a broadcast address by TCP.
        let odd = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
        let error = TcpStream::connect(&[one, odd][..])
            .await
            .expect_err("neither");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let each = error
            .get_ref()
            .and_then(|it| it.downcast_ref::<ConnectError>());
        let each = each.expect("both errors").errors();
        assert_eq!(each.len(), 2);
        assert_eq!(each[0].raw_os_error(), Some(libc::ECONNREFUSED));
        assert_ne!(each[1].raw_os_error(), Some(libc::ECONNREFUSED));
        assert!(error.to_string().contains(&each[1].to_string()));
        let error = TcpStream::connect(&[][..]).await.expect_err("nothing");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn from_the_local_address_that_can_be_had() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let foreign: SocketAddr = ([203, 0, 113, 1], 0).into();
        let v6: SocketAddr = "[::1]:0".parse().expect("an address");
        let wanted: SocketAddr = ([127, 0, 0, 3], 0).into();
        let options = ConnectOptions::new().local_addresses([v6, foreign, wanted]);
        let stream = options.connect(address).await?;
        assert_eq!(stream.local_addr()?.ip(), wanted.ip());
        let refused = ConnectOptions::new()
            .local_addresses([foreign])
            .connect(address)
            .await;
        assert_eq!(
            refused.expect_err("foreign").kind(),
            ErrorKind::AddrNotAvailable
        );
        let refused = ConnectOptions::new()
            .local_addresses([v6])
            .connect(address)
            .await;
        assert_eq!(refused.expect_err("v6").kind(), ErrorKind::AddrNotAvailable);
        Ok(())
    });
}

#[test]
fn a_unix_listener_without_room_is_waited_for() {
    on_every_driver(async || {
        let path = TemporaryPath::new();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        listener.bind(&SockAddr::unix(&path.0)?)?;
        listener.listen(0)?;
        let listener = UnixListener::from_std(listener.into())?;
        let mut connected = Vec::new();
        let mut waiting = loop {
            let mut connecting = Box::pin(UnixStream::connect(path.0.clone()));
            match poll_once(&mut connecting).await {
                std::task::Poll::Ready(stream) => connected.push(stream?),
                std::task::Poll::Pending => break connecting,
            }
            assert!(connected.len() < 10, "the queue does not fill up");
        };
        sleep(5 * MS).await;
        assert!(poll_once(&mut waiting).await.is_pending());
        let waiting = spawn(waiting);
        for stream in &connected {
            let (peer, _) = listener.accept().await?;
            (&peer).write_all(b"x").await?;
            assert_eq!((&*stream).read(&mut [0; 8]).await?, 1);
        }
        let (peer, _) = listener.accept().await?;
        (&peer).write_all(b"y").await?;
        assert_eq!(waiting.await?.read(&mut [0; 8]).await?, 1);
        // And if it goes away meanwhile, that is told.
        let mut connected = Vec::new();
        let waiting = loop {
            let mut connecting = Box::pin(UnixStream::connect(path.0.clone()));
            match poll_once(&mut connecting).await {
                std::task::Poll::Ready(stream) => connected.push(stream?),
                std::task::Poll::Pending => break connecting,
            }
        };
        drop(listener);
        let refused = waiting.await.expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

fn tcp(address: SocketAddr) -> Target {
    Target {
        domain: Domain::for_address(address),
        kind: Type::STREAM,
        protocol: Some(Protocol::TCP),
        address: address.into(),
    }
}

fn phases(failures: &[Failure]) -> Vec<(usize, Phase, Option<i32>)> {
    let phase = |it: &Failure| (it.target, it.phase, it.error.raw_os_error());
    failures.iter().map(phase).collect()
}

async fn fails(connector: &Connector, observer: &mut dyn Observer) -> Vec<Failure> {
    match connector.connect(observer).await {
        Err(Unconnected::Failed(failures)) => failures,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_failure_names_its_step() {
    on_every_driver(async || {
        let refused = tcp(refusing()?);
        let broadcast = tcp(SocketAddr::from((Ipv4Addr::BROADCAST, 9)));
        let unknown = Target {
            domain: Domain::from(9999),
            ..refused.clone()
        };
        let missing = Target {
            domain: Domain::UNIX,
            kind: Type::STREAM,
            protocol: None,
            address: SockAddr::unix("/nowhere/at/all")?,
        };
        let targets = vec![unknown, refused, broadcast, missing];
        let mut connector = Connector::new(targets);
        for delay in [None, Some(Duration::ZERO), Some(Duration::from_secs(3600))] {
            connector.delay = delay;
            let failures = fails(&connector, &mut Unobserved).await;
            let expected = [
                (0, Phase::Open, Some(libc::EAFNOSUPPORT)),
                (1, Phase::Outcome, Some(libc::ECONNREFUSED)),
                (2, Phase::Connect, Some(libc::EACCES)),
                (3, Phase::Connect, Some(libc::ENOENT)),
            ];
            let found = phases(&failures);
            assert_eq!(
                (found[0], found[1], found[3]),
                (expected[0], expected[1], expected[3])
            );
            assert_eq!(
                (found[2].0, found[2].1, found.len()),
                (2, Phase::Connect, 4)
            );
        }
        Ok(())
    });
}

#[test]
fn every_local_address_that_failed_is_named() {
    on_every_driver(async || {
        let refused = tcp(refusing()?);
        let local = |text: &str| SockAddr::from(text.parse::<SocketAddr>().expect("an address"));
        let mut connector = Connector::new(vec![refused.clone(), refused]);
        let unavailable = Some(libc::EADDRNOTAVAIL);
        let refused = (Phase::Outcome, Some(libc::ECONNREFUSED));

        connector.locals = Some(vec![
            local("203.0.113.1:0"),
            local("[::1]:0"),
            local("203.0.113.2:0"),
        ]);
        let found = phases(&fails(&connector, &mut Unobserved).await);
        let bind = |target, local| (target, Phase::Bind(local), unavailable);
        assert_eq!(found, [bind(0, 0), bind(0, 2), bind(1, 0), bind(1, 2)]);

        connector.locals = Some(vec![
            local("203.0.113.1:0"),
            local("127.0.0.1:0"),
            local("203.0.113.2:0"),
        ]);
        let found = phases(&fails(&connector, &mut Unobserved).await);
        let outcome = |target| (target, refused.0, refused.1);
        assert_eq!(found, [bind(0, 0), outcome(0), bind(1, 0), outcome(1)]);

        connector.locals = Some(vec![local("[::1]:0")]);
        let found = phases(&fails(&connector, &mut Unobserved).await);
        assert_eq!(
            found,
            [(0, Phase::NoLocal, None), (1, Phase::NoLocal, None)]
        );
        assert!(
            fails(&Connector::new(Vec::new()), &mut Unobserved)
                .await
                .is_empty()
        );
        Ok(())
    });
}

/// Notes what it is asked, and answers as it is told.
#[derive(Default)]
struct Notes {
    asked: Rc<RefCell<Vec<&'static str>>>,
    refusals: Vec<(&'static str, io::Error)>,
}

impl Notes {
    fn answer(&mut self, step: &'static str) -> io::Result<()> {
        self.asked.borrow_mut().push(step);
        match self
            .refusals
            .iter()
            .position(|(refused, _)| *refused == step)
        {
            Some(index) => Err(self.refusals.remove(index).1),
            None => Ok(()),
        }
    }
}

impl Observer for Notes {
    fn before_open(&mut self, _: &Target) -> io::Result<()> {
        self.answer("open")
    }

    fn before_bind(&mut self, socket: BorrowedFd<'_>, _: &SockAddr) -> io::Result<()> {
        assert!(SockRef::from(&socket).nonblocking()?);
        self.answer("bind")
    }

    fn before_connect(&mut self, socket: BorrowedFd<'_>, target: &Target) -> io::Result<()> {
        assert!(socket.as_raw_fd() >= 0 && target.address.is_ipv4());
        self.answer("connect")
    }
}

#[test]
fn an_observer_is_asked_before_each_step_and_may_end_everything() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let local = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut connector = Connector::new(vec![tcp(refusing()?), tcp(listener.local_addr()?)]);
        connector.locals = Some(vec![local.clone(), local]);
        let mut notes = Notes::default();
        let connected = connector.connect(&mut notes).await.expect("a connection");
        assert_eq!(connected.target, 1);
        let (fd, rest) = connected.socket.detach()?;
        assert!(rest.is_empty() && SockRef::from(&fd).nonblocking()?);
        let all = ["open", "bind", "connect"].repeat(2);
        assert_eq!(notes.asked.take(), all);

        // An error of the system's is a failure of its step like any other.
        let system = |code| io::Error::from_raw_os_error(code);
        notes.refusals = vec![
            ("open", system(libc::EACCES)),
            ("bind", system(libc::EPERM)),
        ];
        let connected = connector.connect(&mut notes).await.expect("a connection");
        assert_eq!((connected.target, notes.refusals.len()), (1, 0));
        assert_eq!(
            notes.asked.take(),
            ["open", "open", "bind", "bind", "connect"]
        );

        // One that wraps another ends everything, in whatever step.
        for step in ["open", "bind", "connect"] {
            notes.refusals = vec![(step, io::Error::other("no, said the observer"))];
            match connector.connect(&mut notes).await {
                Err(Unconnected::Stopped(error)) => {
                    assert_eq!(error.to_string(), "no, said the observer");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(notes.asked.take().last(), Some(&step));
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_comes_about_at_once_needs_no_registration() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let connecting = TcpStream::connect(listener.local_addr()?);
        // On the loopback both ends are in the same kernel; this is the shortest way there is.
        let stream = connecting
            .now_or_never()
            .expect("there is nothing to wait for")?;
        let mut accepting = pin!(listener.accept());
        assert!(poll_once(&mut accepting).await.is_ready());
        drop(stream);
        Ok(())
    });
}
