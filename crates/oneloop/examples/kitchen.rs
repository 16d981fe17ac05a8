//! A kitchen: tasks that end together, time limits, and another thread that hands work in.
//!
//! `cargo run --example kitchen`

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oneloop::{Elapsed, Handle, JoinHandle, TaskGroup};

fn main() -> io::Result<()> {
    let (open, opened) = mpsc::channel();
    let kitchen = thread::spawn(move || {
        oneloop::run(async move {
            // Nobody may be waiting for it, which is no reason not to cook.
            let _ = open.send(Handle::current());
            serve().await;
        })
    });

    // The waiter is this thread: it hands a dish in, and blocks until it is done.
    if let Ok(handle) = opened.recv() {
        let order = handle.spawn(|| cook("soup", Duration::from_millis(15)));
        match order.and_then(JoinHandle::join) {
            Ok(soup) => println!("the waiter carries {soup} out"),
            Err(closed) => println!("the waiter goes home: {closed}"),
        }
    }
    kitchen
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the cook has left")))
}

async fn serve() {
    match oneloop::task_group(breakfast).await {
        Ok(plates) => println!("served {}", plates.join(" and ")),
        Err(burnt) => println!("no breakfast: {burnt}"),
    }
    match oneloop::task_group(dinner).await {
        Ok(()) => println!("dinner is served"),
        Err(burnt) => println!("no dinner: {burnt}"),
    }
}

/// Everything at once, and done when the slowest is.
async fn breakfast(group: TaskGroup<Burnt>) -> Result<Vec<String>, Burnt> {
    let eggs = group.spawn(async { Ok(cook("eggs", Duration::from_millis(20)).await) });
    let toast = group.spawn(async { Ok(cook("toast", Duration::from_millis(10)).await) });
    Ok(vec![eggs.await, toast.await])
}

/// The roast misses its time limit, which ends the rest of the dinner too.
async fn dinner(group: TaskGroup<Burnt>) -> Result<(), Burnt> {
    group.spawn(async {
        let roast = cook("roast", Duration::from_secs(3600));
        oneloop::timeout(Duration::from_millis(25), roast).await?;
        Ok(())
    });
    let sides = ["peas", "carrots"].map(|side| cook(side, Duration::from_millis(10)));
    println!("sides: {}", oneloop::join_all(sides).await.join(", "));
    println!("waiting for the roast");
    std::future::pending().await
}

async fn cook(dish: &'static str, time: Duration) -> String {
    oneloop::sleep(time).await;
    format!("{dish} (after {time:?})")
}

struct Burnt;

impl From<Elapsed> for Burnt {
    fn from(_: Elapsed) -> Self {
        Self
    }
}

impl fmt::Display for Burnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something burnt")
    }
}
