//! `s3xmount demo`: two accounts, a role and two buckets on this machine, mounted.
//!
//! The emulator runs in this process, on a port of the loopback interface. Everything else is
//! the product as it is: the base identity comes from the environment, the role is assumed by
//! a request, each file operation is a signed request over TCP. Nothing outlives the demo.
//!
//! On a terminal it stays until Ctrl-C, so that one can play. Without one, or when asked to, it
//! takes a walk by itself and says whether everything was as it should be.

mod walk;

use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Stop, logging};
use crate::config::options::by_name;
use crate::config::{self, CommandLine, Failure, Place, Settings, Surroundings, Written, mount_point};
use crate::control;
use crate::daemon::{self, People};
use crate::emulator::{RunningEmulator, demo};
use crate::sys;

/// What was asked of the demo.
#[derive(Debug)]
pub struct DemoArgs {
    directory: PathBuf,
    rights: demo::Rights,
    walk: bool,
}

impl DemoArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let directory = matches.get_one::<String>(DIRECTORY);
        Self {
            directory: directory.map_or_else(|| std::env::temp_dir().join("s3xmount-demo"), PathBuf::from),
            rights: if matches.get_flag(MINIMAL) { demo::Rights::Minimal } else { demo::Rights::Full },
            walk: matches.get_flag(WALK) || !(io::stdin().is_terminal() && io::stdout().is_terminal()),
        }
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("demo").about("Shows everything on this machine, without an AWS account").args([
        Arg::new(DIRECTORY).value_name("DIRECTORY").help(
            "Where to mount; made if it is missing, and then removed at the end [default: s3xmount-demo in the folder for temporary files]",
        ),
        switch(MINIMAL).help("Gives the role exactly GetObject, PutObject and PutObjectAcl, as many do: nothing can be listed or removed"),
        switch(WALK).help("Takes a walk through the buckets by itself and checks what it sees [default: without a terminal]"),
    ])
}

/// Runs the demo until it is ended, by its walk or by Ctrl-C.
///
/// # Errors
/// When the mount fails, or the walk saw something that should not be.
pub fn run(args: &DemoArgs) -> Result<(), Stop> {
    become_alice().map_err(|error| failed("the environment cannot be changed", &error))?;
    let around = Surroundings::look();
    let scratch = Scratch::make(&around.absolute(&args.directory.to_string_lossy()))?;
    let world = demo::world(args.rights);
    let emulator =
        RunningEmulator::start(world).map_err(|error| failed("the emulator cannot start", &error))?;
    let settings = settings(&scratch, &emulator, &around).map_err(Stop::Refused)?;
    mount_point::check(&settings).map_err(Stop::Refused)?;
    logging::start(&settings).map_err(Stop::Refused)?;

    let place = control::Place::new(&settings.mount_point, around.uid, &around);
    let (ready, is_ready) = mpsc::channel();
    let emulator = Arc::new(emulator);
    let guests_emulator = Arc::clone(&emulator);
    let guest = Guest {
        mount_point: settings.mount_point.clone(),
        log: scratch.log(),
        rights: args.rights,
        emulator: guests_emulator,
    };
    let guest = guest.start(is_ready, args.walk);
    let mounted = daemon::run(settings, People::default(), place, move || {
        // Nobody listens any more only where the thread below has died, which its end will tell.
        ready.send(()).ok();
    });
    // A mount that never answered has dropped its sender, so the guest ends in any case.
    let visit = guest.join().map_err(|_| Stop::Failed(Failure::new("the walk was cut short by a bug")));
    mounted.map_err(Stop::Failed)?;
    visit?.map_err(Stop::Failed)
}

/// What the walk needs to know.
struct Guest {
    mount_point: PathBuf,
    log: PathBuf,
    rights: demo::Rights,
    emulator: Arc<RunningEmulator>,
}

impl Guest {
    /// Starts whatever follows when the mount answers: the walk, or some words for a person.
    ///
    /// A thread and no task: the walk waits for programs that wait for the mount, and the mount owns
    /// the runtime.
    fn start(self, is_ready: Receiver<()>, walk: bool) -> JoinHandle<Result<(), Failure>> {
        std::thread::spawn(move || match is_ready.recv() {
            Ok(()) if walk => self.walk(),
            Ok(()) => {
                self.welcome();
                Ok(())
            }
            Err(_) => Ok(()),
        })
    }

    #[expect(clippy::print_stdout, reason = "these words are what the command is for")]
    fn welcome(&self) {
        let (mount_point, url) = (self.mount_point.display(), self.emulator.endpoint_url());
        let (role, [one, other]) = (demo::ROLE, demo::BUCKETS);
        let (account_a, account_b, bob) = (demo::ACCOUNT_A, demo::ACCOUNT_B, demo::bob());
        println!(
            "{one} and {other} of account {account_b} are mounted at {mount_point}.\n\
             You are alice of account {account_a} and have assumed the role {role}.\n"
        );
        println!("Try in another terminal:\n");
        let tries: &[&str] = match self.rights {
            demo::Rights::Full => &[
                "ls -lR",
                "cat SampleBucketA/welcome.txt",
                "cp SampleBucketA/reports/2024/summary.csv SampleBucketB/inbox/",
                "rsync -a SampleBucketA/reports/ SampleBucketB/copy/",
                "rm -r SampleBucketB/copy",
            ],
            demo::Rights::Minimal => &[
                "cat SampleBucketA/welcome.txt",
                "cp SampleBucketA/welcome.txt SampleBucketB/inbox/",
                "ls SampleBucketA      # may not be listed, and the log says what is missing",
            ],
        };
        println!("  cd {mount_point}");
        tries.iter().for_each(|line| println!("  {line}"));
        println!("\nTo look at an object as its owner does, with the AWS CLI:\n");
        println!(
            "  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_DEFAULT_REGION={} \\\n  \
             aws --endpoint-url {url} s3api get-object-acl --bucket {other} --key inbox/summary.csv",
            bob.id,
            bob.secret,
            demo::REGION
        );
        println!("\nThe log is {}. Ctrl-C ends the demo.", self.log.display());
    }
}

/// Makes this process act as alice, whatever identity the person at the terminal has.
///
/// Variables come first in the chain of the AWS tools; a profile's region or endpoint would still
/// shine through, so the files are put out of sight as well.
fn become_alice() -> io::Result<()> {
    let alice = demo::alice();
    let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in ours
        .filter(|name| ["AWS_", config::options::VARIABLE_PREFIX].iter().any(|start| name.starts_with(start)))
    {
        sys::set_variable(&name, None)?;
    }
    sys::set_variable("AWS_ACCESS_KEY_ID", Some(&alice.id))?;
    sys::set_variable("AWS_SECRET_ACCESS_KEY", Some(&alice.secret))?;
    sys::set_variable("AWS_CONFIG_FILE", Some("/dev/null"))?;
    sys::set_variable("AWS_SHARED_CREDENTIALS_FILE", Some("/dev/null"))?;
    // Without this, a machine without instance metadata would be asked for it.
    sys::set_variable("AWS_EC2_METADATA_DISABLED", Some("true"))
}

/// What a person would have typed, had they this emulator and these accounts.
fn settings(
    scratch: &Scratch,
    emulator: &RunningEmulator,
    around: &Surroundings,
) -> Result<Settings, Failure> {
    let (url, role) = (emulator.endpoint_url(), demo::role_arn());
    let (staging, log) = (scratch.dir.display().to_string(), scratch.log().display().to_string());
    let typed = [
        ("role-arn", role.as_str()),
        ("region", demo::REGION),
        ("endpoint-url", &url),
        ("sts-endpoint-url", &url),
        ("force-path-style", "true"),
        ("bucket", demo::BUCKETS[0]),
        ("bucket", demo::BUCKETS[1]),
        ("staging-dir", &staging),
        ("log-file", &log),
        ("foreground", "true"),
    ];
    let argument = |text: &Path, name| Written::new(text.to_string_lossy(), Place::Argument(name));
    let mut line = CommandLine {
        mount_point: Some(argument(&scratch.mount_point, "DIRECTORY")),
        config: Some(argument(Path::new("/dev/null"), "of the demo")),
        ..CommandLine::default()
    };
    for (name, value) in typed {
        let spec = by_name(name).expect("these flags exist");
        line.flags.add(spec.key, Written::new(value, Place::Flag(spec.flag())));
    }
    config::load(&line, around)
}

/// The folders of a demo; what it has made itself is removed when this is dropped.
struct Scratch {
    mount_point: PathBuf,
    made_mount_point: bool,
    dir: PathBuf,
}

impl Scratch {
    fn make(mount_point: &Path) -> Result<Self, Stop> {
        let made_mount_point = !mount_point.exists();
        if made_mount_point {
            std::fs::create_dir_all(mount_point)
                .map_err(|error| failed(&format!("{} cannot be made", mount_point.display()), &error))?;
        }
        let dir = std::env::temp_dir().join(format!("s3xmount-demo-{}", std::process::id()));
        // It must be new: another user could have put a folder of that name there.
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| failed(&format!("{} cannot be made", dir.display()), &error))?;
        Ok(Self { mount_point: mount_point.to_owned(), made_mount_point, dir })
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, "the demo's staging folder cannot be removed");
        }
        // Not recursive: should the mount still be there, its files are not ours to remove.
        if self.made_mount_point
            && let Err(error) = std::fs::remove_dir(&self.mount_point)
        {
            tracing::warn!(%error, "the demo's mount point cannot be removed");
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Stop {
    Stop::Failed(Failure::new(format!("{what}: {error}")))
}

const DIRECTORY: &str = "directory";
const MINIMAL: &str = "minimal";
const WALK: &str = "walk";
