//! The plainest client there can be: what it reaches, no mount will surpass.
//!
//! It does as many requests as the bytes make, over some connections at once, each in a thread of its own that
//! writes a request, reads the answer, and looks at none of it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::BUCKET;
use super::answer::elements;

/// What is to be transferred, and how.
#[derive(Debug, Args)]
pub(crate) struct Transfer {
    /// Where the server listens.
    address: SocketAddr,
    /// The object; `{}` in it stands for the number of the request, which then is for an object of its own.
    key: String,
    /// The bytes of each request.
    #[arg(long, default_value_t = 8 << 20)]
    part: u64,
    /// How many requests.
    #[arg(long, default_value_t = 128)]
    parts: u64,
    /// How many connections at once.
    #[arg(long, default_value_t = 16)]
    connections: u64,
}

/// Fetches, and returns how long it took as JSON.
pub(crate) fn get(transfer: &Transfer) -> io::Result<String> {
    transfer.run(|number| {
        let begin = if transfer.is_one_object() { number * transfer.part } else { 0 };
        let range = format!("range: bytes={begin}-{}\r\n", begin + transfer.part - 1);
        ("GET", transfer.path(number), range)
    })
}

/// Uploads, and returns how long it took as JSON.
pub(crate) fn put(transfer: &Transfer) -> io::Result<String> {
    if !transfer.is_one_object() {
        return transfer.run(|number| ("PUT", transfer.path(number), String::new()));
    }
    let mut connection = Connection::open(transfer.address)?;
    let path = transfer.path(0);
    let begun = connection.request("POST", &format!("{path}?uploads"), "", &[])?;
    let id = elements(&begun, "UploadId").pop().ok_or_else(|| io::Error::other("no upload was begun"))?;
    let figures = transfer
        .run(|number| ("PUT", format!("{path}?partNumber={}&uploadId={id}", number + 1), String::new()))?;
    let numbers = 1..=transfer.parts;
    let parts: String = numbers.map(|number| format!("<PartNumber>{number}</PartNumber>")).collect();
    connection.request("POST", &format!("{path}?uploadId={id}"), "", parts.as_bytes())?;
    Ok(figures)
}

impl Transfer {
    fn is_one_object(&self) -> bool {
        !self.key.contains("{}")
    }

    fn path(&self, number: u64) -> String {
        format!("/{BUCKET}/{}", self.key.replace("{}", &format!("{number:06}")))
    }

    /// Does all requests; `request` says method, path and further headers of each.
    fn run(&self, request: impl Fn(u64) -> (&'static str, String, String) + Sync) -> io::Result<String> {
        let next = AtomicU64::new(0);
        let work = || {
            let mut connection = Connection::open(self.address)?;
            let body = vec![7; self.part as usize];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.parts {
                    return io::Result::Ok(());
                }
                let (method, path, headers) = request(number);
                let body = if method == "PUT" { body.as_slice() } else { &[] };
                connection.request(method, &path, &headers, body)?;
            }
        };
        let begun = Instant::now();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        Ok(json!({"seconds": begun.elapsed().as_secs_f64(), "requests": self.parts}).to_string())
    }
}

/// One connection, which is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    /// Where answers go that nobody looks at.
    scratch: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), scratch: Vec::new() })
    }

    /// Does one request and returns the answer's body, if it is a document.
    fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<String> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: loopback\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        let mut stream = self.stream.get_ref();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;

        let (mut line, mut bytes) = (String::new(), 0);
        self.stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 2") {
            return Err(io::Error::other(format!("{method} {path}: {line}")));
        }
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line)?;
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                bytes = length.trim().parse().map_err(io::Error::other)?;
            }
        }
        self.scratch.resize(self.scratch.len().max(bytes), 0);
        self.stream.read_exact(&mut self.scratch[..bytes])?;
        Ok(String::from_utf8_lossy(&self.scratch[..bytes.min(DOCUMENT_BYTES_MAX)]).into_owned())
    }
}

/// Answers that matter are small.
const DOCUMENT_BYTES_MAX: usize = 4 << 10;
