//! The demo's walk: what a person would try first, with everything checked on the way.
//!
//! The commands are real ones, run by a shell in the mount; what they print is shown as they print
//! it. Between them the walk looks at the objects from the other side, as account B sees them.

#![expect(clippy::print_stdout, reason = "the walk is shown on standard output")]

use std::path::Path;
use std::process::{Command, Stdio};

use super::Guest;
use crate::config::{Failure, mount_point};
use crate::emulator::demo;

/// One stop of the walk.
enum Stop {
    /// Words.
    Say(&'static str),
    /// A command that succeeds and prints all of this.
    Run(&'static str, &'static [&'static str]),
    /// A command that is refused with this.
    Refused(&'static str, &'static str),
    /// The owner's look at an object, in a bucket under a key.
    Own(&'static str, &'static str),
    /// Account B takes its policy back from a bucket, or gives it again.
    Admit(&'static str, bool),
    /// What the log said last about a bucket.
    Explain(&'static str),
}

use Stop::{Admit, Explain, Own, Refused, Run, Say};

/// With all rights that a role in daily use has.
const FULL: &[Stop] = &[
    Say("Two buckets of account B, as directories:"),
    Run("ls -l", &["SampleBucketA", "SampleBucketB"]),
    Run("ls -lR SampleBucketA", &["welcome.txt", "summary.csv"]),
    Run("cat SampleBucketA/welcome.txt", &["another account"]),
    Run("grep -r visits SampleBucketA/reports", &["2024/summary.csv:month,visits", "2025/summary.csv"]),
    Say("Writing, and copying from one bucket to the other:"),
    Run("echo 'Hello from account A.' > SampleBucketB/inbox/hello.txt", &[]),
    Run("cp SampleBucketA/reports/2024/summary.csv SampleBucketB/inbox/", &[]),
    Run(
        "cat SampleBucketB/inbox/hello.txt SampleBucketB/inbox/summary.csv",
        &["Hello from account A.", "2024-03,1610"],
    ),
    Run(
        "cmp SampleBucketA/reports/2024/summary.csv SampleBucketB/inbox/summary.csv && echo equal",
        &["equal"],
    ),
    Say("As the owner sees them: the ACL has made both objects account B's own."),
    Own("SampleBucketB", "inbox/hello.txt"),
    Own("SampleBucketB", "inbox/summary.csv"),
    Say("Directories, renames, removal:"),
    Run("mkdir SampleBucketA/archive && mv SampleBucketA/reports/2024 SampleBucketA/archive/", &[]),
    Run("find SampleBucketA -type f | sort", &["archive/2024/summary.csv", "reports/2025/summary.csv"]),
    Own("SampleBucketA", "archive/2024/summary.csv"),
    Run("rm SampleBucketB/inbox/hello.txt && ls SampleBucketB/inbox", &["summary.csv"]),
    Say("Now account B takes its bucket policy back, and a file not read before is refused:"),
    Admit("SampleBucketB", false),
    Refused("cat SampleBucketB/notes/poems/autumn.txt", "Permission denied"),
    Explain("SampleBucketB"),
    Say("With the policy back, it is there:"),
    Admit("SampleBucketB", true),
    Run("cat SampleBucketB/notes/poems/autumn.txt", &["let go"]),
];

/// With exactly GetObject, PutObject and PutObjectAcl.
const MINIMAL: &[Stop] = &[
    Say("Two buckets of account B, as directories. The role may get and put objects, and nothing else:"),
    Run("ls", &["SampleBucketA", "SampleBucketB"]),
    Run("cat SampleBucketA/welcome.txt", &["another account"]),
    Run("cp SampleBucketA/welcome.txt SampleBucketB/inbox/welcome.txt", &[]),
    Run("cat SampleBucketB/inbox/welcome.txt", &["another account"]),
    Say("As the owner sees it: the ACL has made the object account B's own."),
    Own("SampleBucketB", "inbox/welcome.txt"),
    Say("What the role may not do is refused, and the log says why:"),
    Refused("ls SampleBucketA", "Permission denied"),
    Explain("SampleBucketA"),
    Refused("rm SampleBucketB/inbox/welcome.txt", "Permission denied"),
    Explain("SampleBucketB"),
];

impl Guest {
    /// Walks, ends the mount and says whether everything was as it should be.
    pub(super) fn walk(&self) -> Result<(), Failure> {
        let stops = match self.rights {
            demo::Rights::Full => FULL,
            demo::Rights::Minimal => MINIMAL,
        };
        let faults: Vec<String> = stops.iter().filter_map(|stop| self.visit(stop).err()).collect();
        self.end_mount();
        if faults.is_empty() {
            println!("\nEverything was as it should be.");
            return Ok(());
        }
        Err(Failure::new(format!("{} of {} stops were not as they should be", faults.len(), stops.len()))
            .hint(faults.join("\n")))
    }

    fn visit(&self, stop: &Stop) -> Result<(), String> {
        match stop {
            Say(words) => {
                println!("\n# {words}");
                Ok(())
            }
            Run(command, expected) => {
                let outcome = shell(&self.mount_point, command);
                let missing = expected.iter().find(|text| !outcome.text.contains(**text));
                match missing {
                    _ if !outcome.success => Err(format!("{command}: failed")),
                    Some(text) => Err(format!("{command}: did not print '{text}'")),
                    None => Ok(()),
                }
            }
            Refused(command, reason) => {
                let outcome = shell(&self.mount_point, command);
                if outcome.success || !outcome.text.contains(reason) {
                    return Err(format!("{command}: was not refused with '{reason}'"));
                }
                Ok(())
            }
            Own(bucket, key) => self.own(bucket, key),
            Admit(bucket, admitted) => {
                let policy = admitted.then(|| demo::bucket_policy(bucket));
                self.emulator.world().set_bucket_policy(bucket, policy.as_ref());
                let deed = if *admitted { "given again" } else { "taken back" };
                println!("  (the policy of {bucket} is {deed})");
                Ok(())
            }
            Explain(bucket) => self.explain(bucket),
        }
    }

    /// Looks at an object as account B does.
    fn own(&self, bucket: &str, key: &str) -> Result<(), String> {
        let world = self.emulator.world();
        let object = world.object(bucket, key).ok_or_else(|| format!("{bucket}/{key}: is not there"))?;
        let (owner, acl) = (world.bucket(bucket).owner_of(&object), object.acl.name());
        println!("  {bucket}/{key}: owner {owner}, ACL {acl}");
        if owner == demo::ACCOUNT_B && acl == "bucket-owner-full-control" {
            Ok(())
        } else {
            Err(format!("{bucket}/{key}: belongs to {owner} with the ACL {acl}"))
        }
    }

    /// Shows the last line of the log that names the bucket.
    fn explain(&self, bucket: &str) -> Result<(), String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        match log.lines().rfind(|line| line.contains(bucket)) {
            Some(line) => {
                println!("  from the log: {line}");
                Ok(())
            }
            None => Err(format!("the log says nothing about {bucket}")),
        }
    }

    /// Ends the mount as a person would. A busy mount is taken out of sight, so that the demo ends.
    fn end_mount(&self) {
        let path = quoted(&self.mount_point);
        let (uid, _) = crate::sys::effective_ids();
        let program = if uid == 0 { "umount" } else { "fusermount3 -u" };
        println!();
        if !shell(Path::new("/"), &format!("{program} {path}")).success
            && mount_point::is_mounted(&self.mount_point)
        {
            shell(Path::new("/"), &format!("{program} -{} {path}", if uid == 0 { "l" } else { "z" }));
        }
    }
}

/// What came of a command.
struct Outcome {
    success: bool,
    text: String,
}

/// Runs a command in a directory, and shows it and what it prints.
fn shell(dir: &Path, command: &str) -> Outcome {
    println!("$ {command}");
    // Messages are compared, so they must not be translated. One pipe for both streams keeps their order.
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(dir)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let outcome = match output {
        Ok(output) => Outcome {
            success: output.status.success(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
        },
        Err(error) => Outcome { success: false, text: error.to_string() },
    };
    outcome.text.lines().for_each(|line| println!("  {line}"));
    outcome
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_with_both_its_streams() {
        let outcome = shell(Path::new("/"), "echo out; echo err >&2; exit 3");
        assert!(!outcome.success);
        assert_eq!(outcome.text, "out\nerr\n");
    }

    #[test]
    fn any_path_survives_the_shell() {
        let path = Path::new("/tmp/it's a $dir");
        assert_eq!(shell(Path::new("/"), &format!("printf %s {}", quoted(path))).text, "/tmp/it's a $dir");
    }
}
