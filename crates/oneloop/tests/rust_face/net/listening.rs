//! Listeners: who accepts what, options, paths and names.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};
use oneloop::net::{ListenOptions, TcpListener, TcpStream, UnixListener, UnixStream};
use oneloop::{join_all, spawn, yield_now};
use socket2::SockRef;

use super::{TemporaryPath, on_every_driver, poll_once};

#[test]
fn each_of_many_that_accept_gets_a_connection() {
    on_every_driver(async || {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await?);
        let acceptors = Vec::from_iter((0..50).map(|_| {
            let listener = Rc::clone(&listener);
            spawn(async move { listener.accept().await })
        }));
        yield_now().await;
        let address = listener.local_addr()?;
        let clients = join_all((0..50).map(|_| TcpStream::connect(address))).await;
        let mut peers = Vec::new();
        for accepted in join_all(acceptors).await {
            peers.push(accepted?.1);
        }
        let mut locals = Vec::new();
        for client in &clients {
            locals.push(client.as_ref().expect("a connection").local_addr()?);
        }
        peers.sort_unstable();
        locals.sort_unstable();
        assert_eq!(peers, locals);
        Ok(())
    });
}

#[test]
fn an_accept_that_was_given_up_loses_no_connection() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        for _ in 0..20 {
            let mut first = std::pin::pin!(listener.accept());
            assert!(poll_once(&mut first).await.is_pending());
            let client = TcpStream::connect(listener.local_addr()?).await?;
            let second = listener.accept();
            drop(second);
            let (_, peer) = first.await?;
            assert_eq!(peer, client.local_addr()?);
        }
        // Nobody is left in the queue.
        assert!(
            poll_once(std::pin::pin!(listener.accept()))
                .await
                .is_pending()
        );
        Ok(())
    });
}

#[test]
fn an_accept_that_was_given_up_keeps_no_task_in_memory() {
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let waker = Arc::new(Nobody);
        for _ in 0..100 {
            let mut accepting = std::pin::pin!(listener.accept());
            let one = Waker::from(Arc::clone(&waker));
            let polled = accepting.as_mut().poll(&mut Context::from_waker(&one));
            assert!(polled.is_pending());
        }
        assert_eq!(Arc::strong_count(&waker), 1);
        Ok(())
    });
}

#[test]
fn connections_as_a_stream() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let clients =
            spawn(async move { join_all((0..70).map(|_| TcpStream::connect(address))).await });
        let accepted: Vec<_> = listener.incoming().take(70).collect().await;
        for (stream, client) in accepted.into_iter().zip(clients.await) {
            assert_eq!(stream?.local_addr()?, client?.peer_addr()?);
        }
        let mut incoming = listener.incoming();
        assert!(poll_once(incoming.next()).await.is_pending());
        drop(incoming);

        let path = TemporaryPath::new();
        let listener = UnixListener::bind(&path.0)?;
        let mut client = UnixStream::connect(&path.0).await?;
        let mut incoming = listener.incoming();
        let mut accepted = incoming.next().await.expect("it never ends")?;
        accepted.write_all(b"hello").await?;
        let mut greeting = [0; 5];
        client.read_exact(&mut greeting).await?;
        assert_eq!(&greeting, b"hello");
        Ok(())
    });
}

#[test]
fn a_crowd_lets_others_run() {
    on_every_driver(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let clients = Vec::from_iter((0..100).map(|_| std::net::TcpStream::connect(address)));
        let other = spawn(async {});
        let mut accepted = Vec::new();
        while !other.is_finished() {
            accepted.push(listener.accept().await?);
            assert!(accepted.len() < 100, "nobody else had a turn");
        }
        drop(clients);
        Ok(())
    });
}

#[test]
fn what_is_accepted_is_close_on_exec_and_does_not_block() {
    on_every_driver(async || {
        let path = TemporaryPath::new();
        let unix = UnixListener::bind(&path.0)?;
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let clients = (
            UnixStream::connect(&path.0).await?,
            TcpStream::connect(tcp.local_addr()?).await?,
        );
        let (unix_peer, tcp_peer) = (unix.accept().await?.0, tcp.accept().await?.0);
        for socket in [
            SockRef::from(&unix),
            SockRef::from(&tcp),
            SockRef::from(&clients.0),
            SockRef::from(&clients.1),
            SockRef::from(&unix_peer),
            SockRef::from(&tcp_peer),
        ] {
            assert!(socket.nonblocking()?);
            let flags = rustix::io::fcntl_getfd(&*socket)?;
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        Ok(())
    });
}

#[test]
fn the_options_reach_the_socket() {
    on_every_driver(async || {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = ListenOptions::new().bind(any).await?;
        assert!(SockRef::from(&listener).reuse_address()?);
        assert!(!SockRef::from(&listener).reuse_port()?);
        let taken = TcpListener::bind(listener.local_addr()?).await;
        assert_eq!(taken.expect_err("taken").kind(), ErrorKind::AddrInUse);

        let listener = ListenOptions::new().reuse_address(false).bind(any).await?;
        assert!(!SockRef::from(&listener).reuse_address()?);

        let options = ListenOptions::new().reuse_port(true);
        let one = options.bind(any).await?;
        let other = options.bind(one.local_addr()?).await?;
        assert_eq!(one.local_addr()?, other.local_addr()?);

        let v6: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
        for dual_stack in [true, false] {
            let listener = ListenOptions::new().dual_stack(dual_stack).bind(v6).await?;
            assert_eq!(SockRef::from(&listener).only_v6()?, !dual_stack);
            let port = listener.local_addr()?.port();
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            assert_eq!(connected.is_ok(), dual_stack);
        }
        Ok(())
    });
}

#[test]
fn the_backlog_is_as_long_as_it_is_told() {
    on_every_driver(async || {
        let listener = ListenOptions::new().backlog(1).bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut waiting = Vec::new();
        // Linux keeps one more than it is told, other systems half as many again; the rest is turned away or waits.
        for _ in 0..10 {
            let mut connecting = Box::pin(TcpStream::connect(address));
            match poll_once(&mut connecting).await {
                Poll::Ready(connected) => waiting.push(Ok(connected)),
                Poll::Pending => waiting.push(Err(connecting)),
            }
        }
        let at_once = waiting.iter().filter(|it| it.is_ok()).count();
        assert!((1..=3).contains(&at_once), "{at_once}");
        Ok(())
    });
}

#[test]
fn the_first_address_that_can_be_had() {
    on_every_driver(async || {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let addresses = [taken.local_addr()?, free, taken.local_addr()?];
        let listener = TcpListener::bind(&addresses[..]).await?;
        assert_ne!(listener.local_addr()?, taken.local_addr()?);
        let refused = TcpListener::bind(&addresses[..1]).await;
        assert_eq!(refused.expect_err("taken").kind(), ErrorKind::AddrInUse);
        let none = TcpListener::bind(&addresses[..0]).await;
        assert_eq!(
            none.expect_err("no address").kind(),
            ErrorKind::InvalidInput
        );
        Ok(())
    });
}

#[test]
fn unix_paths() {
    on_every_driver(async || {
        let path = TemporaryPath::new();
        let missing = UnixStream::connect(&path.0).await;
        assert_eq!(
            missing.expect_err("nothing there").kind(),
            ErrorKind::NotFound
        );
        let listener = UnixListener::bind(&path.0)?;
        assert_eq!(listener.local_addr()?.as_pathname(), Some(path.0.as_path()));
        let taken = UnixListener::bind(&path.0);
        assert_eq!(taken.expect_err("taken").kind(), ErrorKind::AddrInUse);
        let client = UnixStream::connect(&path.0).await?;
        assert_eq!(client.peer_addr()?.as_pathname(), Some(path.0.as_path()));
        let (server, peer) = listener.accept().await?;
        assert!(peer.is_unnamed() && server.peer_addr()?.is_unnamed());
        assert_eq!(server.local_addr()?.as_pathname(), Some(path.0.as_path()));
        assert!(format!("{listener:?} {client:?}").contains("oneloop-test"));
        drop((listener, server));
        let refused = UnixStream::connect(&path.0).await;
        assert_eq!(
            refused.expect_err("nobody").kind(),
            ErrorKind::ConnectionRefused
        );
        for wrong in ["a\0b".to_owned(), "x".repeat(200)] {
            let error = UnixListener::bind(&wrong).expect_err("no path");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let error = UnixStream::connect(&wrong).await.expect_err("no path");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        Ok(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn unix_names_and_peers_with_any() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net;

    on_every_driver(async || {
        let names = [super::unique_name(), super::unique_name()].map(|name| name + "\0\u{1}");
        let addresses = [0, 1].map(|it| net::SocketAddr::from_abstract_name(&names[it]));
        let [address, own] = addresses.map(|it| it.expect("an address"));
        let listener = UnixListener::bind_addr(&address)?;
        assert_eq!(
            listener.local_addr()?.as_abstract_name(),
            Some(names[0].as_bytes())
        );
        let taken = UnixListener::bind(format!("\0{}", names[0]));
        assert_eq!(taken.expect_err("taken").kind(), ErrorKind::AddrInUse);
        let client = UnixStream::connect_addr(&address).await?;
        assert_eq!(
            client.peer_addr()?.as_abstract_name(),
            Some(names[0].as_bytes())
        );
        drop(listener.accept().await?);
        // A peer that has a name of its own.
        let named = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        named.bind(&socket2::SockAddr::unix(format!("\0{}", names[1]))?)?;
        named.connect(&socket2::SockAddr::unix(format!("\0{}", names[0]))?)?;
        let (_, peer) = listener.accept().await?;
        assert_eq!(peer.as_abstract_name(), own.as_abstract_name());
        Ok(())
    });
}

/// The kernel lets a path be one byte longer than the standard library can say.
#[cfg(target_os = "linux")]
#[test]
fn a_peer_whose_name_cannot_be_told_is_accepted() {
    on_every_driver(async || {
        let name = super::unique_name();
        let listener = UnixListener::bind(format!("\0{name}"))?;
        let (peer, directory) = super::bound_to_a_full_path(socket2::Type::STREAM)?;
        peer.connect(&socket2::SockAddr::unix(format!("\0{name}"))?)?;
        let (stream, address) = listener.accept().await?;
        assert!(address.is_unnamed());
        assert!(stream.peer_addr().is_err());
        std::fs::remove_dir_all(&directory)
    });
}
