//! A mount whose process is killed, and the one that comes after it; and what people do with what was set aside.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{Gate, On, RunningEmulator, demo};

use crate::support::real::{Home, can_mount, text, umount};

const A: &str = demo::BUCKETS[0];

/// A mount in the foreground, whose process can be killed.
struct Mortal {
    home: Home,
    emulator: RunningEmulator,
    process: Option<Child>,
}

impl Mortal {
    /// `None`, after saying so, on a machine that cannot mount.
    fn new(flags: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
        let mut mortal = Self { home: Home::new(), emulator, process: None };
        mortal.mount(flags);
        Some(mortal)
    }

    fn mount(&mut self, flags: &[&str]) {
        let role = demo::role_arn();
        let all = [flags, &["-f", "--role-arn", &role, "--bucket", A]].concat();
        let mut command = self.home.command_of(&self.emulator, &all);
        let process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        self.process = Some(process);
        self.until("it is mounted", |mortal| is_mounted(&mortal.home.mount_point()));
    }

    /// Kills the process as the kernel does when memory runs out, and takes away what is left of the mount.
    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(umount(&self.home.mount_point(), &["-l"]));
    }

    fn end(&mut self) {
        assert!(umount(&self.home.mount_point(), &[]));
        let mut process = self.process.take().unwrap();
        assert!(process.wait().unwrap().success(), "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap_or_default()
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed().as_secs() < 60, "it never came to this: {what}; {}", self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// A command in the mount point, which a test may leave behind.
    fn shell(&self, script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.home.mount_point().join(A));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn run(&self, script: &str) {
        assert!(self.shell(script).wait().unwrap().success(), "{script}: {}", self.log());
    }

    fn stored(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.emulator.world().object(A, key)?;
        Some(object.content.to_bytes().to_vec())
    }

    /// What an object says about itself.
    fn noted(&self, key: &str, name: &str) -> Option<String> {
        self.emulator.world().object(A, key)?.attributes.metadata.get(name).cloned()
    }

    fn hold(&self, operation: &str) -> Gate {
        let gate = Gate::closed();
        self.emulator.world().faults.inject(On::operation(operation).always().hold_request(&gate));
        gate
    }

    fn waits_at(&self, gate: &Gate, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let reached = async { tokio::time::timeout(Duration::from_secs(60), gate.reached_by(count)).await };
        runtime.block_on(reached).unwrap();
    }

    /// `s3xmount rescue` for this mount's staging directory, whether or not it runs.
    fn rescue(&self, flags: &[&str]) -> String {
        let output = self.try_rescue(flags);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn try_rescue(&self, flags: &[&str]) -> std::process::Output {
        let role = demo::role_arn();
        let all = [&["rescue", "--role-arn", &role, "--bucket", A], flags].concat();
        self.home.command_of(&self.emulator, &all).output().unwrap()
    }

    fn set_aside(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.rescue(&["--json"])).unwrap()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop((process.kill(), process.wait()));
        }
    }
}

#[test]
fn a_mount_that_is_killed_in_the_middle_of_a_copy_leaves_old_objects_and_kept_bytes() {
    let Some(mut mortal) = Mortal::new(&[]) else { return };
    fs::write(mortal.home.path().join("source"), vec![7; 40 << 20]).unwrap();
    let gate = mortal.hold("CompleteMultipartUpload");
    let small = mortal.hold("PutObject");
    // Whoever writes it has not closed it when the mount dies, and goes by itself some time later.
    let half = mortal.shell("(printf half; exec sleep 20) | dd of=half bs=4");
    mortal.until("half is written", |mortal| {
        let half = mortal.home.mount_point().join(A).join("half");
        fs::metadata(half).is_ok_and(|half| half.len() == 4)
    });
    let mut large = mortal.shell("cat ../../source > large");
    let mut waiting = mortal.shell("printf ours > waiting");
    mortal.waits_at(&gate, 1);
    mortal.waits_at(&small, 1);
    mortal.kill();
    drop((half, large.wait(), waiting.wait()));
    assert_eq!(["half", "large", "waiting"].map(|key| mortal.stored(key)), [None, None, None]);
    for gate in [gate, small] {
        gate.open();
    }
    mortal.mount(&[]);
    // Whoever was closing had not heard anything: their commits are finished.
    mortal.until("the commits are finished", |mortal| {
        mortal.stored("waiting").is_some_and(|bytes| bytes == b"ours")
            && mortal.stored("large").is_some_and(|bytes| bytes == vec![7; 40 << 20])
    });
    mortal.until("what nobody closed is set aside", |mortal| mortal.set_aside().len() == 1);
    assert_eq!(mortal.stored("half"), None);
    mortal.until("no upload is left", |mortal| mortal.emulator.world().uploads(A).is_empty());
    let aside = &mortal.set_aside()[0];
    assert_eq!((&aside["key"], &aside["bytes"]), (&"half".into(), &4.into()));
    let status = mortal.home.s3xmount(&["status", mortal.home.mount_point().to_str().unwrap()]);
    assert!(text(&status.stdout).contains("set aside, see s3xmount rescue"), "{}", text(&status.stdout));
    mortal.end();
}

#[test]
fn files_that_were_closed_into_the_background_outlive_the_process() {
    let background = ["--commit", "background"];
    let Some(mut mortal) = Mortal::new(&background) else { return };
    let gate = mortal.hold("PutObject");
    mortal.run("i=0; while [ $i -lt 60 ]; do echo content $i > file-$i; i=$((i+1)); done");
    mortal.run("cat file-59 | grep -q 'content 59'");
    assert!(mortal.stored("file-0").is_none());
    mortal.kill();
    gate.open();
    mortal.mount(&background);
    mortal.until("S3 has all of them", |mortal| {
        (0..60).all(|at| {
            mortal
                .stored(&format!("file-{at}"))
                .is_some_and(|bytes| bytes == format!("content {at}\n").as_bytes())
        })
    });
    assert!(mortal.set_aside().is_empty());
    mortal.run("echo more >> file-0; cp file-1 copied; mv file-2 moved; rm file-3");
    // The end of the mount waits for what was closed.
    mortal.end();
    assert_eq!(mortal.stored("file-0").unwrap(), b"content 0\nmore\n");
    assert_eq!(mortal.stored("copied").unwrap(), b"content 1\n");
    assert_eq!(mortal.stored("moved").unwrap(), b"content 2\n");
    assert_eq!((mortal.stored("file-2"), mortal.stored("file-3")), (None, None));
}

#[test]
fn a_mode_that_is_set_while_a_commit_is_under_way_outlives_the_process() {
    for flags in [&[][..], &["--commit", "background"]] {
        let Some(mut mortal) = Mortal::new(flags) else { return };
        mortal.run("printf old > f; sync f");
        let gate = mortal.hold("PutObject");
        let mut writing = mortal.shell("printf new >> f");
        mortal.waits_at(&gate, 1);
        mortal.run("chmod 640 f");
        mortal.kill();
        writing.wait().unwrap();
        gate.open();
        mortal.mount(flags);
        mortal.until("the commit is finished", |mortal| mortal.stored("f").unwrap() == b"oldnew");
        mortal.until("its mode is told", |mortal| mortal.noted("f", "mode").as_deref() == Some("33184"));
        mortal.end();
    }
}

#[test]
fn a_mode_that_was_set_before_a_file_was_opened_outlives_the_process() {
    let Some(mut mortal) = Mortal::new(&[]) else { return };
    // S3 is known to copy here, so the next change may wait.
    mortal.run("printf old > f; chmod 600 f; sync f");
    // It sets the mode and goes on to write, and has not closed when the mount dies.
    let writing = mortal.shell("chmod 640 f; (printf half; exec sleep 20) | dd of=f bs=4");
    mortal.until("half is written", |mortal| {
        let file = mortal.home.mount_point().join(A).join("f");
        fs::metadata(file).is_ok_and(|file| file.len() == 4)
    });
    mortal.kill();
    mortal.mount(&[]);
    mortal.until("the mode is told", |mortal| mortal.noted("f", "mode").as_deref() == Some("33184"));
    assert_eq!(mortal.stored("f").unwrap(), b"old");
    drop(writing);
    mortal.end();
}

#[test]
fn what_was_set_aside_is_rescued_with_and_without_a_mount() {
    let Some(mut mortal) = Mortal::new(&[]) else { return };
    let refused = mortal
        .emulator
        .world()
        .faults
        .inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    for name in ["one", "two", "three", "four"] {
        // dd(1) tells what its close came to; shells do not.
        assert!(!mortal.shell(&format!("printf {name} | dd of={name}")).wait().unwrap().success());
    }
    assert!(refused.strikes() > 0);
    mortal.emulator.world().faults.clear();
    let listed = mortal.rescue(&[]);
    for name in ["one", "two", "three", "four"] {
        assert!(listed.contains(&format!("  s3://{A}/{name}, ")), "{listed}");
    }
    let name = |key: &str| {
        let files = mortal.set_aside();
        let file = files.iter().find(|file| file["key"] == key).unwrap();
        file["name"].as_str().unwrap().to_owned()
    };
    let (one, two, three, four) = (name("one"), name("two"), name("three"), name("four"));
    // The running mount brings it to S3, and says when it cannot.
    assert!(mortal.rescue(&["--file", &one, "--to-s3"]).contains(&format!("s3://{A}/one now")));
    assert_eq!(mortal.stored("one").unwrap(), b"one");
    mortal.emulator.world().seed(A, "two", "theirs");
    let taken = mortal.try_rescue(&["--file", &two, "--to-s3"]);
    assert!(text(&taken.stderr).contains("--overwrite"), "{}", text(&taken.stderr));
    mortal.rescue(&["--file", &two[two.len() - 8..], "--as", "dir/two"]);
    assert_eq!(
        (mortal.stored("dir/two").unwrap(), mortal.stored("two").unwrap()),
        (b"two".to_vec(), b"theirs".to_vec())
    );
    let out = mortal.home.path().join("out");
    mortal.rescue(&["--file", &three, "--to", out.to_str().unwrap()]);
    assert_eq!(fs::read(&out).unwrap(), b"three");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    mortal.end();
    // Without a mount, the settings of one are enough.
    assert_eq!(mortal.set_aside().len(), 1);
    mortal.rescue(&["--file", &four, "--to-s3"]);
    assert_eq!(mortal.stored("four").unwrap(), b"four");
    assert_eq!(mortal.rescue(&[]), "Nothing was set aside.\n");
    let nothing = mortal.try_rescue(&["--file", &four, "--discard"]);
    assert!(text(&nothing.stderr).contains("was set aside"), "{}", text(&nothing.stderr));
}
