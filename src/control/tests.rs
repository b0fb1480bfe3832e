//! The messages, and whole conversations over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};

use super::*;
use crate::clock;
use crate::config::{Failure, Surroundings};
use crate::sys;
use crate::task::Tasks;

/// A desk that answers each request in its own way.
struct Clerk;

impl Desk for Clerk {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match request {
                Request::Session { directory } => Answer::Session(session(directory)),
                Request::Login { code, .. } => {
                    Answer::LoggedIn { role: code.expose().to_owned(), until: None }
                }
                Request::Status | Request::Origin | Request::Rescue { .. } => refusal(),
            }
        })
    }
}

fn session(arn: Option<String>) -> Session {
    Session {
        access_key_id: "ASIAX".to_owned(),
        secret_access_key: Secret::from("s".repeat(10_000)),
        session_token: Some(Secret::from("token".to_owned())),
        expiration: None,
        arn,
        region: None,
    }
}

fn refusal() -> Answer {
    Answer::Refused { message: "closed".to_owned(), hint: Some("come back tomorrow".to_owned()) }
}

/// A runtime directory, and a mount point that may have a desk in it.
struct Office {
    dir: tempfile::TempDir,
    runtime: Runtime,
}

impl Office {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), runtime: Runtime::new().unwrap() }
    }

    fn place(&self) -> Place {
        let (uid, _) = sys::effective_ids();
        let variables = [("XDG_RUNTIME_DIR".to_owned(), self.dir.path().to_str().unwrap().to_owned())].into();
        let around = Surroundings { variables, uid, ..Surroundings::default() };
        // No other mount point has this name, so no other candidate holds a socket of it.
        Place::new(&self.dir.path().join("mnt"), uid, &around)
    }

    fn socket(&self) -> PathBuf {
        self.place().candidates()[0].clone()
    }

    fn open(&self) -> Tasks {
        let tasks = Tasks::new(self.runtime.handle().clone());
        let server = Server::bind(self.place()).unwrap();
        assert_eq!(server.path(), self.socket());
        drop(tasks.spawn_until_stopped("desk", server.serve(Arc::new(Clerk), tasks.clone())));
        tasks
    }

    fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        ask(&self.place(), request, Duration::from_secs(60))
    }

    /// What comes back for these bytes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        // Not to the end, where a request that was not read to its own is an error of the socket.
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        answer
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_question_is_answered() {
    let office = Office::new();
    let _desk = office.open();
    let directory = Some("SampleBucketA".to_owned());
    let answer = office.ask(&Request::Session { directory: directory.clone() }).unwrap();
    assert_eq!(answer, Answer::Session(session(directory)));
    let code = Secret::from("123456".to_owned());
    let answer = office.ask(&Request::Login { code, directory: None }).unwrap();
    assert_eq!(answer, Answer::LoggedIn { role: "123456".to_owned(), until: None });
}

#[test]
fn a_refusal_keeps_its_hint() {
    let office = Office::new();
    let _desk = office.open();
    let failure = office.ask(&Request::Status).unwrap_err();
    assert_eq!(failure, Failure::new("closed").hint("come back tomorrow"));
}

#[test]
fn many_ask_at_once() {
    let office = Office::new();
    let _desk = office.open();
    std::thread::scope(|scope| {
        let guests: Vec<_> = (0..100).map(|_| scope.spawn(|| office.ask(&Request::Status))).collect();
        assert!(guests.into_iter().all(|guest| guest.join().unwrap().unwrap_err().message == "closed"));
    });
}

#[test]
fn silent_guests_keep_nobody_out() {
    let office = Office::new();
    let _desk = office.open();
    let _silent: Vec<_> = (0..8).map(|_| UnixStream::connect(office.socket()).unwrap()).collect();
    assert_eq!(office.ask(&Request::Status).unwrap_err().message, "closed");
}

#[test]
fn what_is_no_request_is_refused_and_not_repeated() {
    let office = Office::new();
    let _desk = office.open();
    let long = [b"\"".as_slice(), &b"x".repeat(REQUEST_BYTES_MAX), b"\"\n"].concat();
    let table: [(&[u8], &str); 5] = [
        (b"{\"login\":{\"code\":123456}}\n", "does not understand the request"),
        (b"{\"login\":\"123456\"}\n", "does not understand the request"),
        (b"{\"dance\":{}}\n", "does not understand the request"),
        (b"\"status\"", "breaks off"),
        (&long, "too long"),
    ];
    for (request, why) in table {
        let answer = office.raw(request);
        assert!(answer.contains(why) && !answer.contains("123456"), "{answer}");
    }
}

#[test]
fn the_socket_is_its_owners_alone() {
    let office = Office::new();
    let _desk = office.open();
    assert_eq!(mode(&office.socket()), 0o600);
    assert_eq!(mode(office.socket().parent().unwrap()), 0o700);
}

#[test]
fn where_nobody_listens_that_is_said() {
    let office = Office::new();
    let failure = office.ask(&Request::Status).unwrap_err();
    assert!(failure.message.contains("nobody answers for the mount at"), "{failure}");
    assert!(failure.hint.unwrap().contains("mount again"));
}

#[test]
fn the_socket_goes_with_the_desk_and_a_new_desk_may_open() {
    let office = Office::new();
    for _ in 0..2 {
        let tasks = office.open();
        assert!(office.ask(&Request::Session { directory: None }).is_ok());
        assert_eq!(office.runtime.block_on(tasks.stop(Duration::from_secs(60))), 0);
        assert!(!office.socket().exists());
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let office = Office::new();
    drop(Server::bind(office.place()).unwrap());
    // Dropping a listener of the standard library leaves its name behind, as the death of a process does.
    drop(UnixListener::bind(office.socket()).unwrap());
    assert!(office.socket().exists());
    assert!(office.ask(&Request::Status).unwrap_err().message.contains("nobody answers"));
    let _desk = office.open();
    assert!(office.ask(&Request::Session { directory: None }).is_ok());
}

#[test]
fn a_live_socket_is_not_taken_over() {
    let office = Office::new();
    let _desk = office.open();
    let error = Server::bind(office.place()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(office.ask(&Request::Session { directory: None }).is_ok(), "the first one still answers");
}

#[test]
fn a_desk_leaves_a_socket_that_is_not_its_own() {
    let office = Office::new();
    let server = Server::bind(office.place()).unwrap();
    std::fs::remove_file(office.socket()).unwrap();
    let other = UnixListener::bind(office.socket()).unwrap();
    drop(server);
    assert!(office.socket().exists());
    drop(other);
}

#[test]
fn a_socket_that_went_away_is_opened_again() {
    let office = Office::new();
    let clock =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    clock.block_on(async {
        let tasks = Tasks::new(Handle::current());
        let server = Server::bind(office.place()).unwrap();
        drop(tasks.spawn_until_stopped("desk", server.serve(Arc::new(Clerk), tasks.clone())));
        tokio::task::yield_now().await;
        std::fs::remove_dir_all(office.socket().parent().unwrap()).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(UnixStream::connect(office.socket()).is_ok());
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, 0);
    });
}

#[test]
fn a_mount_that_hangs_is_not_waited_for_without_end() {
    let office = Office::new();
    drop(Server::bind(office.place()).unwrap());
    let _hangs = UnixListener::bind(office.socket()).unwrap();
    let failure = ask(&office.place(), &Request::Status, Duration::from_millis(50)).unwrap_err();
    assert!(failure.message.contains("has not answered within"), "{failure}");
}

#[test]
fn a_socket_in_a_directory_that_others_may_enter_is_not_trusted() {
    let office = Office::new();
    let _desk = office.open();
    let dir = office.socket().parent().unwrap().to_owned();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(office.ask(&Request::Status).unwrap_err().message.contains("nobody answers"));
}

#[test]
fn times_are_written_as_the_aws_tools_write_them() {
    let time = clock::from_unix(1_767_225_599, 999);
    assert_eq!(written(time), "2025-12-31T23:59:59Z");
    assert_eq!(read(&written(time)), Some(clock::from_unix(1_767_225_599, 0)));
    assert_eq!(read("tomorrow"), None);
}

#[test]
fn messages_are_plain_json() {
    let table = [
        (Request::Status, r#""status""#),
        (Request::Session { directory: None }, r#"{"session":{"directory":null}}"#),
        (
            Request::Login { code: Secret::from("123456".to_owned()), directory: Some("A".into()) },
            r#"{"login":{"code":"123456","directory":"A"}}"#,
        ),
    ];
    for (request, line) in table {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
    }
}

#[test]
fn what_a_newer_version_adds_is_ignored() {
    let line = r#"{"session":{"access_key_id":"A","secret_access_key":"s","mood":"good"}}"#;
    let Answer::Session(session) = serde_json::from_str(line).unwrap() else { panic!("a session") };
    assert_eq!((session.session_token, session.expiration), (None, None));
}

#[test]
fn messages_do_not_show_their_secrets() {
    let code = Secret::from("123456".to_owned());
    let shown = format!("{:?}", Request::Login { code, directory: None });
    assert!(!shown.contains("123456"), "{shown}");
}
