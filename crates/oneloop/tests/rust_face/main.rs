//! The Rust face as its users see it: a file for each part. One program, so that it links once.

#[path = "../engine/support.rs"]
mod support;

mod closing;
mod groups;
mod handles;
mod joining;
mod net;
mod running;
mod tasks;
mod timing;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

/// Calls `f` on another thread while this loop runs on, or sleeps.
async fn in_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let slot: Arc<Mutex<(Option<T>, Option<Waker>)>> = Arc::default();
    let theirs = Arc::clone(&slot);
    let thread = thread::spawn(move || {
        let result = f();
        let mut slot = theirs.lock().expect("a lock");
        slot.0 = Some(result);
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    });
    let result = std::future::poll_fn(|context| {
        let mut slot = slot.lock().expect("a lock");
        slot.1 = Some(context.waker().clone());
        slot.0.take().map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    thread.join().expect("a thread");
    result
}

/// The message of the panic that `f` ends with.
fn panic_message<R>(f: impl FnOnce() -> R) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("this should have panicked");
    };
    message(&*panic)
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no text".to_owned(),
    }
}
