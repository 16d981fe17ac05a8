//! How long a datagram takes there and back, over UDP: `cargo run --example ping [ADDRESS:PORT]`.
//!
//! Whoever is there is to send back what it gets; without an address, this program does so itself.

use std::io;
use std::time::{Duration, Instant};

use oneloop::net::UdpSocket;
use oneloop::{spawn, timeout};

const ROUNDS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    oneloop::run(ping(std::env::args().nth(1)))?
}

async fn ping(address: Option<String>) -> io::Result<()> {
    let address = match address {
        Some(address) => address,
        None => serve().await?,
    };
    let socket = reach(&address).await?;
    for round in 1..=ROUNDS {
        let start = Instant::now();
        socket.send(&round.to_be_bytes()).await?;
        match timeout(PATIENCE, answer(&socket, round)).await {
            Ok(answer) => {
                answer?;
                println!("{round}: {:?}", start.elapsed());
            }
            // The network may lose datagrams, and nobody tells.
            Err(elapsed) => println!("{round}: {elapsed}"),
        }
    }
    Ok(())
}

/// A socket that can send to `address`, of whichever family that is.
async fn reach(address: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    if socket.connect(address).await.is_ok() {
        return Ok(socket);
    }
    let socket = UdpSocket::bind("[::]:0").await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Waits for what was sent in this round; the answer to an earlier one comes too late.
async fn answer(socket: &UdpSocket, round: u32) -> io::Result<()> {
    let mut buffer = [0; 16];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length] == round.to_be_bytes() {
            return Ok(());
        }
    }
}

async fn serve() -> io::Result<String> {
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let address = server.local_addr()?.to_string();
    spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, sender) = server.recv_from(&mut buffer).await?;
            server.send_to(&buffer[..length], sender).await?;
        }
        #[expect(unreachable_code, reason = "it says what `?` gives")]
        io::Result::Ok(())
    })
    .detach();
    Ok(address)
}
