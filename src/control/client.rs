//! The side of whoever asks a running mount.
//!
//! Blocking, with the standard library alone: a command that asks one question needs no runtime.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::place::{Place, is_private};
use super::{ANSWER_BYTES_MAX, Answer, Request};
use crate::config::Failure;
use crate::secret::SecretBuffer;
use crate::sys;

/// Asks the mount of this place, and waits up to `patience` for its answer. A refusal is a failure here.
///
/// # Errors
/// When nobody listens, the answer does not come or cannot be understood, or it is no.
pub fn ask(place: &Place, request: &Request, patience: Duration) -> Result<Answer, Failure> {
    let shown = place.mount_point.display();
    let socket = connect(place)?;
    let line = converse(socket, request, patience).map_err(|error| match error.kind() {
        // A timeout of the socket is EAGAIN (socket(7), SO_RCVTIMEO).
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let seconds = patience.as_secs();
            Failure::new(format!("the mount at {shown} has not answered within {seconds} seconds"))
                .hint("its log may say what it waits for")
        }
        _ => Failure::new(format!("the mount at {shown} could not be asked: {error}")),
    })?;
    if line.bytes().is_empty() {
        return Err(Failure::new(format!("the mount at {shown} hung up without an answer"))
            .hint("it may be ending; its log may say more"));
    }
    match serde_json::from_slice(line.bytes()) {
        Ok(Answer::Refused { message, hint }) => Err(Failure { message, place: None, hint }),
        Ok(answer) => Ok(answer),
        // What the parser says would quote the answer, which may hold keys.
        Err(_) => Err(Failure::new(format!("the answer of the mount at {shown} is not understood"))
            .hint("it may run another version of s3xmount; unmount and mount again")),
    }
}

/// Connects to the first socket where somebody listens.
fn connect(place: &Place) -> Result<UnixStream, Failure> {
    let shown = place.mount_point.display();
    for path in place.candidates() {
        // A connection waits only where a hundred others wait already, so it needs no deadline.
        match enter(path, place.owner).and_then(|()| UnixStream::connect(path)) {
            Ok(socket) => return known(socket, place),
            Err(error) if is_absence(&error) => {}
            Err(error) => tracing::debug!(path = %path.display(), %error, "this socket is passed over"),
        }
    }
    let (user, _) = sys::effective_ids();
    if ![place.owner, 0].contains(&user) {
        let failure = Failure::new(format!("the mount at {shown} belongs to another user"));
        return Err(match place.owner {
            0 => failure.hint("only root may ask it"),
            owner => failure.hint(format!("only the user with the number {owner} and root may ask it")),
        });
    }
    Err(Failure::new(format!("nobody answers for the mount at {shown}"))
        .hint("its process may have died; unmount it, with umount -l if need be, and mount again"))
}

/// Makes sure that nobody but the owner can have put a socket there.
fn enter(path: &Path, owner: u32) -> io::Result<()> {
    let dir = path.parent().expect("each candidate is a file in a directory");
    match is_private(&std::fs::symlink_metadata(dir)?, owner) {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::PermissionDenied, "the directory is not the owner's alone")),
    }
}

/// No socket, or one that a process left behind when it died.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Makes sure of who listens, before anything is said: a request may hold a code.
fn known(socket: UnixStream, place: &Place) -> Result<UnixStream, Failure> {
    match sys::peer_uid(&socket) {
        Ok(user) if place.trusts(user) => Ok(socket),
        Ok(user) => {
            let shown = place.mount_point.display();
            Err(Failure::new(format!("user {user} answers for the mount at {shown}, which is not theirs")))
        }
        Err(error) => Err(Failure::new(format!("it is unknown who listens: {error}"))),
    }
}

/// One line there, one line back.
fn converse(mut socket: UnixStream, request: &Request, patience: Duration) -> io::Result<SecretBuffer> {
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    let mut line = SecretBuffer::new();
    serde_json::to_writer(&mut line, request)?;
    line.push(b"\n");
    socket.write_all(line.bytes())?;
    SecretBuffer::read(socket, ANSWER_BYTES_MAX)
}
