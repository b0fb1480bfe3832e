//! The server behind `scripts/bench`: an S3 in memory, and the plainest client there can be.
//!
//! What is measured is the mount, so the server must cost next to nothing: nobody is authenticated, objects are
//! shared buffers that ranges and copies only point into, and what it is asked about is one bucket, [`BUCKET`].
//! The emulator would check every signature and evaluate every policy, and would then be what is measured.
//!
//! ```text
//! HTTP ──► door ──► control                     what the measuring program says and asks
//!           │ ╲
//!           │  bucket ──► listing ╮
//!           │  objects ───────────┴──► store
//!         shape                                 the network: time to the first byte, speed of a connection
//! ```
//!
//! `serve` prints `listening on ADDRESS` and ends when its standard input does, so that it never outlives whoever
//! started it. `get` and `put` are what the network and the server allow at most: as many connections as wanted,
//! and no file system between.

use std::io::{self, Write as _};
use std::process::exit;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;

mod answer;
mod arriving;
mod bucket;
mod control;
mod door;
mod leaving;
mod listing;
mod objects;
mod query;
mod raw;
mod rope;
mod shape;
mod store;

/// The only bucket there is.
const BUCKET: &str = "bench";

/// The server of `scripts/bench`, and its raw client.
#[derive(Debug, Parser)]
enum Command {
    /// Serves a bucket on a free port of the loopback, until standard input ends.
    Serve,
    /// Fetches an object in ranges, over several connections at once.
    Get(raw::Transfer),
    /// Uploads an object in parts, over several connections at once.
    Put(raw::Transfer),
}

fn main() -> io::Result<()> {
    match Command::parse() {
        Command::Serve => serve(),
        Command::Get(transfer) => say(&raw::get(&transfer)?),
        Command::Put(transfer) => say(&raw::put(&transfer)?),
    }
}

fn serve() -> io::Result<()> {
    std::thread::spawn(|| {
        let _all_read = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        say(&format!("listening on {}", listener.local_addr()?))?;
        door::serve(listener, Arc::default()).await;
        Ok(())
    })
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")?;
    io::stdout().flush()
}
