//! `join_all`: outputs in order, and no future polled but the one that was woken.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use oneloop::{join_all, run, spawn, yield_now};

/// Futures that are woken by number, and how often they were polled.
#[derive(Default)]
struct Doors {
    doors: Vec<Door>,
}

#[derive(Default)]
struct Door {
    open: Cell<bool>,
    polls: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Doors {
    fn new(count: usize) -> Rc<Self> {
        let doors = std::iter::repeat_with(Door::default).take(count).collect();
        Rc::new(Self { doors })
    }

    fn pass(self: &Rc<Self>, number: usize) -> impl Future<Output = usize> + use<> {
        let doors = Rc::clone(self);
        poll_fn(move |context| {
            let door = &doors.doors[number];
            door.polls.set(door.polls.get() + 1);
            door.waker.replace(Some(context.waker().clone()));
            match door.open.get() {
                true => Poll::Ready(number),
                false => Poll::Pending,
            }
        })
    }

    fn open(&self, number: usize) {
        let door = &self.doors[number];
        door.open.set(true);
        if let Some(waker) = door.waker.take() {
            waker.wake();
        }
    }

    fn polls(&self) -> u32 {
        self.doors.iter().map(|door| door.polls.get()).sum()
    }
}

#[test]
fn outputs_come_in_the_order_of_the_futures() -> io::Result<()> {
    run(async {
        let doors = Doors::new(4);
        let all = spawn(join_all((0..4).map(|number| doors.pass(number))));
        for number in [2, 0, 3, 1] {
            yield_now().await;
            assert!(!all.is_finished());
            doors.open(number);
        }
        assert_eq!(all.await, [0, 1, 2, 3]);
    })
}

#[test]
fn only_what_was_woken_is_polled() -> io::Result<()> {
    const COUNT: usize = 2_000;
    run(async {
        let doors = Doors::new(COUNT);
        let all = spawn(join_all((0..COUNT).map(|number| doors.pass(number))));
        // The queue gives others a turn now and then, so the first round may take several.
        while doors.polls() < COUNT as u32 {
            yield_now().await;
        }
        for number in (0..COUNT).rev() {
            doors.open(number);
            yield_now().await;
        }
        assert_eq!(all.await.len(), COUNT);
        assert_eq!(doors.polls(), 2 * COUNT as u32, "two polls each, no more");
    })
}

#[test]
fn nothing_to_wait_for_is_done() -> io::Result<()> {
    run(async {
        let none: [std::future::Ready<()>; 0] = [];
        assert!(join_all(none).await.is_empty());
        assert_eq!(join_all((0..3).map(async |number| number)).await, [0, 1, 2]);
    })
}

#[test]
fn dropping_it_drops_them_all() -> io::Result<()> {
    run(async {
        let doors = Doors::new(3);
        let all = spawn(join_all((0..3).map(|number| doors.pass(number))));
        yield_now().await;
        doors.open(1);
        all.cancel().await;
        assert_eq!(Rc::strong_count(&doors), 1);
    })
}
