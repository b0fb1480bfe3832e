//! The few things that only a real kernel can show: ordinary tools at work in a mount.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{CannedAcl, RunningEmulator, demo};

use crate::support::real::{Home, can_mount, text, umount};

/// Both buckets, mounted by the binary.
struct Mounted {
    home: Home,
    emulator: RunningEmulator,
}

impl Mounted {
    /// `None`, after saying so, on a machine that cannot mount.
    fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
        let mounted = Self { home: Home::new(), emulator };
        mounted.mount();
        Some(mounted)
    }

    /// Mounts; a mount that was ended a moment ago may still be putting its things away.
    fn mount(&self) {
        let begun = Instant::now();
        loop {
            let output = self.home.mount(&self.emulator, &demo::role_arn());
            let said = text(&output.stderr);
            match output.status.code() {
                Some(0) => return,
                _ if said.contains("is in use by another mount") && begun.elapsed().as_secs() < 30 => {}
                _ => panic!("{said}"),
            }
        }
    }

    /// Ends the mount and begins a new one, which knows nothing of the old one.
    fn mount_anew(&self) {
        assert!(umount(&self.home.mount_point(), &[]));
        self.mount();
    }

    /// What a shell prints, in the mount point; `$TREE` is the tree beside it.
    fn shell(&self, script: &str) -> String {
        let (succeeded, said) = self.try_shell(script);
        assert!(succeeded, "{script}: {said}");
        said
    }

    fn try_shell(&self, script: &str) -> (bool, String) {
        let output = Command::new("sh")
            .args(["-euc", &format!("exec 2>&1; {script}")])
            .current_dir(self.home.mount_point())
            .env("TREE", self.home.path().join("tree"))
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        (output.status.success(), text(&output.stdout))
    }

    fn keys(&self, bucket: &str) -> Vec<String> {
        self.emulator.world().bucket(bucket).keys()
    }

    fn stored(&self, bucket: &str, key: &str) -> String {
        text(&self.emulator.world().object(bucket, key).unwrap().content.to_bytes())
    }
}

const A: &str = demo::BUCKETS[0];
const B: &str = demo::BUCKETS[1];

/// The sources of this crate, and one of each thing that they lack.
fn plant_tree(home: &Path) {
    let script = "cp -r \"$0\" tree && cd tree && mkdir -p empty/directory && : > empty/file && \
        ln -s emulator/mod.rs link && printf '#!/bin/sh\\n' > tool && chmod 755 tool && chmod 640 lib.rs && \
        touch -d '2001-02-03 04:05:06.789' main.rs && printf x > 'name with spaces and \u{e4}\u{20ac}' && \
        head -c 20000000 /dev/urandom > large";
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let planted = Command::new("sh").args(["-euc", script, sources]).current_dir(home).status().unwrap();
    assert!(planted.success());
}

#[test]
fn a_tree_that_was_copied_in_compares_equal_after_a_fresh_mount() {
    let Some(mounted) = Mounted::new() else { return };
    plant_tree(&mounted.home.path());
    mounted.shell("cp -r $TREE SampleBucketA/cp");
    mounted.shell("mkdir SampleBucketA/tar && tar c -C $TREE . | tar x -C SampleBucketA/tar");
    mounted.shell("rsync -a $TREE/ SampleBucketB/rsync");
    for fresh in [false, true] {
        for copy in ["SampleBucketA/cp", "SampleBucketA/tar", "SampleBucketB/rsync"] {
            assert_eq!(mounted.shell(&format!("diff -r --no-dereference $TREE {copy}")), "", "{copy}");
        }
        let again = mounted.shell("rsync -a -i $TREE/ SampleBucketB/rsync");
        assert_eq!(again, "", "a second rsync has nothing to do (after a fresh mount: {fresh})");
        let modes = "find . -printf '%P %y %m %l\\n' | sort";
        let expected = mounted.shell(&format!("cd $TREE; {modes}"));
        assert_eq!(mounted.shell(&format!("cd SampleBucketA/tar; {modes}")), expected);
        if !fresh {
            mounted.mount_anew();
        }
    }
    for (bucket, key) in
        [(A, "cp/large"), (A, "tar/lib.rs"), (B, "rsync/large"), (B, "rsync/empty/directory/")]
    {
        let object = mounted.emulator.world().object(bucket, key).unwrap();
        assert_eq!((object.acl, object.owner), (CannedAcl::BucketOwnerFullControl, demo::ACCOUNT_B), "{key}");
    }
    mounted.shell("rm -r SampleBucketA/cp SampleBucketA/tar SampleBucketB/rsync");
    let left = [mounted.keys(A), mounted.keys(B)].concat();
    assert!(!left.iter().any(|key| key.contains("mod.rs") || key.contains("rsync")), "{left:?}");
    assert_eq!(mounted.shell("ls SampleBucketA"), "reports\nwelcome.txt\n");
}

#[test]
fn ordinary_commands_do_what_they_do_on_a_disk() {
    let Some(mounted) = Mounted::new() else { return };
    let shell = |script: &str| mounted.shell(script);
    assert_eq!(shell("ls"), "SampleBucketA\nSampleBucketB\n");
    assert_eq!(shell("cat SampleBucketB/notes/'shopping list.txt'"), "coffee\nbread\napples\n");

    shell("cd SampleBucketA; echo one > log; echo two >> log; (echo three; echo four) >> log");
    assert_eq!(mounted.stored(A, "log"), "one\ntwo\nthree\nfour\n");
    shell("sed -i s/two/2/ SampleBucketA/log");
    assert_eq!(shell("cat SampleBucketA/log"), "one\n2\nthree\nfour\n");
    shell("mv SampleBucketA/log SampleBucketB/inbox/log");
    assert_eq!(mounted.stored(B, "inbox/log"), "one\n2\nthree\nfour\n");
    assert!(!mounted.keys(A).contains(&"log".to_owned()));

    shell("mv SampleBucketA/reports SampleBucketB/");
    assert_eq!(
        shell("cat SampleBucketB/reports/readme.txt | wc -l"),
        "1\n",
        "mv copies what cannot be renamed"
    );
    assert!(!mounted.keys(A).iter().any(|key| key.starts_with("reports")));

    shell("printf 0123456789 | dd of=SampleBucketA/d bs=1 status=none");
    shell(
        "printf xy | dd of=SampleBucketA/d bs=1 seek=4 conv=notrunc status=none; truncate -s 8 SampleBucketA/d",
    );
    assert_eq!(mounted.stored(A, "d"), "0123xy67");

    shell(
        "cd SampleBucketA; mkdir -p deep/er; ln -s ../d deep/link; : > deep/empty; cp -p deep/link deep/er/copy",
    );
    assert_eq!(
        shell("cd SampleBucketA; cat deep/link deep/er/copy; find deep | sort"),
        "0123xy670123xy67\
        deep\ndeep/empty\ndeep/er\ndeep/er/copy\ndeep/link\n"
    );
    assert!(!mounted.try_shell("rmdir SampleBucketA/deep").0, "it is not empty");
    let runs =
        "test -x SampleBucketA/d && echo runs || echo does not; test -x SampleBucketA && echo is searched";
    assert_eq!(shell(runs), "does not\nis searched\n");
    assert_eq!(
        shell(&format!("chmod 755 SampleBucketA/d; {runs}; chmod 644 SampleBucketA/d")),
        "runs\nis searched\n"
    );
    assert_eq!(
        shell("cd SampleBucketA; exec 3<d; rm d; cat <&3"),
        "0123xy67",
        "an open file outlives its name"
    );
}

#[test]
fn refusals_are_those_that_people_know() {
    let Some(mounted) = Mounted::new() else { return };
    for (script, expected) in [
        ("ls SampleBucketA/nowhere", "No such file or directory"),
        ("cat SampleBucketA/nowhere", "No such file or directory"),
        ("cat SampleBucketA/reports", "Is a directory"),
        ("mkdir SampleBucketA/reports", "File exists"),
        ("rmdir SampleBucketA/reports", "Directory not empty"),
        ("mkdir SampleBucketC", "Operation not permitted"),
        ("ls SampleBucketA/welcome.txt/x", "Not a directory"),
        ("touch SampleBucketA/$(printf %0256d 0)", "File name too long"),
        ("ln SampleBucketA/welcome.txt SampleBucketA/second", "Operation not permitted"),
        ("printf '\\377' | xargs -I{} touch SampleBucketA/{}", "Invalid or incomplete multibyte"),
    ] {
        let (succeeded, said) = mounted.try_shell(script);
        assert!(!succeeded && said.contains(expected), "{script}: {said}");
    }
    let world = mounted.emulator.world();
    world.set_bucket_policy(A, None);
    let (succeeded, said) = mounted.try_shell("cp SampleBucketB/welcome.txt SampleBucketA/denied");
    assert!(!succeeded && said.contains("Permission denied"), "{said}");
    assert!(fs::read_to_string(mounted.home.mount_point().join(B).join("welcome.txt")).is_ok());
}

/// The kernel keeps them by itself where a filesystem does not ask for them, and this one does not: S3 has no locks.
#[test]
fn locks_hold_between_the_programs_of_one_machine() {
    let Some(mounted) = Mounted::new() else { return };
    let shell = |script: &str| mounted.shell(script);
    // flock(2): one holds it for as long as it has the file open, another one does not get it.
    shell("cd SampleBucketA; exec 9>lock; flock -n 9; ! flock -n lock true");
    shell("cd SampleBucketA; flock -n lock true");
    shell("cd SampleBucketA; exec 8<lock 9<lock; flock -ns 8; flock -ns 9; ! flock -nx lock true");

    // fcntl(2): ranges of bytes, which end with the process that holds them.
    let script = "import fcntl, os, sys\n\
        f = open('SampleBucketA/records', 'w+b'); f.write(bytes(100)); f.flush()\n\
        fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)\n\
        if os.fork() == 0:\n\
        \x20   g = open('SampleBucketA/records', 'r+b')\n\
        \x20   fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)\n\
        \x20   try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)\n\
        \x20   except OSError: os._exit(7)\n\
        \x20   os._exit(8)\n\
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) - 7)\n";
    let held = Command::new("python3").args(["-c", script]).current_dir(mounted.home.mount_point()).output();
    let held = held.unwrap();
    assert!(held.status.success(), "{}", text(&held.stderr));
}
