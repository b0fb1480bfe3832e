//! A role that may get and put objects and nothing else, on a server that we did not write: the rows of the table that the
//! emulator's real mounts show too.
//!
//! Where ministack departs from AWS: it says 404 for a missing key to those who may not list, too, where AWS says 403 (so
//! what is missing is seen to be missing here); it lets an upload be aborted by whoever may put; and it does not ask for
//! `s3:PutObjectAcl` where an ACL is sent with an object.
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::foreign::{Foreign, Mount, foreign, noise};

/// A mount of the bucket as this role, and a directory in it that no other test touches.
struct Stage {
    foreign: &'static Foreign,
    mount: Mount,
    own: &'static str,
}

impl Stage {
    fn new(role: &str, own: &'static str, flags: &[&str]) -> Option<Self> {
        let foreign = foreign()?;
        let mount = Mount::new(foreign, role, &["narrow"], flags);
        let stage = Self { foreign, mount, own };
        fs::create_dir(stage.bucket().join(own)).unwrap();
        Some(stage)
    }

    fn bucket(&self) -> PathBuf {
        self.mount.bucket("narrow")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.bucket().join(self.own).join(name)
    }

    fn seen_by_bob(&self, name: &str) -> Vec<u8> {
        self.foreign.seen_by_bob("narrow", &format!("{}/{name}", self.own))
    }

    /// Bob puts an object beside ours.
    fn bob_puts(&self, name: &str, content: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let key = format!("{}/{name}", self.own);
        let body = file.path().to_str().unwrap();
        self.foreign.bob(&["s3api", "put-object", "--bucket", "narrow", "--key", &key, "--body", body]);
    }
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

#[test]
fn known_and_missing_keys_are_told_apart() {
    let Some(stage) = Stage::new("writer", "own-read", &[]) else { return };
    assert_eq!(fs::read(stage.bucket().join("letter.txt")).unwrap(), b"from bob\n");
    assert_eq!(fs::metadata(stage.bucket().join("letter.txt")).unwrap().len(), 9);
    assert_eq!(kind(fs::metadata(stage.bucket().join("missing"))), ErrorKind::NotFound);
    stage.mount.end();
}

#[test]
fn directories_are_seen_by_their_marker_and_cannot_be_read() {
    let Some(stage) = Stage::new("writer", "own-list", &["--directories", "reports"]) else { return };
    for path in ["", "inbox", "reports"] {
        let read = fs::read_dir(stage.bucket().join(path)).and_then(|all| all.collect::<Result<Vec<_>, _>>());
        assert_eq!(kind(read), ErrorKind::PermissionDenied, "{path}");
    }
    assert_eq!(kind(fs::metadata(stage.bucket().join("team"))), ErrorKind::NotFound, "it has no marker");
    let missing = "missing: s3:ListBucket on arn:aws:s3:::narrow:";
    assert_eq!(stage.mount.log().matches(missing).count(), 1, "{}", stage.mount.log());
    stage.mount.end();
}

#[test]
fn creation_is_exact_and_replaces_nothing_unseen() {
    let Some(stage) = Stage::new("writer", "own-create", &["--negative-ttl", "1h"]) else { return };
    File::create_new(stage.at("mine")).unwrap().write_all(b"mine").unwrap();
    assert_eq!(kind(File::create_new(stage.at("mine"))), ErrorKind::AlreadyExists);
    assert_eq!(stage.seen_by_bob("mine"), b"mine");
    assert_eq!(kind(fs::metadata(stage.at("theirs"))), ErrorKind::NotFound);
    stage.bob_puts("theirs", "theirs");
    let mut file = File::create_new(stage.at("theirs")).unwrap();
    let written = file.write_all(b"mine").and_then(|()| file.sync_all());
    assert_eq!(kind(written), ErrorKind::AlreadyExists);
    drop(file);
    assert_eq!(stage.seen_by_bob("theirs"), b"theirs");
    assert_eq!(kind(fs::create_dir(stage.bucket().join("inbox"))), ErrorKind::AlreadyExists);
    stage.mount.end();
}

#[test]
fn files_are_replaced_extended_cut_edited_and_described() {
    let Some(stage) = Stage::new("writer", "own-edit", &[]) else { return };
    let mut expected = noise(17 << 20);
    fs::write(stage.at("large"), &expected).unwrap();
    OpenOptions::new().append(true).open(stage.at("large")).unwrap().write_all(b"tail").unwrap();
    expected.extend_from_slice(b"tail");
    let mut file = OpenOptions::new().write(true).open(stage.at("large")).unwrap();
    file.seek(SeekFrom::Start(9 << 20)).unwrap();
    file.write_all(b"middle").unwrap();
    drop(file);
    expected[9 << 20..][..6].copy_from_slice(b"middle");
    assert!(stage.seen_by_bob("large") == expected);
    fs::write(stage.at("small"), "0123456789").unwrap();
    fs::write(stage.at("small"), "abcdef").unwrap();
    OpenOptions::new().write(true).open(stage.at("small")).unwrap().set_len(3).unwrap();
    fs::set_permissions(stage.at("small"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(stage.seen_by_bob("small"), b"abc");
    assert_eq!(fs::metadata(stage.at("small")).unwrap().permissions().mode() & 0o777, 0o600);
    stage.mount.end();
}

#[test]
fn an_edit_of_a_version_that_bob_replaced_is_refused() {
    let Some(stage) = Stage::new("writer", "own-race", &[]) else { return };
    fs::write(stage.at("shared"), "before").unwrap();
    let mut file = OpenOptions::new().write(true).open(stage.at("shared")).unwrap();
    stage.bob_puts("shared", "theirs, newer");
    file.write_all(b"mine").unwrap();
    assert_eq!(kind(file.sync_all()), ErrorKind::StaleNetworkFileHandle);
    drop(file);
    assert_eq!(stage.seen_by_bob("shared"), b"theirs, newer");
    stage.mount.end();
}

#[test]
fn nothing_is_removed_or_renamed() {
    let Some(stage) = Stage::new("writer", "own-remove", &[]) else { return };
    fs::write(stage.at("f"), "f").unwrap();
    fs::create_dir(stage.at("d")).unwrap();
    let denied = ErrorKind::PermissionDenied;
    assert_eq!(kind(fs::remove_file(stage.at("f"))), denied);
    assert_eq!(kind(fs::remove_dir(stage.at("d"))), denied);
    assert_eq!(kind(fs::rename(stage.at("f"), stage.at("moved"))), denied);
    assert_eq!(kind(fs::rename(stage.at("d"), stage.at("moved"))), denied);
    assert_eq!(kind(fs::metadata(stage.at("moved"))), ErrorKind::NotFound);
    assert_eq!(stage.seen_by_bob("f"), b"f");
    let missing = "missing: s3:DeleteObject on arn:aws:s3:::narrow/*:";
    assert_eq!(stage.mount.log().matches(missing).count(), 1, "{}", stage.mount.log());
    stage.mount.end();
}

#[test]
fn tools_work_in_place_and_lose_nothing_where_they_cannot() {
    let Some(stage) = Stage::new("writer", "own-tools", &[]) else { return };
    fs::write(stage.at("new"), "new content\n").unwrap();
    for (script, works, content) in [
        ("cp new f", true, "new content\n"),
        ("rsync --inplace new f", true, "new content\n"),
        ("vim -u NONE -n -es -c '%s/two/2/' -c wq f", true, "one\n2\n"),
        ("sed -i s/two/2/ f", false, "one\ntwo\n"),
        ("rsync new f", false, "one\ntwo\n"),
        ("mv f moved", false, "one\ntwo\n"),
    ] {
        fs::write(stage.at("f"), "one\ntwo\n").unwrap();
        let ran = Command::new("sh").args(["-uc", script]).current_dir(stage.at("")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.success(), works, "{script}: {said}");
        assert!(works || said.contains("Permission denied"), "{script}: {said}");
        assert_eq!(String::from_utf8_lossy(&stage.seen_by_bob("f")), content, "{script}");
    }
    stage.mount.end();
}

#[test]
fn below_the_prefix_that_it_may_list_a_role_sees_everything() {
    let Some(stage) = Stage::new("teammate", "team/own", &[]) else { return };
    let names = |path: &str| {
        let read = fs::read_dir(stage.bucket().join(path)).and_then(|all| all.collect::<Result<Vec<_>, _>>());
        read.map(|all| {
            let mut names: Vec<_> =
                all.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        })
    };
    assert_eq!(kind(names("")), ErrorKind::PermissionDenied);
    assert_eq!(names("team").unwrap(), ["notes", "own", "two"]);
    assert_eq!(names("team/notes").unwrap(), ["one"]);
    fs::write(stage.at("f"), "f").unwrap();
    assert_eq!(names("team/own").unwrap(), ["f"]);
    assert_eq!(fs::read(stage.bucket().join("letter.txt")).unwrap(), b"from bob\n");
    stage.mount.end();
}
