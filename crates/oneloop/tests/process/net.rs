//! The network where it concerns the whole process: no descriptor is left whatever is given up, none to be had is an error that passes,
//! a broken pipe raises no signal, and a forked child goes on with the sockets that it has.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};
use oneloop::net::{
    ConnectOptions, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
    lookup,
};
use oneloop::{Builder, join_all, sleep, spawn, timeout, yield_now};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::black_hole::BlackHole;
use crate::support::KINDS;
use crate::{Child, End, exit, in_child, open_descriptors};

/// Runs a test on each driver, in a child of its own, which is to leave no descriptor open.
fn leaves_nothing_open(test: impl AsyncFn() -> io::Result<()>) {
    for &kind in KINDS {
        let end = in_child(|| {
            let before = open_descriptors();
            let run = Builder::new().driver(kind).run(test());
            run.expect("a run").expect("a test");
            assert_that_open_are(&before, "after the run");
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

/// That these descriptors are open, and no others. A lookup that was given up may still be reading the system's files, on a thread of
/// its own: it gets its time, in which the loop gets none, so that nothing else is put right meanwhile.
fn assert_that_open_are(expected: &[String], when: &str) {
    for _ in 0..1000 {
        if open_descriptors() == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(open_descriptors(), expected, "{when}");
}

/// Polls a future this many times, whether it is woken or not, with turns for others in between, and then gives it up. Whether it was
/// done before.
async fn give_up_after(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let once = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context)));
        if once.await.is_ready() {
            return true;
        }
        yield_now().await;
    }
    false
}

/// A future that is made anew for each number of polls after which it is given up, until it gets done.
async fn sweep(mut make: impl FnMut() -> Pin<Box<dyn Future<Output = ()>>>) {
    let before = open_descriptors();
    for polls in 0..1000 {
        let done = give_up_after(polls, make()).await;
        assert_that_open_are(&before, &format!("given up after {polls} polls"));
        if done {
            return;
        }
    }
    panic!("it is never done");
}

#[test]
fn whatever_is_given_up_at_whatever_point_leaves_no_descriptor() {
    leaves_nothing_open(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // The loop's own threads and the resolver's files are there before the count.
        drop(lookup("localhost", 1).await?);
        sweep(|| {
            Box::pin(async move {
                let connected = TcpStream::connect(address).await;
                drop(connected.expect("a connection"));
            })
        })
        .await;
        sweep(|| {
            Box::pin(async move {
                let connected = TcpStream::connect(("localhost", address.port())).await;
                drop(connected.expect("a connection"));
            })
        })
        .await;
        sweep(|| {
            Box::pin(async {
                drop(TcpListener::bind("localhost:0").await.expect("a listener"));
            })
        })
        .await;
        sweep(|| {
            Box::pin(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
                let connecting = TcpStream::connect(listener.local_addr().expect("an address"));
                let mut client = connecting.await.expect("a connection");
                let (mut server, _) = listener.accept().await.expect("a connection");
                let mut incoming = listener.incoming();
                client.write_all(&[7; 100_000]).await.expect("room");
                server.peek(&mut [0; 8]).await.expect("bytes");
                server
                    .read_exact(&mut vec![0; 100_000])
                    .await
                    .expect("bytes");
                server.close().await.expect("an end");
                let (mut reader, mut writer) = client.split();
                reader.read_to_end(&mut Vec::new()).await.expect("an end");
                writer.close().await.expect("an end");
                let waiting = timeout(Duration::from_millis(1), incoming.next()).await;
                assert!(waiting.is_err());
            })
        })
        .await;
        Ok(())
    });
}

#[test]
fn a_connection_that_was_given_up_in_the_middle_is_closed() {
    leaves_nothing_open(async || {
        let holes = [BlackHole::new()?, BlackHole::new()?, BlackHole::new()?];
        let addresses = Vec::from_iter(holes.iter().map(|hole| hole.address));
        let before = open_descriptors();
        for attempts in 1..=3 {
            let options = ConnectOptions::new().delay(Some(Duration::from_millis(5)));
            let mut connecting = pin!(options.connect(&addresses[..]));
            while open_descriptors().len() < before.len() + attempts {
                let elapsed = timeout(Duration::from_millis(1), &mut connecting).await;
                assert!(elapsed.is_err());
            }
        }
        assert_eq!(open_descriptors(), before, "they were dropped");

        // And those that have lost are.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addresses = [addresses[0], addresses[1], listener.local_addr()?];
        let options = ConnectOptions::new().delay(Some(Duration::from_millis(5)));
        let before = open_descriptors();
        let stream = options.connect(&addresses[..]).await?;
        assert_eq!(open_descriptors().len(), before.len() + 1);
        drop(stream);
        Ok(())
    });
}

#[test]
fn thousands_of_connections_are_opened_used_and_closed() {
    leaves_nothing_open(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = spawn(async move {
            let mut incoming = listener.incoming();
            while let Some(stream) = incoming.next().await {
                let mut stream = stream.expect("a connection");
                spawn(async move {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await?;
                    stream.write_all(&byte).await
                })
                .detach();
            }
        });
        for _ in 0..20 {
            let clients = (0..100u8).map(|number| async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(&[number]).await?;
                let mut echo = Vec::new();
                stream.read_to_end(&mut echo).await?;
                assert_eq!(echo, [number]);
                io::Result::Ok(())
            });
            for client in join_all(clients).await {
                client?;
            }
        }
        server.cancel().await;
        Ok(())
    });
}

#[test]
fn without_a_descriptor_accepting_fails_and_goes_on_when_there_is_one() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    leaves_nothing_open(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let clients = [
            TcpStream::connect(listener.local_addr()?).await?,
            TcpStream::connect(listener.local_addr()?).await?,
        ];
        // Registered, and waiting, before there is none.
        let first = listener.accept().await?;
        drop(first);
        let before = getrlimit(Resource::Nofile);
        let mut none = before;
        none.current = Some(3);
        setrlimit(Resource::Nofile, none)?;
        for _ in 0..3 {
            let error = listener.accept().await.expect_err("no descriptor");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            let error = listener.incoming().next().await.expect("an answer");
            assert_eq!(error.expect_err("none").raw_os_error(), Some(libc::EMFILE));
        }
        let error = TcpStream::connect(listener.local_addr()?)
            .await
            .expect_err("none");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        let error = UnixStream::connect("/nowhere").await.expect_err("none");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        setrlimit(Resource::Nofile, before)?;
        let (_, peer) = listener.accept().await?;
        assert_eq!(peer, clients[1].local_addr()?);
        // And it still waits as it should.
        let waiting = timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(waiting.is_err());
        let late = TcpStream::connect(listener.local_addr()?).await?;
        assert_eq!(listener.accept().await?.1, late.local_addr()?);
        Ok(())
    });
}

#[test]
fn a_broken_pipe_is_an_error_and_no_signal() {
    leaves_nothing_open(async || {
        // As in a program that is not Rust's, where nobody has told the system to ignore it.
        // SAFETY: the default action is a valid one.
        #[expect(unsafe_code, reason = "rustix has no signal handlers")]
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        assert_ne!(before, libc::SIG_ERR);
        let (mut one, other) = UnixStream::pair()?;
        drop(other);
        let broken = one.write_all(b"x").await.expect_err("nobody reads");
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
        let pieces = [io::IoSlice::new(b"x"), io::IoSlice::new(b"y")];
        let broken = one.write_vectored(&pieces).await.expect_err("nobody reads");
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        drop(listener.accept().await?);
        let broken = loop {
            if let Err(error) = client.write(b"x").await {
                break error;
            }
            sleep(Duration::from_millis(1)).await;
        };
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&broken.kind()), "{broken}");
        Ok(())
    });
}

#[test]
fn a_child_goes_on_with_its_streams_and_the_parent_does_not_notice() {
    for &kind in KINDS {
        let end = in_child(|| {
            let mut child = None;
            let run = Builder::new().driver(kind).run(async {
                let (mut mine, theirs) = UnixStream::pair()?;
                let (waiting, mut tell) = UnixStream::pair()?;
                // Both wait for it across the fork: the bytes are for whoever comes first, the end is for both.
                let reader = spawn(async move { (&waiting).read(&mut [0; 8]).await });
                yield_now().await;
                child = Child::fork_here();
                if child.is_none() {
                    (&theirs).write_all(b"from the child").await?;
                    drop((theirs, mine));
                    tell.close().await?;
                    assert_eq!(reader.await?, 0);
                    return io::Result::Ok(());
                }
                drop(theirs);
                let mut words = String::new();
                mine.read_to_string(&mut words).await?;
                assert_eq!(words, "from the child");
                assert_eq!(reader.await?, 0, "the child has closed it for both");
                // The child has gone, and the parent's registrations are what they were.
                let (mut one, mut other) = UnixStream::pair()?;
                let echo = spawn(async move {
                    let mut byte = [0];
                    other.read_exact(&mut byte).await?;
                    io::Result::Ok(byte)
                });
                yield_now().await;
                one.write_all(b"x").await?;
                assert_eq!(echo.await?, *b"x");
                Ok(())
            });
            run.expect("a run").expect("streams");
            match child {
                Some(child) => assert_eq!(child.wait(), End::Well),
                None => exit(true),
            }
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn a_child_goes_on_with_its_datagram_sockets_and_the_parent_does_not_notice() {
    for &kind in KINDS {
        let end = in_child(|| {
            let mut is_child = false;
            let run = Builder::new().driver(kind).run(async {
                let (unix, sender) = UnixDatagram::pair()?;
                let udp = UdpSocket::bind("127.0.0.1:0").await?;
                let address = udp.local_addr()?;
                // Both sides wait on both sockets across the fork, and a datagram is for one of them: each is sent two.
                let by_unix = spawn(async move {
                    let mut buffer = [0; 8];
                    let length = unix.recv(&mut buffer).await?;
                    io::Result::Ok((unix, buffer[..length].to_vec()))
                });
                let by_udp = spawn(async move {
                    let mut buffer = [0; 8];
                    let (length, _) = udp.recv_from(&mut buffer).await?;
                    io::Result::Ok((udp, buffer[..length].to_vec()))
                });
                yield_now().await;
                let child = Child::fork_here();
                is_child = child.is_none();
                if is_child {
                    sender.send(b"unix").await?;
                    sender.send(b"unix").await?;
                    let client = UdpSocket::bind("127.0.0.1:0").await?;
                    client.send_to(b"udp", address).await?;
                    client.send_to(b"udp", address).await?;
                }
                let (unix, data) = by_unix.await?;
                assert_eq!(data, b"unix");
                let (udp, data) = by_udp.await?;
                assert_eq!(data, b"udp");
                let Some(child) = child else {
                    drop((unix, udp, sender));
                    return Ok(());
                };
                assert_eq!(child.wait(), End::Well);
                // The child has closed its own, and the parent's registrations are what they were.
                let mut buffer = [0; 8];
                let waiting = spawn(async move { unix.recv(&mut buffer).await });
                let mut buffer = [0; 8];
                let waiting_too = spawn(async move { udp.recv_from(&mut buffer).await });
                yield_now().await;
                sender.send(b"parent").await?;
                let client = UdpSocket::bind("127.0.0.1:0").await?;
                client.send_to(b"parent", address).await?;
                assert_eq!(waiting.await?, 6);
                assert_eq!(waiting_too.await?.0, 6);
                io::Result::Ok(())
            });
            run.expect("a run").expect("sockets");
            if is_child {
                exit(true);
            }
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn a_socket_that_is_closed_with_a_duplicate_left_bothers_nobody() {
    leaves_nothing_open(async || {
        let (one, other) = UnixStream::pair()?;
        let duplicate = rustix::io::dup(&one)?;
        assert!(!give_up_after(1, (&one).read(&mut [0])).await);
        drop(one);
        (&other).write_all(b"x").await?;
        // The number may be somebody else's now, who is not told of what happens to the file.
        let (next, _kept) = UnixStream::pair()?;
        assert!(!give_up_after(20, (&next).read(&mut [0])).await);
        drop(duplicate);
        Ok(())
    });
}

#[test]
fn a_unix_connection_that_was_given_up_while_there_was_no_room_is_closed() {
    leaves_nothing_open(async || {
        let path = std::env::temp_dir().join(format!("oneloop-full-{}", std::process::id()));
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        listener.bind(&SockAddr::unix(&path)?)?;
        listener.listen(0)?;
        let mut queue = Vec::new();
        loop {
            let before = open_descriptors();
            let connecting = UnixStream::connect(&path);
            match timeout(Duration::from_millis(20), connecting).await {
                Ok(connected) => queue.push(connected?),
                Err(_) => {
                    assert_eq!(open_descriptors(), before);
                    break;
                }
            }
        }
        let listener = UnixListener::from_std(listener.into())?;
        for _ in &queue {
            drop(listener.accept().await?);
        }
        assert!(
            timeout(Duration::from_millis(5), listener.accept())
                .await
                .is_err()
        );
        std::fs::remove_file(&path)
    });
}
