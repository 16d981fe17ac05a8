//! Streams: every byte arrives, in order and once, whatever is done in the meantime; how they end; what can be asked of them.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::io::copy;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use oneloop::net::{TcpListener, TcpStream, UnixStream};
use oneloop::{join_all, spawn, yield_now};
use socket2::SockRef;

use super::{Stream, TRANSPORTS, Transport, either, on_every_driver, poll_once};

/// Bytes that are at no two places the same for long.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn on_every_transport(test: impl AsyncFn(Transport, Stream, Stream) -> io::Result<()>) {
    on_every_driver(async || {
        for &transport in TRANSPORTS {
            let (one, other) = transport.connect().await?;
            test(transport, one, other).await?;
        }
        Ok(())
    });
}

#[test]
fn what_is_written_comes_back_from_an_echo() {
    on_every_transport(async |transport, client, server| {
        let sent = noise(1 << 20);
        let echo = spawn(async move { copy(&server, &mut &server).await });
        let writing = async {
            let mut rest = &sent[..];
            // Pieces of every size, from one byte to more than any buffer holds.
            let mut size = 1;
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(size.min(rest.len()));
                (&client).write_all(piece).await?;
                (rest, size) = (later, size * 3);
            }
            (&client).close().await
        };
        let mut received = Vec::new();
        let reading = async { (&client).read_to_end(&mut received).await };
        let (written, read) = futures_util::future::join(writing, reading).await;
        written?;
        assert_eq!(read?, sent.len());
        assert_eq!(echo.await?, sent.len() as u64);
        assert!(received == sent, "{transport:?}: other bytes");
        Ok(())
    });
}

#[test]
fn many_connections_at_once() {
    on_every_driver(async || {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            let server = spawn(async move {
                let mut echoes = Vec::new();
                for _ in 0..200 {
                    let (peer, _) = listener.accept().await?;
                    echoes.push(spawn(async move { copy(&peer, &mut &peer).await }));
                }
                for echo in join_all(echoes).await {
                    echo?;
                }
                io::Result::Ok(())
            });
            let clients = (0..200u32).map(|number| async move {
                let mut stream = TcpStream::connect(address).await?;
                for round in 0..10 {
                    let message = (number * 1000 + round).to_be_bytes();
                    stream.write_all(&message).await?;
                    let mut echo = [0; 4];
                    stream.read_exact(&mut echo).await?;
                    assert_eq!(echo, message);
                }
                io::Result::Ok(())
            });
            for client in join_all(clients).await {
                client?;
            }
            server.await?;
        }
        Ok(())
    });
}

#[test]
fn pieces_are_written_together() {
    on_every_transport(async |_, client, server| {
        // More than a system call takes, and none at all.
        for count in [0, 1, 3, 1024, 3000] {
            let pieces = noise(count * 3);
            let pieces: Vec<IoSlice<'_>> = pieces.chunks(3).map(IoSlice::new).collect();
            let mut written = 0;
            while written < count * 3 {
                let some = (&client).write_vectored(&pieces[written / 3..]).await?;
                assert_eq!(some % 3, 0, "so small a message is not cut");
                assert!(some > 0);
                written += some;
            }
            let mut received = vec![0; count * 3];
            (&server).read_exact(&mut received).await?;
            assert_eq!(received, noise(count * 3));
        }
        Ok(())
    });
}

#[test]
fn a_closed_direction_is_an_end_and_the_other_goes_on() {
    on_every_transport(async |transport, client, server| {
        (&client).write_all(b"question").await?;
        (&client).close().await?;
        let mut question = String::new();
        (&server).read_to_string(&mut question).await?;
        assert_eq!(question, "question");
        assert_eq!(
            (&server).read(&mut [0; 8]).await?,
            0,
            "the end stays the end"
        );
        let broken = (&client)
            .write_all(b"more")
            .await
            .expect_err("it is closed");
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe, "{transport:?}");
        (&server).write_all(b"answer").await?;
        drop(server);
        let mut answer = String::new();
        (&client).read_to_string(&mut answer).await?;
        assert_eq!(answer, "answer");
        // Both sides have closed by now, which is no reason to fail.
        (&client).close().await
    });
}

#[test]
fn whoever_waits_is_told_of_the_end() {
    on_every_transport(async |_, client, server| {
        let client = Rc::new(client);
        let theirs = Rc::clone(&client);
        let reader = spawn(async move { (&*theirs).read(&mut [0; 8]).await });
        yield_now().await;
        drop(server);
        assert_eq!(reader.await?, 0);
        Ok(())
    });
}

#[test]
fn a_reset_is_an_error_for_whoever_reads_and_whoever_writes() {
    on_every_driver(async || {
        for transport in [Transport::Tcp4, Transport::Tcp6] {
            for waits in [false, true] {
                let (client, server) = transport.connect().await?;
                let client = Rc::new(client);
                let theirs = Rc::clone(&client);
                let reader = spawn(async move { (&*theirs).read(&mut [0; 8]).await });
                if waits {
                    yield_now().await;
                    yield_now().await;
                }
                let Stream::Tcp(server) = server else {
                    unreachable!("a TCP transport");
                };
                SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
                drop(server);
                let reset = reader.await.expect_err("a reset");
                assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
                let broken = (&*client).write_all(b"x").await.expect_err("it is over");
                assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
                let stream = either!(&*client, stream => SockRef::from(stream).peer_addr());
                assert_eq!(stream.expect_err("no peer").kind(), ErrorKind::NotConnected);
            }
        }
        Ok(())
    });
}

#[test]
fn halves_in_two_tasks() {
    on_every_transport(async |_, client, server| {
        let sent = noise(1 << 20);
        let expected = sent.clone();
        let (writing, reading) = either!(client, stream => {
            let (reader, writer) = stream.split();
            (spawn(send(writer, sent)), spawn(receive(reader)))
        });
        copy(&server, &mut &server).await?;
        // The writer was dropped, which told the server of the end.
        writing.await?;
        drop(server);
        assert!(reading.await? == expected);
        Ok(())
    });
}

async fn send(mut writer: impl AsyncWrite + Unpin, bytes: Vec<u8>) -> io::Result<()> {
    writer.write_all(&bytes).await
}

async fn receive(mut reader: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[test]
fn several_tasks_may_wait_on_one_stream() {
    on_every_transport(async |_, client, server| {
        let server = Rc::new(server);
        let readers = Vec::from_iter((0..20).map(|_| {
            let server = Rc::clone(&server);
            spawn(async move {
                let mut byte = [0];
                (&*server).read_exact(&mut byte).await.map(|()| byte[0])
            })
        }));
        yield_now().await;
        yield_now().await;
        for number in 0..20 {
            (&client).write_all(&[number]).await?;
            yield_now().await;
        }
        let mut numbers = Vec::new();
        for reader in readers {
            numbers.push(reader.await?);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..20));
        Ok(())
    });
}

#[test]
fn a_read_that_was_given_up_has_taken_nothing() {
    on_every_transport(async |_, client, server| {
        for round in 0..100u8 {
            let mut buffer = [0; 8];
            let mut stream = &server;
            let mut read = stream.read(&mut buffer);
            assert!(poll_once(&mut read).await.is_pending());
            drop(read);
            (&client).write_all(&[round, 255 - round]).await?;
            // Ready by now, and given up all the same.
            let _ = (&server).read(&mut []).await?;
            let mut pair = [0; 2];
            (&server).read_exact(&mut pair).await?;
            assert_eq!(pair, [round, 255 - round]);
        }
        Ok(())
    });
}

#[test]
fn a_write_that_was_given_up_has_sent_nothing() {
    on_every_transport(async |_, client, server| {
        let chunk = noise(64 << 10);
        let mut sent = 0;
        // Until there is no room, and then some more that is given up.
        let mut given_up = 0;
        while given_up < 3 {
            match poll_once((&client).write(&chunk)).await {
                Poll::Ready(some) => sent += some?,
                Poll::Pending => {
                    given_up += 1;
                    // A pause for fairness is a reason to be pending too; only the next one counts if this was it.
                    yield_now().await;
                }
            }
        }
        drop(client);
        let mut received = Vec::new();
        (&server).read_to_end(&mut received).await?;
        assert_eq!(received.len(), sent);
        Ok(())
    });
}

#[test]
fn peeking_takes_nothing() {
    on_every_transport(async |_, client, server| {
        let mut buffer = [0; 3];
        let mut early = std::pin::pin!(async {
            let mut buffer = [0; 3];
            either!(&server, stream => stream.peek(&mut buffer).await)
        });
        assert!(poll_once(&mut early).await.is_pending());
        (&client).write_all(b"hello").await?;
        assert_eq!(early.await?, 3);
        for _ in 0..2 {
            let count = either!(&server, stream => stream.peek(&mut buffer).await)?;
            assert_eq!((count, &buffer), (3, b"hel"));
        }
        let mut all = [0; 5];
        (&server).read_exact(&mut all).await?;
        assert_eq!(&all, b"hello");
        drop(client);
        assert_eq!(
            either!(&server, stream => stream.peek(&mut buffer).await)?,
            0
        );
        Ok(())
    });
}

#[test]
fn a_stream_that_never_has_to_wait_lets_others_run() {
    on_every_transport(async |_, client, server| {
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        let counter = spawn(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        (&client).write_all(&noise(2000)).await?;
        for _ in 0..1000 {
            (&server).read_exact(&mut [0]).await?;
        }
        assert!(turns.get() > 5, "{} turns", turns.get());
        counter.cancel().await;
        Ok(())
    });
}

#[test]
fn shutting_down_ends_what_it_says() {
    on_every_transport(async |transport, client, server| {
        either!(&client, stream => stream.shutdown(Shutdown::Read))?;
        assert_eq!((&client).read(&mut [0; 8]).await?, 0);
        (&client).write_all(b"still open").await?;
        either!(&client, stream => stream.shutdown(Shutdown::Both))?;
        let mut all = String::new();
        (&server).read_to_string(&mut all).await?;
        assert_eq!(all, "still open");
        drop(server);
        if transport.is_tcp() {
            // The server has closed what nobody had closed before, so the connection is over.
            let kind = poll_fn(|context| {
                context.waker().wake_by_ref();
                let again = either!(&client, stream => stream.shutdown(Shutdown::Both));
                match again {
                    Err(error) => Poll::Ready(error.kind()),
                    Ok(()) => Poll::Pending,
                }
            });
            assert_eq!(kind.await, ErrorKind::NotConnected);
        }
        Ok(())
    });
}

#[test]
fn options_and_addresses() {
    on_every_driver(async || {
        for transport in [Transport::Tcp4, Transport::Tcp6] {
            let (Stream::Tcp(client), Stream::Tcp(server)) = transport.connect().await? else {
                unreachable!("a TCP transport");
            };
            assert_eq!(client.peer_addr()?, server.local_addr()?);
            assert_eq!(server.peer_addr()?, client.local_addr()?);
            assert!(!client.nodelay()?);
            client.set_nodelay(true)?;
            assert!(client.nodelay()?);
            client.set_ttl(9)?;
            assert_eq!(client.ttl()?, 9);
            let port = client.local_addr()?.port().to_string();
            assert!(format!("{client:?}").contains(&port));
        }
        let (one, other) = UnixStream::pair()?;
        assert!(one.local_addr()?.is_unnamed() && other.peer_addr()?.is_unnamed());
        #[cfg(target_os = "linux")]
        {
            let credentials = one.peer_cred()?;
            assert_eq!(credentials.process_id(), Some(std::process::id()));
            assert_eq!(credentials.user_id(), rustix::process::geteuid().as_raw());
            assert_eq!(credentials.group_id(), rustix::process::getegid().as_raw());
        }
        Ok(())
    });
}

#[test]
fn to_the_standard_library_and_back() {
    on_every_driver(async || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address: SocketAddr = listener.local_addr()?;
        // Blocking, as it comes.
        let client = TcpStream::try_from(std::net::TcpStream::connect(address)?)?;
        let listener = TcpListener::try_from(listener)?;
        let (server, _) = listener.accept().await?;
        assert!(
            poll_once((&client).read(&mut [0; 8])).await.is_pending(),
            "it would block"
        );
        (&server).write_all(b"x").await?;
        assert_eq!((&client).read(&mut [0; 8]).await?, 1);

        // Registered by now; out, and in again.
        let client = client.into_std()?;
        let duplicate = client.try_clone()?;
        let client = TcpStream::from_std(client)?;
        assert!(poll_once((&client).read(&mut [0; 8])).await.is_pending());
        let listener = TcpListener::from_std(listener.into_std()?)?;
        let again = TcpStream::connect(address).await?;
        let (accepted, _) = listener.accept().await?;
        assert_eq!(accepted.peer_addr()?, again.local_addr()?);

        // Closed while a duplicate keeps the file open: what happens to that is nobody's business here.
        drop(client);
        (&server).write_all(b"y").await?;
        yield_now().await;
        assert_eq!(duplicate.as_fd().try_clone_to_owned().map(drop)?, ());
        Ok(())
    });
    let (one, mut other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    on_every_driver(async || {
        let stream = UnixStream::from_std(one.try_clone()?)?;
        assert!(poll_once((&stream).read(&mut [0; 8])).await.is_pending());
        let stream = stream.into_std()?;
        io::Write::write_all(&mut other.try_clone()?, b"x")?;
        let mut stream = UnixStream::try_from(stream)?;
        assert_eq!(stream.read(&mut [0; 8]).await?, 1);
        Ok(())
    });
    io::Write::write_all(&mut other, b"x").expect("it is still open");
}

#[test]
fn a_read_of_nothing_takes_nothing() {
    on_every_transport(async |_, client, server| {
        (&client).write_all(b"x").await?;
        assert_eq!(Pin::new(&mut &server).read(&mut []).await?, 0);
        assert_eq!((&client).write(b"").await?, 0);
        assert_eq!((&server).read(&mut [0; 8]).await?, 1);
        Ok(())
    });
}
