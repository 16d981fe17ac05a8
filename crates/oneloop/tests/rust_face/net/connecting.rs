//! Connecting: to the first address that answers, whatever the others do; what is said if none does.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, FutureExt};
use oneloop::engine::{Connector, Target};
use oneloop::net::{
    ConnectError, ConnectOptions, TcpListener, TcpStream, UnixListener, UnixStream,
};
use oneloop::{now, sleep, spawn, timeout};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

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

/// What failed, by the system's numbers.
async fn fails(connector: &Connector) -> Vec<Option<i32>> {
    let error = connector.connect().await.expect_err("nothing answers");
    match error
        .get_ref()
        .and_then(|it| it.downcast_ref::<ConnectError>())
    {
        Some(each) => each.errors().iter().map(io::Error::raw_os_error).collect(),
        None => vec![error.raw_os_error()],
    }
}

#[test]
fn each_failure_is_told_in_the_order_of_the_targets() {
    on_every_driver(async || {
        let refused = tcp(refusing()?);
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
        // Each fails in a step of its own: opening, the outcome, the call that connects.
        let mut connector = Connector::new(vec![unknown, refused, missing]);
        let expected = [libc::EAFNOSUPPORT, libc::ECONNREFUSED, libc::ENOENT].map(Some);
        for delay in [None, Some(Duration::ZERO), Some(Duration::from_secs(3600))] {
            connector.delay = delay;
            assert_eq!(fails(&connector).await, expected);
        }
        Ok(())
    });
}

#[test]
fn every_local_address_that_failed_is_told() {
    on_every_driver(async || {
        let target = tcp(refusing()?);
        let local = |text: &str| SockAddr::from(text.parse::<SocketAddr>().expect("an address"));
        let mut connector = Connector::new(vec![target.clone(), target]);
        let unavailable = Some(libc::EADDRNOTAVAIL);
        let refused = Some(libc::ECONNREFUSED);

        // One error, since they are all the same.
        connector.locals = Some(vec![
            local("203.0.113.1:0"),
            local("[::1]:0"),
            local("203.0.113.2:0"),
        ]);
        assert_eq!(fails(&connector).await, [unavailable]);

        connector.locals = Some(vec![
            local("203.0.113.1:0"),
            local("203.0.113.2:0"),
            local("127.0.0.1:0"),
            local("203.0.113.3:0"),
        ]);
        assert_eq!(
            fails(&connector).await,
            [unavailable, unavailable, refused].repeat(2)
        );

        // None is of the family.
        connector.locals = Some(vec![local("[::1]:0")]);
        assert_eq!(fails(&connector).await, [None, None]);

        let nowhere = Connector::new(Vec::new()).connect().await;
        assert_eq!(
            nowhere.expect_err("nothing to try").kind(),
            ErrorKind::InvalidInput
        );
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
