//! The first program: `cargo run --example greet`.

use std::time::Duration;

fn main() -> std::io::Result<()> {
    oneloop::run(async {
        println!("Hello...");
        oneloop::sleep(Duration::from_secs(1)).await;
        println!("...Asyncio World!");
    })
}
