//! A kitchen: tasks that end together, time limits, and another thread that hands work in.
//!
//! `cargo run --example kitchen`

use std::fmt;
use std::thread;
use std::time::Duration;

use oneloop::{Elapsed, Handle, LoopClosed, TaskGroup};

fn main() -> std::io::Result<()> {
    oneloop::run(async {
        let handle = Handle::current();
        // The waiter is a thread of its own: it hands a dish in, and blocks until it is served.
        let waiter = thread::spawn(move || -> Result<String, LoopClosed> {
            let soup = handle.spawn(|| cook("soup", Duration::from_millis(30)))?;
            soup.join()
        });

        match oneloop::task_group(breakfast).await {
            Ok(plates) => println!("served {}", plates.join(" and ")),
            Err(burnt) => println!("no breakfast: {burnt}"),
        }
        match oneloop::task_group(async |group| too_slow_a_dinner(&group).await).await {
            Ok(()) => println!("dinner is served"),
            Err(burnt) => println!("no dinner: {burnt}"),
        }

        // The loop stays free while the thread finishes: nothing here blocks.
        while !waiter.is_finished() {
            oneloop::sleep(Duration::from_millis(1)).await;
        }
        match waiter.join() {
            Ok(Ok(soup)) => println!("the waiter carries {soup} out"),
            Ok(Err(closed)) => println!("the waiter came too late: {closed}"),
            Err(_) => println!("the waiter stumbled"),
        }
    })
}

/// Everything at once, and done when the slowest is.
async fn breakfast(group: TaskGroup<Burnt>) -> Result<Vec<String>, Burnt> {
    let eggs = group.spawn(async { Ok(cook("eggs", Duration::from_millis(20)).await) });
    let toast = group.spawn(async { Ok(cook("toast", Duration::from_millis(10)).await) });
    Ok(vec![eggs.await, toast.await])
}

/// The roast misses its time limit, which ends the rest of the dinner too.
async fn too_slow_a_dinner(group: &TaskGroup<Burnt>) -> Result<(), Burnt> {
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
