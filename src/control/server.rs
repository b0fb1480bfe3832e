//! The mount's side of the socket.
//!
//! The socket is guarded three times: by its directory, which nobody else may enter, by its mode, and
//! by the kernel's word on who has connected. A guest has a few seconds to say what it wants and a line of bounded
//! length to say it on, and only so many are let in at once: whoever hangs about takes nothing from the mount.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, sleep, timeout};

use super::place::{Place, make_private};
use super::{Answer, Desk, REQUEST_BYTES_MAX, Request};
use crate::secret::SecretBuffer;
use crate::task::Tasks;

/// A socket that is listened to. It is removed when this, or the future of [`serve`](Self::serve), is dropped.
#[derive(Debug)]
pub struct Server {
    place: Place,
    listener: UnixListener,
    socket: SocketFile,
}

impl Server {
    /// Opens the socket in the first directory that will do. One that nobody listens to any more is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when somebody listens already; else why no directory will do.
    pub fn bind(place: Place) -> io::Result<Self> {
        let mut refusals = Vec::new();
        for path in place.candidates() {
            match listen(path, place.owner) {
                Ok((listener, socket)) => return Ok(Self { place, listener, socket }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => refusals.push(format!("{}: {error}", path.display())),
            }
        }
        Err(io::Error::other(refusals.join("; ")))
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.socket.path
    }

    /// Has guests answered by `desk` until it is dropped: it belongs into a task of `tasks`, as do those
    /// that it starts for its guests.
    pub async fn serve(self, desk: Arc<dyn Desk>, tasks: Tasks) {
        let Self { place, listener, mut socket } = self;
        let mut listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the control socket cannot be served"),
        };
        let chairs = Arc::new(Semaphore::new(GUESTS_MAX));
        let mut look = interval(LOOK_INTERVAL);
        loop {
            let chair = Arc::clone(&chairs).acquire_owned().await.expect("the semaphore is never closed");
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((guest, _)) => {
                        let attended = attend(guest, place.clone(), Arc::clone(&desk), chair);
                        drop(tasks.spawn_until_stopped("guest", attended));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a guest of the control socket could not be let in");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                // /run/user/UID goes away when its user logs out, and a mount may stay.
                _ = look.tick() => if !socket.is_in_place() {
                    match Self::bind(place.clone()).and_then(Self::into_async) {
                        Ok(opened) => (listener, socket) = opened,
                        Err(error) => tracing::debug!(%error, "the control socket is gone"),
                    }
                },
            }
        }
    }

    fn into_async(self) -> io::Result<(tokio::net::UnixListener, SocketFile)> {
        Ok((tokio::net::UnixListener::from_std(self.listener)?, self.socket))
    }
}

/// Opens one socket, in a directory that is made for it.
fn listen(path: &Path, owner: u32) -> io::Result<(UnixListener, SocketFile)> {
    let dir = path.parent().expect("each candidate is a file in a directory");
    make_private(dir, owner)?;
    // Two mounts that begin at the same time must not both take the same socket for stale.
    let lock = File::open(dir)?;
    lock.lock()?;
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let socket = SocketFile::of(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((listener, socket))
}

/// The name of a socket in the filesystem; dropping it removes the name.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another socket may have come into its place.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_in_place()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "the control socket stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Hears one guest, answers, and lets it go. It holds its chair until then.
async fn attend(mut guest: UnixStream, place: Place, desk: Arc<dyn Desk>, _chair: OwnedSemaphorePermit) {
    match guest.peer_cred() {
        Ok(peer) if place.trusts(peer.uid()) => {}
        Ok(peer) => {
            return tracing::warn!(uid = peer.uid(), "a stranger at the control socket was sent away");
        }
        Err(error) => return tracing::warn!(%error, "a guest of the control socket has no identity"),
    }
    let answer = match timeout(REQUEST_TIME_MAX, hear(&mut guest)).await {
        Ok(Ok(request)) => answer(desk.as_ref(), request).await,
        Ok(Err(refusal)) => refusal,
        Err(_) => return tracing::debug!("a guest of the control socket said nothing"),
    };
    match timeout(REQUEST_TIME_MAX, say(&mut guest, &answer)).await {
        Ok(Ok(())) => {}
        // Whoever asked did not wait.
        Ok(Err(error)) => tracing::debug!(%error, "an answer of the control socket was not heard"),
        Err(_) => tracing::debug!("a guest of the control socket does not listen"),
    }
}

/// What the guest wants; an answer at once where that cannot be understood.
async fn hear(guest: &mut UnixStream) -> Result<Request, Answer> {
    let mut line = SecretBuffer::new();
    while !line.bytes().ends_with(b"\n") {
        match guest.read_buf(line.with_room()).await {
            Ok(0) => return Err(refused("the request breaks off", None)),
            Ok(_) => {}
            Err(error) => return Err(refused(&format!("the request could not be read: {error}"), None)),
        }
        if line.bytes().len() > REQUEST_BYTES_MAX {
            return Err(refused("the request is too long", None));
        }
    }
    // What the parser says would quote the request, which may hold a code.
    serde_json::from_slice(line.bytes()).map_err(|_| {
        let version = env!("CARGO_PKG_VERSION");
        let hint = format!("it runs version {version} of s3xmount; unmount and mount again for another one");
        refused("the mount does not understand the request", Some(&hint))
    })
}

async fn answer(desk: &dyn Desk, request: Request) -> Answer {
    let answer = timeout(request.time_max(), desk.answer(request)).await;
    answer.unwrap_or_else(|_| refused("the mount found no answer in time", Some("its log may say why")))
}

async fn say(guest: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = SecretBuffer::new();
    serde_json::to_writer(&mut line, answer)?;
    line.push(b"\n");
    guest.write_all(line.bytes()).await?;
    guest.shutdown().await
}

fn refused(message: &str, hint: Option<&str>) -> Answer {
    Answer::Refused { message: message.to_owned(), hint: hint.map(str::to_owned) }
}

/// How many are heard at once. More wait in the socket's queue.
const GUESTS_MAX: usize = 32;

/// A request is sent in one piece, and so is read an answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// What keeps one from being let in, such as a lack of descriptors, does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How soon a socket that went away is opened again.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
