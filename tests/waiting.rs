//! A server that takes requests and says nothing, with a real kernel: whoever waits for it can be killed, and the mount
//! can be ended.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::{Gate, On, RunningEmulator};
use tokio::runtime::Runtime;

use crate::support::real::{Home, can_mount, text};

const BUCKET: &str = demo::BUCKETS[0];

/// A mount by a process that the test can send signals to, and what it mounts.
struct Stage {
    daemon: Process,
    home: Home,
    emulator: RunningEmulator,
    runtime: Runtime,
}

impl Stage {
    /// `None`, after saying so, on a machine that cannot mount.
    fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
        let mut program = fs::read("/bin/sleep").unwrap();
        // Too large to be fetched before anybody asks.
        program.resize(20 << 20, 0);
        emulator.world().seed(BUCKET, "program", program);
        // Its first line is soon read.
        let mut large = vec![b'x'; 20 << 20];
        large[0] = b'\n';
        emulator.world().seed(BUCKET, "large", large);
        let home = Home::new();
        let daemon = mount(&home, &emulator);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { daemon, home, emulator, runtime })
    }

    /// Mounts once more, after the first mount has ended.
    fn mount_again(&mut self) {
        self.daemon = mount(&self.home, &self.emulator);
    }

    fn stored(&self, key: &str) -> Option<Vec<u8>> {
        Some(self.emulator.world().object(BUCKET, key)?.content.to_bytes().to_vec())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.mount_point().join(BUCKET).join(name)
    }

    /// From now on these requests are taken, and never answered before the gate opens.
    fn silence(&self, operation: &str, key: &str) -> Gate {
        let gate = Gate::closed();
        self.emulator.world().faults.inject(On::operation(operation).key(key).always().hold_request(&gate));
        gate
    }

    /// A process that waits for the answer to such a request, and the gate that it waits behind.
    fn held_up(&self, operation: &str, key: &str, command: &mut Command) -> (Process, Gate) {
        let gate = self.silence(operation, key);
        let process = Process::start(command);
        self.wait_for(&gate);
        (process, gate)
    }

    /// Waits until a request stands at the gate.
    fn wait_for(&self, gate: &Gate) {
        self.runtime.block_on(async { tokio::time::timeout(LONG, gate.reached_by(1)).await.unwrap() });
    }

    /// One who reads and one who writes, both held up.
    fn reader_and_writer(&self) -> [(Process, Gate); 2] {
        let (large, new) = (self.path("large"), self.path("new"));
        [
            self.held_up("GetObject", "large", &mut shell(&format!("cat {}", large.display()))),
            self.held_up("PutObject", "new", &mut shell(&format!("cp /etc/passwd {}", new.display()))),
        ]
    }
}

fn mount(home: &Home, emulator: &RunningEmulator) -> Process {
    let [one, other] = demo::BUCKETS;
    let role = demo::role_arn();
    let flags = ["--foreground", "--role-arn", &role, "--bucket", one, "--bucket", other];
    let flags = [&flags[..], &["--file-mode", "0755"]].concat();
    let daemon = Process::start(&mut home.command_of(emulator, &flags));
    until("it is mounted", || is_mounted(&home.mount_point()));
    // Whatever is asked for at the first request of all has been asked for.
    fs::read(home.mount_point().join(BUCKET).join("welcome.txt")).unwrap();
    daemon
}

fn shell(script: &str) -> Command {
    // Whatever the tests were started in the background of ignores Ctrl-C, and what it starts inherits that.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT,QUIT", "sh", "-c", &format!("exec {script}")]);
    command
}

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// How it ended, within a time in which nothing on a mount times out.
    fn end(&mut self, what: &str) -> ExitStatus {
        let mut ended = None;
        until(what, || {
            ended = self.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Looks for a while whether it is still running.
    fn goes_on(&mut self) {
        let waiting = Instant::now();
        while waiting.elapsed() < SOME_LOOKS {
            assert!(self.is_running());
            std::thread::yield_now();
        }
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ended = self.0.kill().is_err();
    }
}

/// Waits for something that comes soon, or not before a timeout that is much longer.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Nothing that S3 is asked for is given up within so little.
const LONG: Duration = Duration::from_secs(14);

/// The mount looks this long several times whether somebody who waits is told to end.
const SOME_LOOKS: Duration = Duration::from_millis(700);

#[test]
fn whoever_wonders_why_a_program_hangs_is_told_by_status() {
    let Some(stage) = Stage::new() else { return };
    let gate = Gate::closed();
    stage.emulator.world().faults.inject(On::anything().bucket(BUCKET).always().hold_request(&gate));
    let _reader = Process::start(&mut shell(&format!("cat {}", stage.path("large").display())));
    stage.wait_for(&gate);
    let mount_point = stage.home.mount_point();
    until("status says so", || {
        let told = stage.home.s3xmount(&["status", mount_point.to_str().unwrap()]);
        let told = text(&told.stdout);
        told.contains("S3 does not answer since") && told.contains("requests that wait: ")
    });
    gate.open();
}

#[test]
fn whoever_waits_can_be_interrupted() {
    let Some(stage) = Stage::new() else { return };
    let source = stage.home.path().join("source");
    fs::write(&source, vec![2; 12 << 20]).unwrap();
    let source = source.display();
    let path = |name: &str| stage.path(name).display().to_string();
    let (large, program) = (path("large"), path("program"));
    let waits = [
        ("HeadObject", "unknown", format!("stat {}", path("unknown"))),
        ("GetObject", "large", format!("cat {large}")),
        ("GetObject", "large", format!("dd if={large} iflag=direct bs=64k count=1 skip=9")),
        // Not by the shell itself, which handles the signal.
        ("GetObject", "program", format!("env {program} 60")),
        ("PutObject", "one", format!("cp /etc/passwd {}", path("one"))),
        ("PutObject", "two", format!("tee {} < /etc/passwd", path("two"))),
        ("UploadPart", "streamed", format!("cp {source} {}", path("streamed"))),
        ("PutObject", "directory/", format!("mkdir {}", path("directory"))),
        ("CopyObject", "moved", format!("mv {} {}", path("welcome.txt"), path("moved"))),
    ];
    for (operation, key, command) in waits {
        let (mut process, gate) = stage.held_up(operation, key, &mut shell(&command));
        assert!(process.is_running(), "{command}");
        process.signal("INT");
        assert!(!process.end(&command).success(), "{command}");
        stage.emulator.world().faults.clear();
        gate.open();
    }
}

#[test]
fn a_reader_that_handles_the_signal_is_not_told_that_it_cannot_read() {
    let Some(stage) = Stage::new() else { return };
    let script = format!("sh -c 'trap : INT; read -r line < {}; exit 0'", stage.path("large").display());
    let (mut process, gate) = stage.held_up("GetObject", "large", &mut shell(&script));
    process.signal("INT");
    process.goes_on();
    gate.open();
    assert!(process.end("it has read").success());
}

#[test]
fn a_process_that_exits_without_closing_its_files_waits_for_s3() {
    let Some(stage) = Stage::new() else { return };
    let script = format!("sh -c 'exec 3> {0}; echo content >&3; exit 0'", stage.path("new").display());
    let (mut process, gate) = stage.held_up("PutObject", "new", &mut shell(&script));
    process.goes_on();
    gate.open();
    assert!(process.end("the file is in S3").success());
    assert_eq!(stage.stored("new").unwrap(), b"content\n");
}

/// The files that are not for the new program are closed in the middle of execve(2), where the kernel lets nobody look
/// at some of what `/proc` has: whoever does waits for our answer.
#[test]
fn a_process_that_becomes_another_program_waits_for_s3_and_goes_on() {
    let Some(stage) = Stage::new() else { return };
    let script = "import os, sys\n\
                  file = open(sys.argv[1], 'wb', buffering=0)\n\
                  file.write(b'bytes')\n\
                  os.execv('/bin/true', ['true'])";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(stage.path("made"));
    let (mut becoming, gate) = stage.held_up("PutObject", "made", &mut python);
    becoming.goes_on();
    gate.open();
    assert!(becoming.end("it runs the other program").success());
    assert_eq!(stage.stored("made").unwrap(), b"bytes");
}

#[test]
fn a_mount_ends_as_often_as_it_is_told_to_whatever_the_server_does() {
    let Some(mut stage) = Stage::new() else { return };
    let [(mut reader, reads), (mut writer, writes)] = stage.reader_and_writer();
    stage.daemon.signal("TERM");
    until("nobody else gets in", || !is_mounted(&stage.home.mount_point()));
    assert!(reader.is_running() && writer.is_running(), "they are still served");
    until("it ends", || {
        stage.daemon.signal("TERM");
        !stage.daemon.is_running()
    });
    assert!(!reader.end("the reader hears of it").success());
    assert!(!writer.end("the writer hears of it").success());
    reads.open();
    writes.open();
    stage.emulator.world().faults.clear();
    stage.mount_again();
    until("what was closed is in S3", || stage.stored("new") == fs::read("/etc/passwd").ok());
}

#[test]
fn whoever_waits_for_a_mount_that_is_killed_hears_of_it() {
    let Some(mut stage) = Stage::new() else { return };
    let [(mut reader, _reads), (mut writer, _writes)] = stage.reader_and_writer();
    stage.daemon.signal("KILL");
    stage.daemon.end("it is gone");
    assert!(!reader.end("the reader hears of it").success());
    assert!(!writer.end("the writer hears of it").success());
}
