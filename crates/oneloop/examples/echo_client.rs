//! Sends each line that it is told to an echo server and checks the answer: `cargo run --example echo_client ADDRESS:PORT LINE…`.

use std::io;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use oneloop::net::TcpStream;
use oneloop::timeout;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let address = address.unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    oneloop::run(talk(address, arguments.collect()))?
}

async fn talk(address: String, lines: Vec<String>) -> io::Result<()> {
    let connecting = TcpStream::connect(address);
    let mut stream = timeout(Duration::from_secs(10), connecting).await??;
    for line in lines {
        stream.write_all(line.as_bytes()).await?;
        let mut answer = vec![0; line.len()];
        timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await??;
        if answer != line.as_bytes() {
            let answer = String::from_utf8_lossy(&answer);
            return Err(io::Error::other(format!(
                "{line:?} came back as {answer:?}"
            )));
        }
        println!("{line}");
    }
    stream.close().await
}
