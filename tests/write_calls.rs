//! Every way in which a program may write, in a real mount: each story is told to a local disk too, and has to end
//! alike.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{CannedAcl, RunningEmulator, demo};
use s3xmount::error::Kind;
use s3xmount::fs::Extent;
use s3xmount::sys;

use crate::support::real::{Home, can_mount, python, text, until};
use crate::support::{How, World};

const A: &str = demo::BUCKETS[0];
const B: &str = demo::BUCKETS[1];
const MIB: usize = 1 << 20;

/// A mount of both buckets, and a local folder beside it.
struct Mounted {
    home: Home,
    emulator: RunningEmulator,
}

impl Mounted {
    /// `None`, after saying so, on a machine that cannot mount.
    fn new() -> Option<Self> {
        Self::with(&[])
    }

    fn with(flags: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
        let mounted = Self { home: Home::new(), emulator };
        let role = demo::role_arn();
        let output =
            mounted.home.mount_with(&mounted.emulator, &[&["--role-arn", role.as_str()], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        fs::create_dir(mounted.local()).unwrap();
        emulator_is_quiet(&mounted.emulator);
        Some(mounted)
    }

    fn local(&self) -> PathBuf {
        self.home.path().join("local")
    }

    fn bucket(&self, bucket: &str) -> PathBuf {
        self.home.mount_point().join(bucket)
    }

    fn stored(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.emulator.world().object(bucket, key).unwrap().content.to_bytes().to_vec()
    }

    fn count(&self, operation: &str) -> u64 {
        self.emulator.world().faults.count(operation)
    }

    /// Tells the same story to the local disk and to the mount, and compares how the file `f` ended.
    fn alike(&self, story: impl Fn(&Path)) {
        story(&self.local());
        story(&self.bucket(A));
        let expected = fs::read(self.local().join("f")).unwrap();
        assert!(fs::read(self.bucket(A).join("f")).unwrap() == expected, "as the kernel shows it");
        assert!(self.stored(A, "f") == expected, "as S3 has it");
    }
}

fn emulator_is_quiet(emulator: &RunningEmulator) {
    emulator.world().faults.reset_counts();
}

fn shell(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-euc", &format!("exec 2>&1; {script}")])
        .current_dir(directory)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output.stdout));
    text(&output.stdout)
}

fn pattern(fill: u8, length: usize) -> Vec<u8> {
    (0..251).map(|i| i ^ fill).cycle().take(length).collect()
}

#[test]
fn fallocate_is_what_it_is_on_a_disk() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.alike(|directory| {
        fs::write(directory.join("f"), pattern(1, 300_000)).unwrap();
        shell(directory, "fallocate -p -o 4096 -l 100000 f; fallocate -z -o 250000 -l 100000 f");
        shell(directory, "fallocate -n -o 0 -l 1000000 f; fallocate -o 300000 -l 60000 f");
        shell(directory, "fallocate -z -n -o 355000 -l 100000 f; stat -c %s f | grep -qx 360000");
    });
    let refused = shell(&mounted.bucket(A), "! fallocate -c -o 0 -l 4096 f; ! fallocate -i -o 0 -l 4096 f");
    assert_eq!(refused.matches("not supported").count(), 2, "{refused}");
}

#[test]
fn a_hole_can_be_found_until_the_file_is_in_s3() {
    let Some(mounted) = Mounted::new() else { return };
    let story = "import os\n\
        f=os.open('sparse',os.O_RDWR|os.O_CREAT|os.O_EXCL)\n\
        os.ftruncate(f,3<<20); os.pwrite(f,b'x'*4096,1<<20)\n\
        print(os.lseek(f,0,os.SEEK_DATA),os.lseek(f,1<<20,os.SEEK_HOLE))\n\
        try: print(os.lseek(f,(1<<20)+4096,os.SEEK_DATA))\n\
        except OSError as nothing: print(os.strerror(nothing.errno))";
    let mib = MIB as u64;
    let found = format!("{mib} {}\nNo such device or address\n", mib + 4096);
    assert_eq!(python(&mounted.bucket(A), story), found);
    // The kernel tells of the last close some time after it.
    until("S3 has no holes", || {
        let file = File::open(mounted.bucket(A).join("sparse")).unwrap();
        sys::next_hole(&file, 0).unwrap() == Some(3 * mib)
            && sys::next_data(&file, 3 * mib).unwrap().is_none()
    });
}

#[test]
fn cp_copies_inside_s3_also_from_one_bucket_to_another() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern(3, 20 * MIB);
    fs::write(mounted.bucket(A).join("source"), &bytes).unwrap();
    fs::write(mounted.bucket(B).join("old"), b"to be replaced by a copy").unwrap();
    emulator_is_quiet(&mounted.emulator);
    shell(
        &mounted.home.mount_point(),
        &format!("cp {A}/source {A}/copy; cp {A}/source {B}/copy; cp {A}/source {B}/old"),
    );
    for (bucket, key) in [(A, "copy"), (B, "copy"), (B, "old")] {
        assert!(mounted.stored(bucket, key) == bytes, "{key} in {bucket}");
        let object = mounted.emulator.world().object(bucket, key).unwrap();
        assert_eq!((object.acl, object.owner), (CannedAcl::BucketOwnerFullControl, demo::ACCOUNT_B), "{key}");
        assert!(fs::read(mounted.bucket(bucket).join(key)).unwrap() == bytes);
    }
    assert_eq!(
        (mounted.count("CopyObject"), mounted.count("PutObject"), mounted.count("UploadPart")),
        (3, 0, 0)
    );
}

#[test]
fn what_cannot_be_copied_inside_s3_is_copied_all_the_same() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern(4, 3 * MIB);
    mounted.alike(|directory| {
        // A part of a file, to the middle of another.
        fs::write(directory.join("source"), &bytes).unwrap();
        fs::write(directory.join("f"), pattern(5, MIB)).unwrap();
        let script = "import os; s=os.open('source',os.O_RDONLY); f=os.open('f',os.O_WRONLY); left=1000000\n\
            while left: left-=os.copy_file_range(s,f,left,1000000-left+77,1000000-left+500000)";
        python(directory, script);
    });
    // And a file that is being written at this moment.
    let (source, target) = (mounted.bucket(A).join("source"), mounted.bucket(A).join("f"));
    let mut writing = OpenOptions::new().append(true).open(&source).unwrap();
    writing.write_all(b"and more").unwrap();
    fs::copy(&source, &target).unwrap();
    assert!(mounted.stored(A, "f") == [&bytes[..], b"and more"].concat());
}

#[test]
fn several_writers_and_readers_share_one_file() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.alike(|directory| {
        let path = directory.join("f");
        let one = File::create(&path).unwrap();
        let other = OpenOptions::new().write(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        let mut appending: Vec<_> =
            (0..3).map(|_| OpenOptions::new().append(true).open(&path).unwrap()).collect();
        for round in 0_u8..20 {
            one.write_all_at(&[b'a' + round; 10], u64::from(round) * 8).unwrap();
            other.write_all_at(&[b'A' + round; 4], u64::from(round) * 8 + 2).unwrap();
            appending[usize::from(round) % 3].write_all(&[b'0' + round % 10; 7]).unwrap();
            let mut seen = [0; 10];
            reader.read_exact_at(&mut seen, u64::from(round) * 8).unwrap();
            assert_eq!(seen[2..6], [b'A' + round; 4], "round {round}");
        }
        one.set_len(150).unwrap();
        other.set_len(400).unwrap();
        appending[0].write_all(b"the end").unwrap();
        drop(one);
        File::options().write(true).open(&path).unwrap().set_len(402).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 402);
    });
}

#[test]
fn a_child_that_gives_up_its_copy_of_a_descriptor_commits() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = File::create(mounted.bucket(A).join("f")).unwrap();
    file.write_all(b"until then").unwrap();
    shell(&mounted.home.path(), "true");
    assert_eq!(text(&mounted.stored(A, "f")), "until then");
    file.write_all(b" and after").unwrap();
    drop(file);
    assert_eq!(text(&mounted.stored(A, "f")), "until then and after");
}

/// The kernel closes the files of whoever dies.
#[test]
fn what_was_written_by_whoever_is_killed_is_there_as_on_a_disk() {
    let Some(mounted) = Mounted::new() else { return };
    let killed_writing = |path: &Path| {
        let mut tee =
            Command::new("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tee.stdin.as_mut().unwrap().write_all(b"half of it").unwrap();
        while fs::metadata(path).map_or(0, |file| file.len()) < 10 {
            std::thread::yield_now();
        }
        tee.kill().unwrap();
        tee.wait().unwrap();
    };
    killed_writing(&mounted.local().join("f"));
    assert_eq!(text(&fs::read(mounted.local().join("f")).unwrap()), "half of it");
    killed_writing(&mounted.bucket(A).join("f"));
    // Nobody waits for the commit of a dead process.
    while mounted.emulator.world().object(A, "f").is_none() {
        std::thread::yield_now();
    }
    assert_eq!(text(&mounted.stored(A, "f")), "half of it");
}

#[test]
fn what_is_appended_goes_to_the_end_that_s3_knows() {
    let Some(mounted) = Mounted::new() else { return };
    let path = mounted.bucket(A).join("log");
    mounted.emulator.world().seed(A, "log", b"short".as_slice());
    assert_eq!(fs::metadata(&path).unwrap().len(), 5);
    mounted.emulator.world().seed(A, "log", b"longer than it was".as_slice());
    // Some time passes before `open` asks again. The kernel goes on believing in five bytes.
    let asked = mounted.count("HeadObject");
    while mounted.count("HeadObject") == asked {
        drop(File::open(&path).unwrap());
    }
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    log.write_all(b" and more").unwrap();
    drop(log);
    assert_eq!(text(&mounted.stored(A, "log")), "longer than it was and more");
    assert_eq!(text(&fs::read(&path).unwrap()), "longer than it was and more");
}

#[test]
fn a_file_is_cut_and_grows_open_and_closed() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.alike(|directory| {
        let path = directory.join("f");
        fs::write(&path, pattern(6, 100_000)).unwrap();
        shell(directory, "truncate -s 50000 f; truncate -s 70000 f");
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.set_len(30_000).unwrap();
        file.set_len(90_000).unwrap();
        file.write_all_at(b"x", 80_000).unwrap();
        let emptied = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        emptied.write_all_at(b"anew", 10).unwrap();
    });
}

#[test]
fn a_shared_mapping_reaches_s3() {
    let Some(mounted) = Mounted::new() else { return };
    mounted.alike(|directory| {
        fs::write(directory.join("f"), pattern(7, 3 * 4096 + 10)).unwrap();
        let script = "import mmap,os\n\
            f=os.open('f',os.O_RDWR)\n\
            m=mmap.mmap(f,0,mmap.MAP_SHARED)\n\
            m[100:105]=b'first'; m.flush()\n\
            assert os.pread(f,5,100)==b'first'\n\
            m[8000:8006]=b'second'; os.pwrite(f,b'third',4096)\n\
            assert m[4096:4101]==b'third'\n\
            m.close(); os.close(f)";
        python(directory, script);
        // What was written through the mapping alone comes with the last release, which the kernel tells of later.
        File::open(directory.join("f")).unwrap().sync_all().unwrap();
        OpenOptions::new().append(true).open(directory.join("f")).unwrap().sync_all().unwrap();
    });
}

#[test]
fn a_file_that_streams_takes_little_room_on_the_disk() {
    let Some(mounted) = Mounted::with(&["--staging-size", "64MiB"]) else { return };
    let bytes = pattern(8, 300 * MIB);
    fs::write(mounted.local().join("f"), &bytes).unwrap();
    let (from, staging) = (mounted.local().join("f"), mounted.home.path().join("staging"));
    let story = format!(
        "import os\n\
        def taken():\n\
        \tblocks=0\n\
        \tfor folder,_,names in os.walk('{staging}'):\n\
        \t\tfor name in names:\n\
        \t\t\ttry: blocks+=os.stat(os.path.join(folder,name)).st_blocks\n\
        \t\t\texcept FileNotFoundError: pass # A record is replaced now and then.\n\
        \treturn blocks*512\n\
        most=0\n\
        with open('{from}','rb') as source, open('f','wb',0) as f:\n\
        \twhile piece:=source.read(10<<20):\n\
        \t\tassert f.write(piece)==len(piece)\n\
        \t\tmost=max(most,taken())\n\
        \tos.pwrite(f.fileno(),b'changed',100<<20)\n\
        print(most)",
        staging = staging.display(),
        from = from.display()
    );
    let most: usize = python(&mounted.bucket(A), &story).trim().parse().unwrap();
    // The limit, and what may be on its way above it.
    assert!((1..(64 + 16 * 8 + 10) << 20).contains(&most), "{most} bytes");
    let stored = mounted.stored(A, "f");
    assert!(stored.len() == bytes.len() && stored[..100 * MIB] == bytes[..100 * MIB]);
    assert!(
        stored[100 * MIB..100 * MIB + 7] == *b"changed" && stored[100 * MIB + 7..] == bytes[100 * MIB + 7..]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_for_one_call_is_still_copied_once() {
    let world = World::new();
    let mount = world.mount().await;
    let bytes = pattern(9, 10 * MIB);
    mount.write_file("a/source", &bytes).await.unwrap();
    let source = mount.open("a/source", How::Read).await.unwrap();
    let target = mount.open("b/target", How::MakeNew).await.unwrap();
    let most = Extent { length: 4 * MIB as u64, is_the_most: true };
    let less = Extent { is_the_most: false, ..most };
    assert_eq!(source.copy_to(&target, 0, less).await.unwrap_err().kind(), Kind::NotSupported);
    for (at, copied) in [(0, 4), (4, 4), (8, 2)] {
        assert_eq!(source.copy_to(&target, at * MIB as u64, most).await.unwrap(), copied * MIB as u64);
        assert_eq!(mount.stat("b/target").await.unwrap().size, (at + copied) * MIB as u64);
    }
    target.close().await.unwrap();
    assert!(mount.read_file("b/target").await.unwrap() == bytes);
    assert!(world.mount().await.read_file("b/target").await.unwrap() == bytes);
}
