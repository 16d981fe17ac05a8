//! The inbox under loom: every interleaving, and every stale value that the orderings allow. Run by
//! `RUSTFLAGS="--cfg loom" cargo test -p oneloop --lib --release loom_`.

use super::*;

use loom::sync::Condvar;
use loom::thread;

/// The driver's notification: remembered until a wait consumes it. A lost wake-up is a deadlock, which loom reports.
#[derive(Clone)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    fn new() -> Bell {
        Bell(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn wait(&self) {
        let mut rung = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = self.0.1.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
    }
}

impl Notify for Bell {
    fn notify(&self) -> io::Result<()> {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_one();
        Ok(())
    }
}

fn inbox() -> (Arc<Inbox<u32, Bell>>, Bell) {
    let bell = Bell::new();
    (Arc::new(Inbox::new(bell.clone())), bell)
}

/// For three threads: every interleaving with at most three switches that no thread asked for. Without a bound these take minutes, and
/// the bugs that a queue and a flag can have need fewer.
fn model_of_three(f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(f);
}

/// One turn of a loop with nothing else to do: blocks unless parking is refused, then takes what there is.
fn turn(inbox: &Inbox<u32, Bell>, bell: &Bell, items: &mut Vec<u32>) {
    if inbox.park() == Parking::Parked {
        bell.wait();
        inbox.unpark();
    }
    let mut batch = Vec::new();
    inbox.drain(&mut batch);
    items.extend(batch);
}

#[test]
fn loom_no_push_is_lost_between_park_and_wait() {
    loom::model(|| {
        let (inbox, bell) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                assert!(inbox.push(1).is_ok());
                assert!(inbox.push(2).is_ok());
            })
        };
        let mut items = Vec::new();
        while items.len() < 2 {
            turn(&inbox, &bell, &mut items);
        }
        assert_eq!(items, [1, 2]);
        assert!(pusher.join().is_ok());
    });
}

#[test]
fn loom_two_pushers_wake_one_loop() {
    model_of_three(|| {
        let (inbox, bell) = inbox();
        for item in [1, 2] {
            let inbox = inbox.clone();
            thread::spawn(move || assert!(inbox.push(item).is_ok()));
        }
        let mut items = Vec::new();
        while items.len() < 2 {
            turn(&inbox, &bell, &mut items);
        }
        items.sort_unstable();
        assert_eq!(items, [1, 2]);
    });
}

#[test]
fn loom_a_wake_ends_the_current_or_the_next_park() {
    loom::model(|| {
        let (inbox, bell) = inbox();
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.wake())
        };
        turn(&inbox, &bell, &mut Vec::new());
        assert!(waker.join().is_ok());
    });
}

#[test]
fn loom_a_wake_beside_a_push_loses_neither() {
    model_of_three(|| {
        let (inbox, bell) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || assert!(inbox.push(1).is_ok()))
        };
        let waker = {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.wake())
        };
        let mut items = Vec::new();
        while items.is_empty() {
            turn(&inbox, &bell, &mut items);
        }
        assert!(pusher.join().is_ok());
        assert!(waker.join().is_ok());
    });
}

#[test]
fn loom_a_push_against_a_close_is_queued_or_given_back() {
    loom::model(|| {
        let (inbox, _bell) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || match inbox.push(1) {
                Ok(()) => 0,
                Err(Rejected(item)) => item,
            })
        };
        let left = inbox.close();
        let rejected = pusher.join().unwrap_or(99);
        assert_eq!(left.iter().sum::<u32>() + rejected, 1);
        assert!(!inbox.has_items());
        assert!(inbox.close().is_empty());
    });
}

#[test]
fn loom_who_wakes_a_loop_holds_nothing_of_it_once_it_is_closed() {
    loom::model(|| {
        let (inbox, bell) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || assert!(inbox.push(1).is_ok()))
        };
        let mut items = Vec::new();
        while items.is_empty() {
            turn(&inbox, &bell, &mut items);
        }
        // The item is there, but the pusher may still be about to come back from waking the loop.
        assert!(inbox.close().is_empty());
        assert_eq!(Arc::strong_count(&bell.0), 1);
        assert!(pusher.join().is_ok());
    });
}

#[test]
fn loom_what_was_pushed_before_is_seen_by_the_flag() {
    loom::model(|| {
        let (inbox, _bell) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || assert!(inbox.push(1).is_ok()))
        };
        assert!(pusher.join().is_ok());
        // Told through a channel (here: join), the loop's own thread may not overtake the item.
        assert!(inbox.has_items());
    });
}

#[test]
fn loom_a_replaced_notifier_loses_no_push() {
    loom::model(|| {
        let (inbox, _old) = inbox();
        let pusher = {
            let inbox = inbox.clone();
            thread::spawn(move || assert!(inbox.push(1).is_ok()))
        };
        let bell = Bell::new();
        assert!(inbox.replace_after_fork(bell.clone()).is_ok());
        let mut items = Vec::new();
        while items.is_empty() {
            turn(&inbox, &bell, &mut items);
        }
        assert!(pusher.join().is_ok());
    });
}
