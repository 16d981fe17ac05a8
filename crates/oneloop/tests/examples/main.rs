//! The examples as programs: what they print, and how they end.

mod echo;
mod first_program;
mod ping;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The drivers that this platform has.
const DRIVERS: &[&str] = if cfg!(target_os = "linux") {
    &["epoll", "portable"]
} else {
    &["portable"]
};

/// Builds an example (cargo has done that already, as a rule) and says where it is.
fn example(name: &str) -> io::Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "oneloop",
            "--example",
            name,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    assert!(built.success());
    // Tests lie in `deps`, examples beside it.
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    let profile = profile.ok_or_else(|| io::Error::other("a test lies in target/profile/deps"))?;
    Ok(profile.join("examples").join(name))
}
