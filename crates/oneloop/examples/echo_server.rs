//! Sends back whatever it is sent, until Ctrl-C: `cargo run --example echo_server [ADDRESS:PORT]`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::io::copy;
use oneloop::net::{TcpListener, TcpStream};
use oneloop::{Builder, sleep, spawn};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    match Builder::new().ctrl_c(true).run(serve(address)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            println!("stopped");
            Ok(())
        }
        result => result?,
    }
}

async fn serve(address: String) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => spawn(talk(stream, peer)).detach(),
            Err(error) => {
                // Out of descriptors, say; it may be over when some are closed.
                eprintln!("cannot accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, peer: SocketAddr) {
    match copy(&stream, &mut &stream).await {
        Ok(count) => println!("{peer}: {count} bytes"),
        Err(error) => println!("{peer}: {error}"),
    }
}
