//! Real tools on a real mount: each does its work in a local directory and in a bucket, and both must come to the same.
//!
//! A row is a script. What it prints, the tree it leaves (names, kinds, modes, targets of links, bytes) and its exit code are
//! compared with those of a directory on the local disk, and each file's bytes with the object in S3, which has to be
//! there when the script's last process has ended: nothing is waited for.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use s3xmount::emulator::demo::{self, Rights};

use crate::support::World;
use crate::support::real::{Home, can_mount, text, umount};

/// One tool at work.
struct Row {
    tool: &'static str,
    script: &'static str,
    /// Names whose bytes differ from run to run, also on a disk.
    apart: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        tool: "vim",
        script: "printf 'one\\ntwo\\n' > f; chmod 640 f
            vim -u NONE -n -es -c '%s/two/2/' -c wq f
            vim -u NONE -es -c 'set backup writebackup' -c '%s/one/1/' -c wq f
            vim -u NONE -es -c 'set backupcopy=yes' -c '%s/1/first/' -c wq f
            cat f; ls -A",
        apart: &[],
    },
    Row {
        tool: "sed and perl in place",
        script: "printf 'one\\ntwo\\n' > f; chmod 600 f; sed -i s/two/2/ f; sed -i.bak s/one/1/ f
            perl -pi -e 's/2/zwei/' f; cat f; ls -A; stat -c %a f",
        apart: &[],
    },
    Row {
        tool: "rsync",
        script: "rsync -a $TREE/ copy; rsync -a -i $TREE/ copy; cp -a $TREE changed; echo more >> changed/write/mod.rs
            touch -d '2020-01-01' changed/write/mod.rs
            rsync -a -i changed/ copy | sed 's/ .*//' | sort -u; rsync -a --inplace $TREE/ copy; rsync -a -i $TREE/ copy
            head -c 3000000 $TREE/large > part; rsync --append $TREE/large part; cmp part $TREE/large
            rsync -a --delete --exclude=fs $TREE/ copy; rm -r changed",
        apart: &[],
    },
    Row {
        tool: "tar",
        script: "mkdir out; tar c -C $TREE . | tar x -C out; tar cf a.tar -C $TREE lib.rs main.rs
            tar rf a.tar -C $TREE sys.rs; tar tf a.tar; tar czf b.tgz -C $TREE write; tar tzf b.tgz | wc -l
            mkdir z; tar xzf b.tgz -C z; tar df a.tar -C $TREE; rm b.tgz",
        apart: &[],
    },
    Row {
        tool: "zip and unzip",
        script: "(cd $TREE; zip -qr - fs link) > a.zip; unzip -q a.zip; unzip -tq a.zip; cp $TREE/lib.rs .
            zip -q a.zip lib.rs; zip -qd a.zip fs/mod.rs; unzip -l a.zip | wc -l",
        apart: &["a.zip"],
    },
    Row {
        tool: "git",
        script: "export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
            git init -q -b main up; cp -r $TREE/write $TREE/lib.rs up; cd up; git add .; git commit -qm one
            echo >> lib.rs; git commit -qam two; git rev-parse HEAD; cd ..; git clone -q up down; cd down
            git mv lib.rs library.rs; rm write/mod.rs; git commit -qam three; git status --short
            git checkout -q -b side HEAD~1; echo side > side; git add side; git commit -qm side; git checkout -q main
            git merge -q side -m merged; git stash -q 2>&1; git gc -q --prune=now; git repack -qad; git fsck --strict
            git push -q origin HEAD:refs/heads/back; git log --format='%H %s'; cd ../up; git log --format=%H back | wc -l
            git status --short; git worktree add -q ../tree back; ls ../tree",
        apart: &[".git"],
    },
    Row {
        tool: "sqlite with a rollback journal",
        script: "sqlite3 db 'create table t(a integer primary key, b text)'
            for i in 1 2 3 4 5; do sqlite3 db \"insert into t(b) values (hex(zeroblob(1000)) || $i)\"; done
            sqlite3 db 'begin; delete from t where a > 3; rollback; update t set b = upper(b) where a < 3'
            sqlite3 db 'pragma integrity_check; select a, length(b) from t; vacuum'; sqlite3 db .dump | cksum; ls -A
            sqlite3 db 'pragma journal_mode=truncate; delete from t where a = 1; select count(*) from t'; ls -A",
        apart: &[],
    },
    Row {
        tool: "sqlite with a write-ahead log",
        script: "sqlite3 db 'pragma journal_mode=wal; create table t(a, b)'
            (for i in 1 2 3 4 5 6 7 8; do sqlite3 -cmd '.timeout 20000' db \"insert into t values ($i, 'x')\"; done) &
            (for i in 1 2 3 4 5 6 7 8; do sqlite3 -cmd '.timeout 20000' db \"insert into t values (10 + $i, 'y')\"; done)
            wait; sqlite3 db 'pragma integrity_check; select sum(a), count(*) from t'; ls -A
            sqlite3 db 'pragma wal_checkpoint(truncate); pragma journal_mode=delete'; sqlite3 db 'select count(*) from t'; ls -A",
        apart: &["db"],
    },
    Row {
        tool: "cp, install and dd",
        script: "cp --sparse=always $TREE/holes .; cp --sparse=never holes solid; cmp holes solid; cp -p $TREE/main.rs .
            stat -c %y main.rs; install -m 750 $TREE/tool installed; install -D $TREE/tool deep/er/tool
            cp --reflink=auto solid again; cp -a $TREE/fs .; cp -u $TREE/main.rs .; printf 0123456789 > d
            printf xy | dd of=d bs=1 seek=4 conv=notrunc status=none; printf z | dd of=d oflag=append conv=notrunc status=none
            dd if=/dev/zero of=d bs=1 seek=20 count=0 status=none; dd if=$TREE/large of=synced bs=300k conv=fsync status=none
            dd if=$TREE/large of=direct bs=64k iflag=fullblock conv=fdatasync status=none; cmp direct synced; rm direct
            od -c d",
        apart: &[],
    },
    Row {
        tool: "shell and its friends",
        script: "for i in 1 2 3; do echo $i >> log; done; (echo a; echo b) | tee -a log > /dev/null; sort -r -o log log; cat log
            exec 3>>log; echo x >&3; mv log log.1; echo y >&3; exec 3>&-; cat log.1; : > empty; truncate -s 5 grown
            truncate -s 2 log.1; split -b 100000 $TREE/large part.; cat part.* | cmp - $TREE/large; rm part.*
            cp $TREE/lib.rs .; gzip lib.rs; gunzip -k lib.rs.gz; cmp lib.rs $TREE/lib.rs; rm lib.rs.gz
            mkdir -p m/n/o; mv m/n moved; ln -s moved/o l; readlink l; mv -n log.1 empty; ls -A; find . -type d | sort
            printf 'a\\n' > p; printf -- '--- p\\n+++ p\\n@@ -1 +1 @@\\n-a\\n+b\\n' > d; patch -s p d; cat p
            flock lock -c 'echo locked'; f=$(mktemp ./tmp.XXXXXX); echo t > $f; mv $f kept; cat kept; find m -delete
            mkdir -m 711 private; stat -c %a private; set -C; (echo no > kept) 2>/dev/null || echo refused",
        apart: &[],
    },
    Row {
        tool: "fio that verifies",
        script: "check() { fio --verify=crc32c --verify_fatal=1 --output=report --name=$1 $2 || cat report; }
            check random '--rw=randwrite --bs=4k --size=6M'
            check mixed '--rw=randrw --bsrange=512-64k --blockalign=512 --size=4M --numjobs=3'
            check sequential '--rw=write --bs=300k --size=36000k --end_fsync=1'
            check overwritten '--rw=randwrite --bs=64k --size=24M --overwrite=1 --fsync=32 --random_generator=lfsr'
            rm report; ls; rm random* mixed* sequential* overwritten*",
        apart: &[],
    },
    // Of its class "filesystem" what is quick; not link, which asks for hard links, nor what is about other file systems.
    Row {
        tool: "stress-ng that verifies",
        script: "for s in access chown copy-file dentry dup fallocate flock fsize getdent hdd iomix lease lockf mknod open rename \
                seek sync-file touch utime xattr; do
                stress-ng --temp-path . --$s 1 --$s-ops 10 --timeout 1 --verify --quiet > said 2>&1 || { echo $s; cat said; }
            done; rm said; ls -A",
        apart: &[],
    },
    // By time, as they know no other measure; a second of them is some hundred files.
    Row {
        tool: "dbench and fs_mark",
        script: "mkdir d m; dbench -D d -t 5 -c /usr/share/dbench/client.txt 3 > said 2>&1 || cat said
            fs_mark -d m -n 150 -s 20000 -t 2 -D 3 -k -S 1 > said 2>&1 || cat said; find m -type f -size 20000c | wc -l
            rm -r said d m fs_log.txt; ls -A",
        apart: &[],
    },
    // The length of what it wrote is put into a header that has gone to S3 already; then the index is moved to the front.
    Row {
        tool: "ffmpeg",
        script: "exact='-fflags +bitexact -flags:v +bitexact -flags:a +bitexact -threads 1 -y'
            ffmpeg -v error -f lavfi -i testsrc2=size=1024x576:rate=25:duration=10 -f lavfi -i sine=duration=10 \
                -c:v mpeg4 -q:v 1 -c:a aac $exact a.mp4
            ffmpeg -v error -i a.mp4 -c copy -movflags +faststart $exact b.mp4; ffmpeg -v error -i b.mp4 -c copy $exact c.mkv
            ffmpeg -v error -i c.mkv -vn -c:a pcm_s16le $exact d.wav; cksum *
            ffprobe -v error -show_entries format=duration,nb_streams,size -of csv=p=0 b.mp4",
        apart: &[],
    },
    Row {
        tool: "make",
        script: "printf '#define N 1\\n' > n.h; printf '#include \"n.h\"\\nint f(void) { return N; }\\n' > f.c
            printf '#include <stdio.h>\\nint f(void);\\nint main(void) { printf(\"%%d\\\\n\", f()); return 0; }\\n' > m.c
            printf 'all: prog\\nprog: f.o m.o lib.a\\n\\tcc -o $@ f.o m.o\\nf.o: n.h\\nlib.a: f.o\\n\\tar rcs $@ f.o\\n' > Makefile
            make -s; ./prog; make -q && echo up to date; sleep 0.01; printf '#define N 2\\n' > n.h; make -q || echo out of date
            make -s; ./prog; make -q && echo up to date; touch m.c; make -q || echo out of date; make -s; make -q; ls",
        apart: &["prog", "lib.a", "f.o", "m.o"],
    },
    Row {
        tool: "Python's library",
        script: "python3 -c '
import mmap, os, shutil, sqlite3, tempfile, wave, zipfile
with wave.open(\"sound.wav\", \"wb\") as sound:
    sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
    for part in range(50): sound.writeframes(bytes(range(200)) * 10)
with wave.open(\"sound.wav\") as sound: print(sound.getnframes())
for mode, names in ((\"w\", \"ab\"), (\"a\", \"cd\")):
    with zipfile.ZipFile(\"z.zip\", mode, zipfile.ZIP_DEFLATED) as z:
        for name in names: z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), name * 5000)
print(zipfile.ZipFile(\"z.zip\").testzip(), zipfile.ZipFile(\"z.zip\").namelist())
shutil.copytree(os.environ[\"TREE\"], \"tree\", symlinks=True)
shutil.move(\"tree/fs\", \"tree/moved\"), shutil.rmtree(\"tree/s3\"), shutil.make_archive(\"packed\", \"tar\", \"tree\", \"write\")
with open(\"mapped\", \"w+b\") as f:
    f.truncate(1 << 20)
    with mmap.mmap(f.fileno(), 0) as m:
        m[5000:5005] = b\"hello\"; m[-3:] = b\"end\"; m.flush(); m[0:2] = b\"hi\"
with open(\"mapped\", \"rb\") as f: print(f.read(2), f.seek(5000), f.read(5), f.seek(-3, 2), f.read())
with open(\"both\", \"w+\") as f: f.write(\"abc\"), f.flush(), f.seek(0), print(f.read()), f.write(\"def\"), f.truncate(4)
with tempfile.NamedTemporaryFile(\"w\", dir=\".\", delete=False) as f: f.write(\"atomic\")
os.replace(f.name, \"replaced\"), os.chmod(\"replaced\", 0o604), print(open(\"replaced\").read())
with tempfile.TemporaryFile(dir=\".\") as f: f.write(b\"x\" * 9000), f.seek(4000), print(len(f.read()))
db = sqlite3.connect(\"py.db\"); db.execute(\"create table t(x)\"), db.executemany(\"insert into t values(?)\", [(i,) for i in range(999)])
db.commit(), print(db.execute(\"select sum(x) from t\").fetchone()), db.close()
fd = os.open(\"excl\", os.O_CREAT | os.O_EXCL | os.O_WRONLY); os.write(fd, b\"1\"), os.close(fd)
try: os.open(\"excl\", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
except FileExistsError: print(\"exists\")
a, b = os.open(\"app\", os.O_CREAT | os.O_APPEND | os.O_WRONLY), os.open(\"app\", os.O_APPEND | os.O_WRONLY)
for i in range(20): os.write(a, b\"a\"), os.write(b, b\"b\")
os.close(a), os.close(b), print(open(\"app\").read())
'; ls -A",
        apart: &["packed.tar", "py.db"],
    },
    Row {
        tool: "h5py and pandas",
        script: "$DATA_PYTHON -c '
import h5py, numpy, pandas
with h5py.File(\"a.h5\", \"w\") as f:
    f.create_dataset(\"x\", data=numpy.arange(300000), chunks=True, compression=\"gzip\"); f.attrs[\"name\"] = \"first\"
with h5py.File(\"a.h5\", \"a\") as f:
    f[\"x\"][1000:2000] = 7; f.create_dataset(\"y\", data=numpy.ones((100, 100))); del f.attrs[\"name\"]
with h5py.File(\"a.h5\") as f: print(int(f[\"x\"][:].sum()), f[\"y\"].shape, list(f.attrs))
table = pandas.DataFrame({\"n\": numpy.arange(200000), \"s\": [str(i % 97) for i in range(200000)]})
table.to_parquet(\"t.parquet\"), table.to_csv(\"t.csv\", index=False), table.head(9).to_json(\"t.json\")
table.head(500).to_parquet(\"parts\", partition_cols=[\"s\"])
print(pandas.read_parquet(\"t.parquet\").equals(table), pandas.read_csv(\"t.csv\", dtype={\"s\": str}).equals(table))
print(len(pandas.read_parquet(\"parts\")))
'; ls",
        apart: &["a.h5", "parts"],
    },
];

fn row(tool: &str) -> &'static Row {
    ROWS.iter().find(|row| row.tool == tool).unwrap()
}

macro_rules! rows {
    ($($name:ident: $tool:literal,)*) => {
        $(#[test]
        fn $name() {
            works_as_on_a_disk(row($tool));
        })*

        #[test]
        fn each_row_is_a_test() {
            let tested = [$($tool),*];
            assert!(ROWS.iter().all(|row| tested.contains(&row.tool)));
        }
    };
}

rows! {
    vim: "vim",
    sed_and_perl: "sed and perl in place",
    rsync: "rsync",
    tar: "tar",
    zip_and_unzip: "zip and unzip",
    git: "git",
    sqlite_with_a_rollback_journal: "sqlite with a rollback journal",
    sqlite_with_a_write_ahead_log: "sqlite with a write-ahead log",
    cp_install_and_dd: "cp, install and dd",
    shell_and_its_friends: "shell and its friends",
    fio: "fio that verifies",
    stress_ng: "stress-ng that verifies",
    dbench_and_fs_mark: "dbench and fs_mark",
    ffmpeg: "ffmpeg",
    make: "make",
    pythons_library: "Python's library",
    h5py_and_pandas: "h5py and pandas",
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn works_as_on_a_disk(row: &Row) {
    if !can_mount() {
        return;
    }
    let data_python =
        std::env::var_os("S3XMOUNT_TEST_DATA_VENV").map(|venv| PathBuf::from(venv).join("bin/python"));
    if row.script.contains("$DATA_PYTHON") && data_python.is_none() {
        eprintln!(
            "skipped: S3XMOUNT_TEST_DATA_VENV does not name a Python environment; scripts/test makes one"
        );
        return;
    }
    let (home, world) = (Home::new(), World::with(Rights::Full));
    let output = home.mount(world.running(), &demo::role_arn());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    plant_tree(&home.path());
    let (local, mounted) =
        (home.path().join("local"), home.mount_point().join(demo::BUCKETS[0]).join("work"));
    let run = |at: &Path| {
        fs::create_dir(at).unwrap();
        let output = Command::new("sh")
            .args(["-uc", &format!("exec 2>&1; {}", row.script)])
            .current_dir(at)
            .env("TREE", home.path().join("tree"))
            .env("HOME", home.path())
            .env("DATA_PYTHON", data_python.as_deref().unwrap_or_else(|| Path::new("")))
            .env("LC_ALL", "C.UTF-8")
            .envs(NAMES.iter().map(|name| (*name, "somebody")))
            .output()
            .unwrap();
        (text(&output.stdout), output.status.code())
    };
    let expected = run(&local);
    assert_eq!(run(&mounted), expected, "{}: what it said", row.tool);
    // Nothing is closed twice: what is in S3 now is what the tools were told is there.
    let local_tree = tree(&local, row);
    let mounted_tree = tree(&mounted, row);
    assert_eq!(mounted_tree, local_tree, "{}: what it left", row.tool);
    let expected_keys: Vec<String> = files_below(&mounted, &[])
        .into_iter()
        .filter(|path| mounted.join(path).symlink_metadata().unwrap().is_file())
        .collect();
    for path in &expected_keys {
        let stored = world.stored(&format!("a/work/{path}"));
        let shown = fs::read(mounted.join(path)).unwrap();
        assert!(stored.as_ref() == Some(&shown), "{}: {path} is in S3 as it is shown", row.tool);
    }
    assert!(umount(&home.mount_point(), &[]));
    assert!(world.uploads(demo::BUCKETS[0]).is_empty(), "{}: no upload is left", row.tool);
}

/// The sources of this crate, and one of each thing that they lack.
fn plant_tree(home: &Path) {
    let script = "cp -r \"$0\" tree && cd tree && mkdir -p empty/directory && : > empty/file && ln -s write/mod.rs link && \
        printf '#!/bin/sh\\n' > tool && chmod 755 tool && chmod 640 lib.rs && \
        touch -d '2001-02-03 04:05:06.789' main.rs && printf x > 'name with spaces and \u{e4}\u{20ac}' && \
        head -c 11000000 /dev/urandom > large && truncate -s 3000000 holes && printf x | dd of=holes bs=1 seek=1500000 \
        conv=notrunc status=none";
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let planted = Command::new("sh").args(["-euc", script, sources]).current_dir(home).status().unwrap();
    assert!(planted.success());
}

/// All there is in a directory, in one line each: its name, kind, mode, target and bytes.
fn tree(at: &Path, row: &Row) -> Vec<String> {
    let output =
        Command::new("find").args([".", "-printf", "%P %y %m %l\\n"]).current_dir(at).output().unwrap();
    assert!(output.status.success());
    let is_apart = |line: &&str| {
        let path = line.split(' ').next().unwrap_or_default();
        !path.split('/').any(|name| row.apart.contains(&name))
    };
    let mut lines: Vec<String> = text(&output.stdout).lines().filter(is_apart).map(str::to_owned).collect();
    for path in files_below(at, row.apart) {
        let full = at.join(&path);
        if full.symlink_metadata().unwrap().is_file() {
            let bytes = fs::read(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()));
            lines.push(format!("{path}: {:x}", sum(&bytes)));
        }
    }
    lines.sort();
    lines
}

fn files_below(at: &Path, apart: &[&str]) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![at.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if apart.iter().any(|name| entry.file_name() == **name) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path().strip_prefix(at).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    files.sort();
    files
}

/// FNV-1a; what differs is found by looking.
fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Who does it, for git.
const NAMES: [&str; 4] = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
