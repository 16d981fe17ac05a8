//! The pool on real threads: who runs what, and what giving up, panicking and closing leave behind. Forks are in `tests/process`.

use super::*;

use std::future::poll_fn;
use std::sync::mpsc::{self, Receiver as Inlet, Sender as Outlet};

use futures_util::future::{FutureExt, join_all};

use crate::runtime;

fn pool(limit: usize) -> Pool {
    Pool::new(NonZero::new(limit).expect("not zero"), "a-pool-thread")
}

fn run<F: Future>(future: F) -> F::Output {
    runtime::run(future).expect("a run")
}

/// A call that says when it begins, and ends when it is told.
fn held() -> (impl FnOnce() + Send + 'static, Inlet<()>, Outlet<()>) {
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let call = move || {
        begin.send(()).expect("a test that listens");
        let _: Result<(), _> = ended.recv();
    };
    (call, begun, end)
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_call_runs_on_a_thread_of_the_pools_name() {
    let pool = pool(1);
    let answer = pool.run(|| {
        let thread = thread::current();
        (thread.id(), thread.name().map(str::to_owned))
    });
    let (id, name) = run(answer).expect("an answer");
    assert_ne!(id, thread::current().id());
    assert_eq!(name.as_deref(), Some("a-pool-thread"));
}

#[test]
fn as_many_run_at_once_as_the_limit_says_and_in_order() {
    let pool = pool(2);
    let (first, first_begun, end_first) = held();
    let (second, second_begun, end_second) = held();
    let (third, third_begun, _) = held();
    let answers = [pool.run(first), pool.run(second), pool.run(third)];
    first_begun.recv().expect("begun");
    second_begun.recv().expect("begun");
    assert!(third_begun.try_recv().is_err(), "a third thread");
    end_first.send(()).expect("a call");
    third_begun.recv().expect("begun");
    end_second.send(()).expect("a call");
    for answer in run(join_all(answers)) {
        answer.expect("an answer");
    }
}

#[test]
fn a_thread_that_is_free_is_no_reason_for_two_calls_to_wait() {
    for _ in 0..100 {
        let pool = pool(2);
        run(pool.run(|| {})).expect("an answer");
        while pool.crew.with(|crew| crew.lock().idle) == 0 {
            thread::yield_now();
        }
        // The thread is still counted as free when the second call comes, if that is quick.
        let (first, first_begun, _end_first) = held();
        let (second, second_begun, _end_second) = held();
        let _answers = (pool.run(first), pool.run(second));
        let patience = Duration::from_secs(20);
        first_begun.recv_timeout(patience).expect("begun");
        second_begun.recv_timeout(patience).expect("begun");
    }
}

#[test]
fn closing_sends_the_threads_away() {
    let pool = Pool::with_crew(Crew::new(
        NonZero::new(4).expect("not zero"),
        "patient",
        Duration::from_secs(3600),
    ));
    run(join_all((0..20).map(|number| pool.run(move || number))));
    let crew = pool.crew.with(|crew| Arc::clone(crew));
    drop(pool);
    for _ in 0..20_000 {
        if Arc::strong_count(&crew) == 1 {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("they are still there");
}

#[test]
fn a_thread_is_used_again() {
    let pool = pool(8);
    let ids = run(async {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(pool.run(|| thread::current().id()).await.expect("an id"));
            // The thread answers before it is free again.
            while pool.crew.with(|crew| crew.lock().idle) == 0 {
                thread::yield_now();
            }
        }
        ids
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_thread_that_has_nothing_to_do_leaves_and_another_comes() {
    let limit = NonZero::new(3).expect("not zero");
    let pool = Pool::with_crew(Crew::new(limit, "impatient", Duration::from_millis(1)));
    for round in 0..3 {
        let answers = (0..10).map(|number| pool.run(move || number + round));
        let answers = run(join_all(answers));
        let expected = (0..10).map(|number| number + round);
        assert!(answers.into_iter().map(Result::unwrap).eq(expected));
        while pool.crew.with(|crew| Arc::strong_count(crew)) > 1 {
            thread::yield_now();
        }
        assert_eq!(pool.crew.with(|crew| crew.lock().threads), 0);
    }
}

#[test]
fn a_panic_comes_back_to_whoever_awaits_and_the_thread_goes_on() {
    let pool = pool(1);
    run(async {
        let answer = pool.run(|| panic!("on purpose"));
        let caught: Result<io::Result<()>, _> = AssertUnwindSafe(answer).catch_unwind().await;
        let payload = caught.expect_err("a panic");
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        assert_eq!(pool.run(|| 7).await.expect("an answer"), 7);
    });
}

#[test]
fn a_call_that_was_given_up_is_dropped_at_once_and_never_begins() {
    let pool = pool(1);
    let (call, begun, end) = held();
    let busy = pool.run(call);
    begun.recv().expect("begun");
    let (here, dropped) = (thread::current().id(), Arc::new(Mutex::new(None)));
    let theirs = Arc::clone(&dropped);
    let guard = OnDrop(move || {
        *theirs.lock().expect("a lock") = Some(thread::current().id());
    });
    let mut given_up = pool.run(move || {
        let _guard = guard;
        unreachable!("nobody waits for this");
    });
    run(poll_fn(|context| {
        assert!(Pin::new(&mut given_up).poll(context).is_pending());
        Poll::Ready(())
    }));
    drop(given_up);
    assert_eq!(*dropped.lock().expect("a lock"), Some(here));
    assert!(pool.waiting.with(|waiting| waiting.is_empty()));
    end.send(()).expect("a call");
    run(busy).expect("an answer");
    run(pool.run(|| {})).expect("an answer");
}

#[test]
fn an_answer_that_nobody_waits_for_is_dropped_by_the_pool_whatever_it_does() {
    let pool = pool(1);
    let (call, begun, end) = held();
    let (tell, told) = mpsc::channel();
    let answer = pool.run(move || {
        call();
        OnDrop(move || {
            let _ = tell.send(thread::current().name().map(str::to_owned));
            panic!("on purpose, in a drop");
        })
    });
    begun.recv().expect("begun");
    drop(answer);
    end.send(()).expect("a call");
    assert_eq!(
        told.recv().expect("a drop").as_deref(),
        Some("a-pool-thread")
    );
    assert_eq!(run(pool.run(|| 7)).expect("an answer"), 7);
}

#[test]
fn closing_drops_what_has_not_begun_and_leaves_the_rest_alone() {
    let pool = Rc::new(pool(1));
    let (call, begun, end) = held();
    let busy = pool.run(call);
    begun.recv().expect("begun");
    let (tell, told) = mpsc::channel();
    let guard = OnDrop(move || tell.send(thread::current().id()).expect("a test"));
    let queued = pool.run(move || drop(guard));
    pool.close();
    assert_eq!(told.try_recv(), Ok(thread::current().id()));
    let error = run(queued).expect_err("it never ran");
    assert_eq!(error.to_string(), "the pool of threads is closed");
    assert!(run(pool.run(|| {})).is_err());
    pool.close();
    end.send(()).expect("a call");
    run(busy).expect("an answer");
}

#[test]
fn whoever_waits_when_the_pool_is_dropped_is_woken() {
    run(async {
        let pool = pool(1);
        let (call, begun, _end) = held();
        let busy = pool.run(call);
        begun.recv().expect("begun");
        let queued = crate::task::spawn(pool.run(|| {}));
        crate::task::yield_now().await;
        drop(pool);
        assert!(queued.await.is_err());
        drop(busy);
    });
}

/// As a Python object may, in `__del__`.
#[test]
fn a_drop_may_use_the_pool_that_drops_it() {
    let pool = Rc::new(pool(1));
    let (call, begun, _end) = held();
    let _busy = pool.run(call);
    begun.recv().expect("begun");
    thread_local! {
        static POOL: std::cell::RefCell<Option<Rc<Pool>>> = const { std::cell::RefCell::new(None) };
    }
    POOL.set(Some(Rc::clone(&pool)));
    let uses_pool = || {
        OnDrop(|| {
            let pool = POOL.with_borrow(Clone::clone).expect("a pool");
            drop(pool.run(|| {}));
            pool.close();
        })
    };
    let (one, other) = (uses_pool(), uses_pool());
    let given_up = pool.run(move || drop(one));
    let kept = pool.run(move || drop(other));
    drop(given_up);
    pool.close();
    assert!(run(kept).is_err());
    POOL.take();
}

#[test]
fn many_calls_from_many_loops() {
    let threads = (0..4).map(|_| {
        thread::spawn(|| {
            let pool = pool(3);
            let answers = run(join_all((0..500).map(|number| pool.run(move || number))));
            assert!(answers.into_iter().map(Result::unwrap).eq(0..500));
        })
    });
    for thread in Vec::from_iter(threads) {
        thread.join().expect("a thread");
    }
}
