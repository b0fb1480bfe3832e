//! How many requests the tools' work costs, counted at the server to the end of the mount, as some of them come later.
//! Each is a round trip that somebody waits for, and has its price.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::process::Command;

use s3xmount::emulator::demo::{self, Rights};

use crate::support::World;
use crate::support::real::{Home, can_mount, text};

/// Work with `FILES` small files, and what it may cost: per file, and beside that.
struct Row {
    what: &'static str,
    /// Done before counting begins.
    before: &'static str,
    script: &'static str,
    per_file: u64,
    beside: u64,
}

const FILES: u64 = 100;

/// The limits are what it costs. Beside the files come the directory's marker, what is asked of the names before, and
/// what a tool makes for itself.
const ROWS: &[Row] = &[
    Row { what: "cp -r", before: "", script: "cp -r $TREE copy", per_file: 1, beside: 4 },
    Row {
        what: "cp -r within the bucket",
        before: "cp -r $TREE copy",
        script: "cp -r copy again",
        per_file: 2,
        beside: 8,
    },
    Row { what: "cp -a", before: "", script: "cp -a $TREE copy", per_file: 1, beside: 6 },
    Row { what: "tar x", before: "", script: "tar c -C $TREE . | tar x", per_file: 1, beside: 6 },
    // It closes a file before it says whose it is and how old.
    Row { what: "unzip", before: "", script: "unzip -q $TREE.zip", per_file: 2, beside: 6 },
    Row {
        what: "cat of all",
        before: "cp -r $TREE copy; sleep 1",
        script: "cat copy/* | wc -c",
        per_file: 1,
        beside: 4,
    },
    Row { what: "ls -l", before: "cp -r $TREE copy", script: "ls -l copy | wc -l", per_file: 0, beside: 4 },
    Row {
        what: "an appended line each",
        before: "cp -r $TREE copy",
        script: "for f in copy/*; do echo x >> $f; done",
        per_file: 3,
        beside: 4,
    },
    Row {
        what: "sed -i",
        before: "cp -r $TREE copy",
        script: "sed -i s/a/b/ copy/*",
        per_file: 5,
        beside: 6,
    },
    Row {
        what: "mv into a directory",
        before: "cp -r $TREE copy; mkdir d",
        script: "mv copy/* d",
        per_file: 2,
        beside: 6,
    },
    Row { what: "rm -r", before: "cp -r $TREE copy", script: "rm -r copy", per_file: 1, beside: 6 },
];

#[test]
fn the_tools_cost_no_more_requests_than_this() {
    if !can_mount() {
        return;
    }
    let mut dear = Vec::new();
    for row in ROWS {
        let (home, world) = (Home::new(), World::with(Rights::Full));
        let output = home.mount(world.running(), &demo::role_arn());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let tree = home.path().join("tree");
        fs::create_dir(&tree).unwrap();
        (0..FILES).for_each(|at| {
            fs::write(tree.join(format!("f{at:03}")), format!("a file, number {at}\n")).unwrap()
        });
        let shell = |script: &str, at: &std::path::Path| {
            let script = format!("exec 2>&1; {script}");
            let output = Command::new("sh")
                .args(["-euc", &script])
                .current_dir(at)
                .env("TREE", &tree)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: {}", row.what, text(&output.stdout));
        };
        shell("cd tree; zip -qr ../tree.zip .", &home.path());
        let work = home.mount_point().join(demo::BUCKETS[0]).join("work");
        fs::create_dir(&work).unwrap();
        shell(row.before, &work);
        world.forget_requests();
        shell(row.script, &work);
        home.unmount();
        let (cost, limit) = (world.requests(), row.per_file * FILES + row.beside);
        if cost > limit {
            dear.push(format!("{}: {cost} requests, and not {limit}: {:?}", row.what, world.faults.counts()));
        }
    }
    assert!(dear.is_empty(), "{}", dear.join("\n"));
}
