//! Whose a socket is: it belongs to the loop that it first had to wait on, and anywhere else it is an error, never a hang.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use oneloop::net::{TcpListener, TcpStream, UnixStream, lookup};
use oneloop::{Builder, run, spawn, yield_now};

use super::{on_every_driver, poll_once};
use crate::support::{KINDS, call, real, this_loop};

/// Polls a future once, outside of any loop.
fn poll_here<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

const ELSEWHERE: &str = "the socket belongs to an event loop that is not the one that runs here";

/// A stream that had to wait on a loop, and its peer.
fn bound(kind: oneloop::DriverKind) -> (UnixStream, UnixStream) {
    let made = Builder::new().driver(kind).run(async {
        let (one, other) = UnixStream::pair()?;
        assert!(poll_once((&one).read(&mut [0])).await.is_pending());
        io::Result::Ok((one, other))
    });
    made.expect("a run").expect("a pair")
}

#[test]
fn a_stream_of_a_closed_loop_is_an_error_and_can_be_taken_along() {
    for &kind in KINDS {
        let (stream, other) = bound(kind);
        let error = |result: Poll<io::Result<usize>>| match result {
            Poll::Ready(Err(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(error(poll_here((&stream).read(&mut [0]))), ELSEWHERE);
        assert_eq!(error(poll_here((&stream).write(b"x"))), ELSEWHERE);
        assert_eq!(error(poll_here(stream.peek(&mut [0]))), ELSEWHERE);
        let next = Builder::new().driver(kind).run(async {
            let elsewhere = (&stream).read(&mut [0]).await.expect_err("another loop");
            assert_eq!(elsewhere.to_string(), ELSEWHERE);
            let elsewhere = (&stream).write(b"x").await.expect_err("another loop");
            assert_eq!(elsewhere.to_string(), ELSEWHERE);
            // Its peer had never to wait: it is at home everywhere.
            let mut other = other;
            assert!(poll_once(other.read(&mut [0])).await.is_pending());
            let mut stream = UnixStream::from_std(stream.into_std()?)?;
            other.write_all(b"x").await?;
            assert_eq!(stream.read(&mut [0; 8]).await?, 1);
            io::Result::Ok(())
        });
        next.expect("a run").expect("the stream works");
    }
}

#[test]
fn a_stream_of_a_stopped_loop_is_an_error_on_another() {
    for &kind in KINDS {
        let (home, stranger) = (real(kind), real(kind));
        crate::support::adopt_shared(&home);
        let (stream, other) = UnixStream::pair().expect("a pair");
        let (tell, told) = std::sync::mpsc::channel();
        // Streams do not leave their thread, but this is all one.
        let kept = std::rc::Rc::new((stream, other));
        thread_local! {
            static KEPT: std::cell::RefCell<Option<std::rc::Rc<(UnixStream, UnixStream)>>> =
                const { std::cell::RefCell::new(None) };
        }
        KEPT.set(Some(std::rc::Rc::clone(&kept)));
        let turn = move |expected: &'static str| {
            let tell = tell.clone();
            call(move |_| {
                spawn(async move {
                    let kept = KEPT.with_borrow(Clone::clone).expect("streams");
                    let mut byte = [0];
                    let mut stream = &kept.0;
                    let mut read = stream.read(&mut byte);
                    let outcome = match poll_once(&mut read).await {
                        Poll::Pending => "waits".to_owned(),
                        Poll::Ready(Ok(count)) => count.to_string(),
                        Poll::Ready(Err(error)) => error.to_string(),
                    };
                    assert_eq!(outcome, expected);
                    tell.send(()).expect("a test");
                    this_loop().expect("the loop").stop();
                })
                .detach();
            })
        };
        for (event_loop, expected) in [(&home, "waits"), (&stranger, ELSEWHERE), (&home, "waits")] {
            crate::support::adopt_shared(event_loop);
            event_loop.push(turn(expected));
            event_loop.run().expect("a run");
            assert_eq!(told.try_recv(), Ok(()));
        }
        KEPT.take();
        // Dropped while its loop stands still, and before it is closed.
        drop(kept);
        home.close().expect("closing");
        stranger.close().expect("closing");
    }
}

#[test]
fn without_a_loop_there_are_errors_and_no_panics() {
    let (stream, other) = UnixStream::pair().expect("a pair");
    let none = "no event loop is running on this thread";
    let error = |result: Poll<io::Result<()>>| match result {
        Poll::Ready(Err(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let drop_count = |poll: Poll<io::Result<usize>>| poll.map_ok(drop);
    assert_eq!(error(drop_count(poll_here((&stream).read(&mut [0])))), none);
    // What needs no loop works without.
    assert!(poll_here((&other).write(b"x")).is_ready());
    let read = poll_here((&stream).read(&mut [0; 8]));
    assert!(matches!(read, Poll::Ready(Ok(1))));
    assert!(matches!(poll_here(lookup("::1", 1)), Poll::Ready(Ok(_))));
    let named = poll_here(lookup("localhost", 1)).map_ok(drop);
    assert_eq!(error(named), none);
    let connected = poll_here(TcpStream::connect("127.0.0.1:1")).map_ok(drop);
    assert_eq!(error(connected), none);
    let listener = match poll_here(TcpListener::bind("127.0.0.1:0")) {
        Poll::Ready(listener) => listener.expect("a listener"),
        Poll::Pending => panic!("there is nothing to wait for"),
    };
    assert_eq!(error(poll_here(listener.accept()).map_ok(drop)), none);
}

#[test]
fn a_future_that_outlives_its_loop_is_harmless() {
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut buffer = [0];
    let mut peeking = pin!(stream.peek(&mut buffer));
    let mut accepting = pin!(listener.accept());
    run(async {
        assert!(poll_once(&mut peeking).await.is_pending());
        assert!(poll_once(&mut accepting).await.is_pending());
    })
    .expect("a run");
    assert!(matches!(poll_here(&mut peeking), Poll::Ready(Err(_))));
    assert!(matches!(poll_here(&mut accepting), Poll::Ready(Err(_))));
}

#[test]
fn a_loop_that_is_closed_with_streams_open() {
    on_every_driver(async || {
        let (stream, other) = UnixStream::pair()?;
        spawn(async move { (&stream).read(&mut [0; 8]).await }).detach();
        yield_now().await;
        drop(other);
        Ok(())
    });
}
