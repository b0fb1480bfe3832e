//! Whoever waits for an operation, and whether it is told to end meanwhile.
//!
//! What the kernel has handed to us it waits for without a way out: a process in the middle of an operation cannot
//! be ended, not even with SIGKILL, before we answer (`request_wait_answer` in fs/fuse/dev.c). S3 may let us wait for
//! minutes, and so whoever loses patience and presses Ctrl-C must be let go by us.
//!
//! FUSE has a message for that, FUSE_INTERRUPT, which fuser declines on our behalf. It would not do either: it comes
//! for every signal, also for the timers and the children of programs that do not expect `EINTR` from a file, as they
//! never get it from a disk. Only these count, and `/proc/PID` shows them:
//!
//! | signal | seen in |
//! | --- | --- |
//! | one by which people and shells end programs, not blocked, though the program handles it | `status`, pending |
//! | any that ends the process: the kernel has SIGKILL pending for all its threads | `status`, pending |
//! | the same, while the dying process closes its files | `stat`, exit code |
//!
//! **Pages are read for whoever dies, and only for them given up.** A read of the page cache may be one of a mapping, where
//! an error is no error to be handled: it is SIGBUS. A program that handles Ctrl-C shall not die of that.
//!
//! A process that just exits, without closing its files, is waited for: what it wrote shall be in S3 when the next
//! command of a script runs.

use std::sync::LazyLock;
use std::time::Duration;

/// The thread that an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    number: Option<u32>,
    heeds: Heeds,
}

/// Which signals a wait ends for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heeds {
    /// Those by which programs are told to end.
    Orders,
    /// Those that they do not survive.
    Death,
}

impl Caller {
    /// The one with this number. The kernel gives none for what it does by itself, and for processes that this one
    /// cannot see.
    pub(super) fn new(number: u32) -> Self {
        Self { number: Some(number).filter(|number| *number != 0), heeds: Heeds::Orders }
    }

    /// The same, for what must not fail while it lives.
    pub(super) fn until_death(self) -> Self {
        Self { heeds: Heeds::Death, ..self }
    }

    /// Returns when it is told to end; else never.
    pub(super) async fn is_to_end(self) {
        let Some(number) = self.number.filter(|_| *NUMBERS_ARE_OURS) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            // What cannot be seen may live.
            let shows = |file| std::fs::read_to_string(format!("/proc/{number}/{file}")).unwrap_or_default();
            let status = shows("status");
            if is_told(&status, self.heeds) || (has_left_memory(&status) && is_dying(&shows("stat"))) {
                return;
            }
        }
    }
}

/// Whether a thread has been told to end and has not heard of it, by its `/proc/PID/status`.
fn is_told(status: &str, heeds: Heeds) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    let (own, shared, blocked) = (mask("SigPnd"), mask("ShdPnd"), mask("SigBlk"));
    let is_ordered = || ENDING.iter().any(|signal| (own | shared) & !blocked & bit(*signal) != 0);
    own & bit(SIGKILL) != 0 || (heeds == Heeds::Orders && is_ordered())
}

/// Whether a thread has given up its memory, as it does before it closes its files and dies, by its
/// `/proc/PID/status`.
///
/// Only of such a one may `stat` be read. A process that becomes another program closes files, too, with its
/// credentials locked (`begin_new_exec` in fs/exec.c), and whoever reads its `stat` waits for the end of that: for our
/// own answer, that is, and for good.
fn has_left_memory(status: &str) -> bool {
    !status.is_empty() && !status.lines().any(|line| line.starts_with("VmSize:"))
}

fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Whether a thread is dying of a signal, by its `/proc/PID/stat`.
fn is_dying(stat: &str) -> bool {
    // The name, in parentheses, may contain anything.
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let code = fields.split_ascii_whitespace().nth(EXIT_CODE - FIELDS_BEFORE - 1);
    // Of the low bits: a process that exits by itself has its status above them, and one that is only stopped has
    // the signal that stopped it here.
    let signal = code.and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0x7f;
    signal != 0 && !STOPPING.contains(&signal)
}

/// Whether `/proc` numbers processes as this one is numbered. The `/proc` of another namespace would show strangers.
static NUMBERS_ARE_OURS: LazyLock<bool> = LazyLock::new(|| {
    let own = std::fs::read_link("/proc/self");
    own.is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()))
});

/// Of a person's patience a small part, and of an operation that waits this long a small cost.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A field of proc_pid_stat(5), counted from one.
const EXIT_CODE: usize = 52;

/// The number and the name.
const FIELDS_BEFORE: usize = 2;

// As signal(7) numbers them on all machines but a few that are no more.
const SIGKILL: u32 = 9;

/// SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const ENDING: [u32; 4] = [1, 2, 3, 15];

/// SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
const STOPPING: [u32; 4] = [19, 20, 21, 22];

#[cfg(test)]
mod tests {
    use super::*;

    fn status(own: u64, shared: u64, blocked: u64) -> String {
        format!("Name:\tcat\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n")
    }

    fn stat(exit_code: u64) -> String {
        let mut fields = vec!["0".to_owned(); EXIT_CODE];
        fields[1] = "(a ) D name)".to_owned();
        fields[EXIT_CODE - 1] = exit_code.to_string();
        fields.join(" ")
    }

    #[test]
    fn only_a_signal_to_end_counts() {
        const SIGINT: u32 = 2;
        const SIGALRM: u32 = 14;
        for heeds in [Heeds::Orders, Heeds::Death] {
            assert!(is_told(&status(bit(SIGKILL), 0, 0), heeds), "dies, of whatever it was");
        }
        assert!(is_told(&status(0, bit(SIGINT), 0), Heeds::Orders), "Ctrl-C, which the program handles");
        assert!(!is_told(&status(0, bit(SIGINT), 0), Heeds::Death), "which it will not die of");
        assert!(
            !is_told(&status(0, bit(SIGINT), bit(SIGINT)), Heeds::Orders),
            "which it does not want to hear of now"
        );
        assert!(!is_told(&status(0, bit(SIGALRM), 0), Heeds::Orders), "a timer");
        assert!(!is_told(&status(0, 0, 0), Heeds::Orders), "just waits");
        assert!(!is_told("", Heeds::Orders), "there is nothing to see");
    }

    #[test]
    fn only_death_by_a_signal_counts() {
        assert!(is_dying(&stat(2)), "of SIGINT");
        assert!(is_dying(&stat(11 | 0x80)), "of SIGSEGV, after a core dump");
        assert!(!is_dying(&stat(0)), "lives, or exits with success");
        assert!(!is_dying(&stat(3 << 8)), "exits by itself");
        assert!(!is_dying(&stat(20)), "was stopped with Ctrl-Z");
        assert!(!is_dying(""), "there is nothing to see");
    }

    #[test]
    fn this_process_sees_itself_alive() {
        assert!(*NUMBERS_ARE_OURS);
        let shows =
            |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).expect("proc is mounted");
        let status = shows("status");
        assert!(!is_told(&status, Heeds::Orders) && !has_left_memory(&status) && !is_dying(&shows("stat")));
    }
}
