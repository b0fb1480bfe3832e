//! Real mounts with exactly GetObject, PutObject and PutObjectAcl: what AWS allows such a role, row by row, and what the
//! tools do that people work with. The README's table is what these tests saw.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::{CannedAcl, RunningEmulator};
use serde_json::Value;

use crate::support::real::{Home, can_mount, text, umount};
use crate::support::{MIB, THREE, World, pattern};

/// Both buckets, mounted by the binary.
struct Mounted {
    home: Home,
    world: World,
}

impl Mounted {
    /// `None`, after saying so, on a machine that cannot mount.
    fn new(flags: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let mounted = Self { home: Home::new(), world: World::with(Rights::Minimal) };
        let output =
            mounted.home.mount_with(mounted.running(), &[flags, &["--role-arn", &demo::role_arn()]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        Some(mounted)
    }

    fn running(&self) -> &RunningEmulator {
        self.world.running()
    }

    /// A path in the first bucket.
    fn at(&self, below: &str) -> PathBuf {
        self.home.mount_point().join(A).join(below)
    }

    fn stored(&self, key: &str) -> Option<String> {
        self.world.stored(&format!("a/{key}")).map(|bytes| text(&bytes))
    }

    fn keys(&self) -> Vec<String> {
        self.world.keys_below("a/").iter().map(|path| path["a/".len()..].to_owned()).collect()
    }

    /// What a shell says in the first bucket, and whether it succeeded.
    fn shell(&self, script: &str) -> (bool, String) {
        let output = Command::new("sh")
            .args(["-uc", &format!("exec 2>&1; {script}")])
            .current_dir(self.at(""))
            .env("HOME", self.home.path())
            .env("OUTSIDE", self.home.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        (output.status.success(), text(&output.stdout))
    }

    /// The first bucket, as `status --json` shows it.
    fn status(&self) -> Value {
        let output = self.home.s3xmount(&["status", self.home.mount_point().to_str().unwrap(), "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["buckets"][0].clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap()
    }

    fn end(self) {
        assert!(umount(&self.home.mount_point(), &[]));
    }
}

const A: &str = demo::BUCKETS[0];

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

#[test]
fn a_known_key_is_described_opened_and_read() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    let large = pattern(3, 3 * MIB);
    mounted.world.put("a/large", large.clone());
    assert_eq!(fs::metadata(mounted.at("large")).unwrap().len(), large.len() as u64);
    let mut file = File::open(mounted.at("large")).unwrap();
    let mut middle = vec![0; 1000];
    file.seek(SeekFrom::Start(2 * MIB as u64 - 500)).unwrap();
    file.read_exact(&mut middle).unwrap();
    assert_eq!(middle, large[2 * MIB - 500..][..1000]);
    drop(file);
    assert!(fs::read(mounted.at("large")).unwrap() == large);
    mounted.end();
}

#[test]
fn a_missing_key_is_missing_and_appears_when_it_is_there() {
    let Some(mounted) = Mounted::new(&["--negative-ttl", "0s"]) else { return };
    assert_eq!(kind(fs::metadata(mounted.at("later"))), ErrorKind::NotFound);
    assert!(fs::read(mounted.at("welcome.txt")).is_ok());
    assert_eq!(kind(fs::read(mounted.at("later"))), ErrorKind::NotFound);
    mounted.world.put("a/later", "it came");
    assert_eq!(fs::read(mounted.at("later")).unwrap(), b"it came");
    mounted.end();
}

#[test]
fn reading_a_directory_is_denied() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    for path in ["", "../SampleBucketB/inbox"] {
        let read = fs::read_dir(mounted.at(path)).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        assert_eq!(kind(read), ErrorKind::PermissionDenied, "{path}");
    }
    let top = fs::read_dir(mounted.home.mount_point()).unwrap();
    assert_eq!(top.count(), demo::BUCKETS.len());
    mounted.end();
}

#[test]
fn a_directory_is_seen_by_its_marker_or_if_it_is_declared() {
    let Some(mounted) = Mounted::new(&["--directories", "reports/2024"]) else { return };
    mounted.world.put("a/marked/", "");
    mounted.world.put("a/marked/f", "f");
    assert!(fs::metadata(mounted.at("marked")).unwrap().is_dir());
    assert_eq!(fs::read(mounted.at("marked/f")).unwrap(), b"f");
    assert!(fs::metadata(mounted.at("reports")).unwrap().is_dir());
    assert!(fs::read(mounted.at("reports/2024/summary.csv")).is_ok());
    assert_eq!(kind(fs::metadata(mounted.at("reports/2025"))), ErrorKind::NotFound);
    mounted.end();
}

#[test]
fn exclusive_creation_is_exact() {
    let Some(mounted) = Mounted::new(&["--negative-ttl", "1h"]) else { return };
    File::create_new(mounted.at("mine")).unwrap().write_all(b"mine").unwrap();
    assert_eq!(mounted.stored("mine").unwrap(), "mine");
    assert_eq!(kind(File::create_new(mounted.at("mine"))), ErrorKind::AlreadyExists);
    // What appears unseen is told at the close, and stays.
    assert_eq!(kind(fs::metadata(mounted.at("theirs"))), ErrorKind::NotFound);
    mounted.world.put("a/theirs", "theirs");
    let mut file = File::create_new(mounted.at("theirs")).unwrap();
    let written = file.write_all(b"mine").and_then(|()| file.sync_all());
    assert_eq!(kind(written), ErrorKind::AlreadyExists);
    drop(file);
    assert_eq!(mounted.stored("theirs").unwrap(), "theirs");
    mounted.end();
}

#[test]
fn a_file_is_replaced_and_what_was_not_seen_is_not() {
    let Some(mounted) = Mounted::new(&["--negative-ttl", "1h"]) else { return };
    fs::write(mounted.at("welcome.txt"), "replaced").unwrap();
    assert_eq!(mounted.stored("welcome.txt").unwrap(), "replaced");
    let object = mounted.world.object_at("a/welcome.txt").unwrap();
    assert_eq!((object.acl, object.owner), (CannedAcl::BucketOwnerFullControl, demo::ACCOUNT_B));
    assert_eq!(kind(fs::metadata(mounted.at("theirs"))), ErrorKind::NotFound);
    mounted.world.put("a/theirs", "theirs");
    let (succeeded, said) = mounted.shell("printf mine | dd of=theirs status=none");
    assert!(!succeeded && said.contains("File exists"), "{said}");
    assert_eq!(mounted.stored("theirs").unwrap(), "theirs");
    mounted.end();
}

#[test]
fn an_edit_of_a_version_that_somebody_replaced_is_refused() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    let mut file = OpenOptions::new().write(true).open(mounted.at("welcome.txt")).unwrap();
    mounted.world.put("a/welcome.txt", "theirs, newer");
    file.write_all(b"mine").unwrap();
    assert_eq!(kind(file.sync_all()), ErrorKind::StaleNetworkFileHandle);
    assert_eq!(mounted.stored("welcome.txt").unwrap(), "theirs, newer");
    drop(file);
    mounted.end();
}

#[test]
fn files_are_extended_cut_and_edited_in_the_middle() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    let large = pattern(5, 20 * MIB);
    mounted.world.put("a/large", large.clone());
    OpenOptions::new().append(true).open(mounted.at("large")).unwrap().write_all(b"tail").unwrap();
    let mut expected = [large, b"tail".to_vec()].concat();
    assert!(mounted.world.stored("a/large").unwrap() == expected);
    let mut file = OpenOptions::new().write(true).open(mounted.at("large")).unwrap();
    file.seek(SeekFrom::Start(10 * MIB as u64)).unwrap();
    file.write_all(b"middle").unwrap();
    drop(file);
    expected[10 * MIB..10 * MIB + 6].copy_from_slice(b"middle");
    assert!(mounted.world.stored("a/large").unwrap() == expected);
    OpenOptions::new().write(true).open(mounted.at("large")).unwrap().set_len(6 * MIB as u64).unwrap();
    assert!(mounted.world.stored("a/large").unwrap() == expected[..6 * MIB]);
    fs::write(mounted.at("welcome.txt"), "0123456789").unwrap();
    let (_, said) = mounted.shell("printf ab >> welcome.txt; truncate -s 11 welcome.txt; cat welcome.txt");
    assert_eq!(
        (said.as_str(), mounted.stored("welcome.txt").as_deref()),
        ("0123456789a", Some("0123456789a"))
    );
    mounted.end();
}

#[test]
fn a_directory_is_made_by_its_marker() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    fs::create_dir_all(mounted.at("d/e")).unwrap();
    fs::write(mounted.at("d/e/f"), "f").unwrap();
    assert!(["d/", "d/e/", "d/e/f"].iter().all(|key| mounted.keys().contains(&(*key).to_owned())));
    assert_eq!(kind(fs::create_dir(mounted.at("d"))), ErrorKind::AlreadyExists);
    mounted.world.put("a/unseen/", "");
    assert_eq!(kind(fs::create_dir(mounted.at("unseen"))), ErrorKind::AlreadyExists);
    mounted.end();
}

#[test]
fn nothing_is_removed_or_renamed_and_nothing_happens_on_the_way() {
    let Some(mounted) = Mounted::new(&["--directories", "reports/2024"]) else { return };
    fs::create_dir(mounted.at("made")).unwrap();
    let before = mounted.keys();
    let denied = ErrorKind::PermissionDenied;
    assert_eq!(kind(fs::remove_file(mounted.at("welcome.txt"))), denied);
    for directory in ["made", "reports/2024", "reports"] {
        assert_eq!(kind(fs::remove_dir(mounted.at(directory))), denied, "{directory}");
        assert_eq!(kind(fs::rename(mounted.at(directory), mounted.at("moved"))), denied, "{directory}");
    }
    assert_eq!(kind(fs::remove_file(mounted.at("reports/2024/summary.csv"))), denied);
    assert_eq!(kind(fs::rename(mounted.at("welcome.txt"), mounted.at("moved"))), denied);
    assert_eq!(kind(fs::rename(mounted.at("welcome.txt"), mounted.at("reports/2024/summary.csv"))), denied);
    assert_eq!((mounted.keys(), mounted.world.count("CopyObject")), (before, 0));
    assert!(fs::read(mounted.at("welcome.txt")).is_ok());
    mounted.end();
}

#[test]
fn modes_and_times_are_changed() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    fs::set_permissions(mounted.at("welcome.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(mounted.at("welcome.txt")).unwrap().set_modified(time).unwrap();
    let shown = fs::metadata(mounted.at("welcome.txt")).unwrap();
    assert_eq!((shown.mode() & 0o777, shown.mtime()), (0o640, 1_000_000_000));
    let user = &mounted.world.object_at("a/welcome.txt").unwrap().attributes.metadata;
    assert_eq!(user.get("mode").map(String::as_str), Some("33184"), "{user:?}");
    mounted.end();
}

#[test]
fn large_files_go_up_in_parts_and_an_abort_that_is_denied_is_lived_with() {
    let Some(mounted) = Mounted::new(&["--negative-ttl", "1h"]) else { return };
    let large = pattern(7, 20 * MIB);
    fs::write(mounted.at("large"), &large).unwrap();
    assert!(mounted.world.stored("a/large").unwrap() == large);
    assert!(mounted.world.count("CompleteMultipartUpload") > 0);
    // Given up at its end: somebody else has made that file, unseen.
    assert_eq!(kind(fs::metadata(mounted.at("given-up"))), ErrorKind::NotFound);
    mounted.world.put("a/given-up", "theirs");
    let mut file = File::create_new(mounted.at("given-up")).unwrap();
    let written = file.write_all(&large).and_then(|()| file.sync_all());
    assert_eq!(kind(written), ErrorKind::AlreadyExists);
    drop(file);
    assert_eq!(mounted.stored("given-up").unwrap(), "theirs");
    fs::write(mounted.at("after"), "works").unwrap();
    assert_eq!(mounted.stored("after").unwrap(), "works");
    mounted.end();
}

/// HeadBucket is refused, and its refusal names the region: the mount is there, and a bucket that allows nothing
/// leaves the other alone.
#[test]
fn a_forbidden_bucket_does_not_keep_the_other_from_being_mounted() {
    if !can_mount() {
        return;
    }
    let world = World::with(Rights::Minimal);
    world.set_bucket_policy(A, None);
    let mounted = Mounted { home: Home::new(), world };
    let output = mounted.home.mount_with(mounted.running(), &["--role-arn", &demo::role_arn()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let other = mounted.home.mount_point().join(demo::BUCKETS[1]);
    fs::write(other.join("inbox/letter"), "Dear Bob").unwrap();
    assert_eq!(mounted.world.stored("b/inbox/letter").unwrap(), b"Dear Bob");
    let mut file = File::create(mounted.at("x")).unwrap();
    let written = file.write_all(b"x").and_then(|()| file.sync_all());
    assert_eq!(kind(written), ErrorKind::PermissionDenied);
    drop(file);
    let place = mounted.status()["missing"][0]["place"].as_str().unwrap().to_owned();
    assert!(place.contains("nothing was allowed here yet, so look into the policy of the bucket"), "{place}");
    mounted.end();
}

#[test]
fn status_and_log_name_the_missing_statements_and_a_policy_that_is_widened_is_followed() {
    let Some(mounted) = Mounted::new(&["--negative-ttl", "0s", "--metadata-ttl", "0s"]) else { return };
    let (list, delete) =
        ("s3:ListBucket on arn:aws:s3:::SampleBucketA:", "s3:DeleteObject on arn:aws:s3:::SampleBucketA/*:");
    assert_eq!(mounted.status()["listing"]["state"], "blind");
    for _ in 0..3 {
        assert!(!mounted.shell("ls").0);
        assert!(!mounted.shell("rm welcome.txt").0);
    }
    let log = mounted.log();
    for right in [list, delete] {
        assert_eq!(log.matches(&format!("missing: {right}")).count(), 1, "{log}");
    }
    assert!(
        log.contains(&format!("the policy of the role {} in account 111111111111", demo::role_arn())),
        "{log}"
    );
    let said = text(&mounted.home.s3xmount(&["status", mounted.home.mount_point().to_str().unwrap()]).stdout);
    for words in [list, delete, "cannot be listed", "s3xmount doctor"] {
        assert!(said.contains(words), "{said}");
    }

    // The statements that it prints, added to the role's policy, are what was missing.
    let missing = mounted.status()["missing"].clone();
    let statements = missing.as_array().unwrap().iter().map(|right| right["statement"].clone());
    let mut policy = demo::role_policy(Rights::Minimal);
    policy["Statement"].as_array_mut().unwrap().extend(statements);
    mounted.world.directory.set_role_policies(demo::ACCOUNT_A, demo::ROLE, &[policy]);
    assert_eq!(mounted.shell("ls"), (true, "reports\nwelcome.txt\n".to_owned()));
    assert_eq!(mounted.shell("rm welcome.txt && ls"), (true, "reports\n".to_owned()));
    let status = mounted.status();
    assert_eq!((&status["listing"]["state"], &status["missing"]), (&"open".into(), &serde_json::json!([])));

    mounted.world.role_may(THREE, &["reports/*"]);
    assert!(!mounted.shell("ls").0);
    assert_eq!(mounted.shell("ls reports").1, "2024\n2025\nreadme.txt\n");
    let status = mounted.status();
    assert_eq!(status["listing"], serde_json::json!({"state": "prefix", "prefixes": ["reports/"]}));
    mounted.end();
}

/// What each tool does: the script, whether it succeeds, what it says if it does not, and what is in the bucket then.
///
/// Each has a fresh file `f` of three lines.
#[test]
fn tools_work_or_fail_with_the_right_error_and_lose_nothing() {
    let Some(mounted) = Mounted::new(&[]) else { return };
    let outside = mounted.home.path();
    fs::write(outside.join("new"), "new content\n").unwrap();
    fs::create_dir_all(outside.join("tree/sub")).unwrap();
    fs::write(outside.join("tree/sub/leaf"), "leaf\n").unwrap();
    const OLD: &str = "one\ntwo\nthree\n";
    const NEW: &str = "new content\n";
    let denied = "Permission denied";
    let rows: &[(&str, Option<&str>, &str, &str)] = &[
        ("cat f", None, "f", OLD),
        ("echo four >> f", None, "f", "one\ntwo\nthree\nfour\n"),
        ("echo four > f", None, "f", "four\n"),
        ("touch f && touch new-one", None, "new-one", ""),
        ("chmod 600 f", None, "f", OLD),
        ("mkdir made && echo x > made/g", None, "made/g", "x\n"),
        ("truncate -s 4 f", None, "f", "one\n"),
        ("printf ONE | dd of=f conv=notrunc status=none", None, "f", "ONE\ntwo\nthree\n"),
        ("cp $OUTSIDE/new f", None, "f", NEW),
        ("cp -p $OUTSIDE/new f", None, "f", NEW),
        ("cp f copy", None, "copy", OLD),
        ("cp -r $OUTSIDE/tree .", None, "tree/sub/leaf", "leaf\n"),
        ("install -m 600 $OUTSIDE/new installed", None, "installed", NEW),
        ("cat $OUTSIDE/new | tee f", None, "f", NEW),
        ("tar c -C $OUTSIDE tree | (mkdir t; tar x -C t)", None, "t/tree/sub/leaf", "leaf\n"),
        ("tar c -C $OUTSIDE new | tar x --overwrite", None, "new", NEW),
        ("python3 -c \"open('made-by-python', 'x').write('x')\"", None, "made-by-python", "x"),
        ("python3 -c \"open('f', 'x')\"", Some("File exists"), "f", OLD),
        ("python3 -c \"open('f', 'r+').write('ONE')\"", None, "f", "ONE\ntwo\nthree\n"),
        ("rsync --inplace $OUTSIDE/new f", None, "f", NEW),
        ("rsync -a --inplace $OUTSIDE/new f", None, "f", NEW),
        ("rsync -a --inplace $OUTSIDE/tree/ by-rsync/", None, "by-rsync/sub/leaf", "leaf\n"),
        ("rsync --append $OUTSIDE/new appended", None, "appended", NEW),
        // No swap file beside it, and either no backup or one by copying.
        (
            "vim -u NONE -n -es -c 'set nobackup nowritebackup' -c '%s/two/2/' -c wq f",
            None,
            "f",
            "one\n2\nthree\n",
        ),
        ("vim -n -es -c '%s/two/2/' -c wq f", None, "f", "one\n2\nthree\n"),
        ("vim -n -es -c 'set backupcopy=yes' -c '%s/two/2/' -c wq f", None, "f", "one\n2\nthree\n"),
        // With one it makes `.f.swp`, cannot remove it again, and takes it for that of another editor.
        ("vim -es -c '%s/two/2/' -c wq f", Some(""), "f", OLD),
        ("cp $OUTSIDE/new f.txt; tar c f.txt | tar x", Some("File exists"), "f.txt", NEW),
        ("rsync -a --inplace --delete $OUTSIDE/tree/ by-rsync/", Some(denied), "by-rsync/sub/leaf", "leaf\n"),
        ("set -C; echo x > f", Some("cannot create f: File exists"), "f", OLD),
        ("chown 0:0 f && ln -s f linked && touch -d 2001-02-03 f", None, "f", OLD),
        ("mv f $OUTSIDE/moved-out", Some(denied), "f", OLD),
        ("cp -r . $OUTSIDE/copied-out", Some(denied), "f", OLD),
        ("cat *", Some("No such file"), "f", OLD),
        ("rm f", Some(denied), "f", OLD),
        ("rm -f f", Some(denied), "f", OLD),
        ("mv f moved", Some(denied), "f", OLD),
        (
            "mv $OUTSIDE/tree/sub/leaf moved-in && test ! -e $OUTSIDE/tree/sub/leaf",
            None,
            "moved-in",
            "leaf\n",
        ),
        ("ln -s f link && cat link", None, "f", OLD),
        ("ln f hard", Some("Operation not permitted"), "f", OLD),
        ("sed -i s/two/2/ f", Some(denied), "f", OLD),
        ("perl -pi -e s/two/2/ f", Some(denied), "f", OLD),
        ("rsync $OUTSIDE/new f", Some(denied), "f", OLD),
        ("rmdir by-rsync", Some(denied), "by-rsync/sub/leaf", "leaf\n"),
        (
            "sqlite3 db 'pragma journal_mode = truncate; create table t(a); insert into t values(7)' && \
             sqlite3 db 'pragma journal_mode = persist; insert into t values(8)' && sqlite3 db 'select sum(a) from t' > sum",
            None,
            "sum",
            "15\n",
        ),
        // It removes its journal at the end of each transaction.
        ("sqlite3 db2 'create table t(a)'", Some("disk I/O error"), "f", OLD),
        ("gzip -k f && gunzip -c f.gz > back", None, "back", OLD),
        ("cp f removed-by-gzip && gzip removed-by-gzip", Some(denied), "removed-by-gzip", OLD),
        ("zip -q -b $OUTSIDE z.zip f && unzip -p z.zip > back2", None, "back2", OLD),
        ("zip -q z2.zip f", Some(denied), "f", OLD),
        (
            "printf '%s\\n' '--- f' '+++ f' '@@ -1,3 +1,3 @@' -one +ONE ' two' ' three' | patch f",
            Some(denied),
            "f",
            OLD,
        ),
        ("git init -q repository", Some(denied), "f", OLD),
        ("printf 'x:\\n\\techo > x\\n' > Makefile; make", Some(denied), "f", OLD),
        ("ls", Some(denied), "f", OLD),
        ("find .", Some(denied), "f", OLD),
    ];
    let mut wrong = Vec::new();
    for (script, refusal, key, content) in rows {
        fs::write(outside.join("tree/sub/leaf"), "leaf\n").unwrap();
        fs::write(mounted.at("f"), OLD).unwrap();
        let (succeeded, said) = mounted.shell(script);
        let is_right = match refusal {
            None => succeeded,
            Some(refusal) => !succeeded && said.contains(refusal),
        };
        if !is_right || mounted.stored(key).as_deref() != Some(*content) {
            wrong.push(format!("{script}: {succeeded}, {:?}\n{said}", mounted.stored(key)));
        }
    }
    assert!(wrong.is_empty(), "{}\nkeys: {:#?}", wrong.join("\n"), mounted.keys());
    mounted.end();
}
