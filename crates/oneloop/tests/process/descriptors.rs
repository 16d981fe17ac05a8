//! What a closed loop leaves open: nothing, whoever still holds a waker or a handle of it.

use std::future::poll_fn;
use std::task::Poll;

use oneloop::{Builder, Handle, spawn, yield_now};

use crate::support::KINDS;
use crate::{End, in_child, open_descriptors};

#[test]
fn wakers_and_handles_of_a_closed_loop_hold_no_descriptor_and_do_nothing() {
    for &kind in KINDS {
        let end = in_child(|| {
            let before = open_descriptors();
            let (wakers, handle, task, joining) = Builder::new()
                .driver(kind)
                .run(async {
                    assert_ne!(open_descriptors(), before);
                    let (send, receive) = std::sync::mpsc::channel();
                    let theirs = send.clone();
                    // The waker of a task that is left pending, of one that is done, and of the main future.
                    let left = spawn(poll_fn(move |context| {
                        let _ = theirs.send(context.waker().clone());
                        Poll::<()>::Pending
                    }));
                    let theirs = send.clone();
                    spawn(poll_fn(move |context| {
                        let _ = theirs.send(context.waker().clone());
                        Poll::Ready(())
                    }))
                    .await;
                    poll_fn(|context| {
                        let _ = send.send(context.waker().clone());
                        Poll::Ready(())
                    })
                    .await;
                    yield_now().await;
                    drop(send);
                    let handle = Handle::current();
                    let joining = handle.spawn(std::future::pending::<()>).expect("open");
                    let wakers: Vec<_> = receive.try_iter().collect();
                    (wakers, handle, left, joining)
                })
                .expect("a run");
            assert_eq!(wakers.len(), 3);
            assert_eq!(open_descriptors(), before);
            for waker in &wakers {
                waker.wake_by_ref();
            }
            let elsewhere = std::thread::spawn(move || wakers.into_iter().for_each(|it| it.wake()));
            elsewhere.join().expect("a thread");
            assert!(handle.spawn(|| async {}).is_err());
            assert!(task.is_finished());
            assert!(joining.join().is_err());
            assert_eq!(open_descriptors(), before);
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}

#[test]
fn a_run_that_panics_or_fails_leaves_none_either() {
    for &kind in KINDS {
        let end = in_child(|| {
            let before = open_descriptors();
            let builder = Builder::new().driver(kind);
            std::panic::set_hook(Box::new(|_| {}));
            let panicked = std::panic::catch_unwind(|| builder.run(async { panic!("on purpose") }));
            assert!(panicked.map(|_: std::io::Result<()>| ()).is_err());
            let nested = builder.run(async { builder.run(async {}).is_err() });
            assert!(nested.expect("a run"));
            assert_eq!(open_descriptors(), before);
        });
        assert_eq!(end, End::Well, "{kind:?}");
    }
}
