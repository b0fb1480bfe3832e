//! Random work on a mount, by several handles and with a foreign client in between, against a reference.
//!
//! Each seed is a life of one mount: some dozens of operations, of which [`reference`] says what they may come to.
//! After each of them what S3 has is compared with what the reference says it has, byte by byte; at the end all is
//! closed, and a second mount, which knows nothing, has to show the same. No kernel and no socket is involved and
//! the clock stands still, so a seed does the same every time:
//!
//! ```text
//!   S3XMOUNT_MODEL_SEED=17 cargo test --test s3xmount model::      this one, with all its steps
//!   S3XMOUNT_MODEL_SEEDS=100000 cargo test --test s3xmount model:: so many, beginning at zero
//!   S3XMOUNT_MODEL_FROM=5000 S3XMOUNT_MODEL_SEEDS=6000 ..          those from the one up to the other
//! ```
//!
//! A seed that fails is shortened to the steps that it takes before they are shown.
//!
//! # What may happen when the foreign client intervenes
//! - A commit that builds on what the foreign client replaced or deleted fails with `Changed`, one of a new file whose
//!   name it took with `Exists`; the object stays as the foreign client left it, our bytes are set aside, and
//!   everybody who has the file open hears of it until the last writer has left.
//! - A reader gets the version that it began with, whole, or `Changed`. It never gets bytes of two versions,
//!   unless this mount wrote the later one on top of the earlier one.
//! - What is opened anew is what is there now. (The clock goes on by an hour after each foreign change, as
//!   what is remembered of names and versions is believed for less than that.)
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

mod choice;
mod mount;
mod op;
mod reference;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::op::Script;
use self::stage::Life;

/// Lives in an ordinary run: less than a minute on two processors.
const SEEDS: u64 = 400;

/// The same of those that are killed.
const MORTAL_SEEDS: u64 = 400;

/// And of those in which two things happen at a time.
const CROWDED_SEEDS: u64 = 400;

#[test]
fn whatever_is_done_comes_to_what_the_reference_says() {
    live(Script::of, SEEDS);
}

#[test]
fn whatever_a_killed_mount_confirmed_is_found_by_the_next() {
    live(Script::mortal, MORTAL_SEEDS);
}

#[test]
fn what_happens_at_the_same_time_comes_to_what_it_comes_to_one_after_the_other() {
    live(Script::crowded, CROWDED_SEEDS);
}

/// Lives one life, or so many.
fn live(script: fn(u64) -> Script, seeds: u64) {
    if let Some(seed) = number("S3XMOUNT_MODEL_SEED") {
        return fail_if(outcome(&script(seed)));
    }
    let from = number("S3XMOUNT_MODEL_FROM").unwrap_or(0);
    let (next, end) = (AtomicU64::new(from), number("S3XMOUNT_MODEL_SEEDS").unwrap_or(from + seeds));
    let failed = Mutex::new(None);
    let work = || {
        while failed.lock().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if let Err(complaint) = outcome(&script(seed)) {
                failed.lock().get_or_insert((seed, complaint));
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    if let Some((seed, complaint)) = failed.into_inner() {
        fail_if(Err(shortest(script(seed), complaint)));
    }
}

/// Lives a script to its end, or to what is wrong.
fn outcome(script: &Script) -> Result<(), String> {
    let said = Mutex::new(String::new());
    let lived = catch_unwind(AssertUnwindSafe(|| Life::live(script, &said)));
    let complaint = match lived {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(complaint)) => complaint,
        Err(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "a panic".to_owned(),
        },
    };
    let Script { seed, background, troubled, opaque_etags, .. } = script;
    let setting = format!("background {background}, troubled {troubled}, opaque ETags {opaque_etags}");
    Err(format!("seed {seed}, {setting}:\n{}{complaint}", said.into_inner()))
}

/// Leaves out what can be left out, as long as it still fails.
fn shortest(mut script: Script, mut complaint: String) -> String {
    loop {
        let mut is_shorter = false;
        let mut at = script.steps.len();
        while at > 0 {
            at -= 1;
            let mut shorter = script.clone();
            shorter.steps.remove(at);
            if let Err(new) = outcome(&shorter) {
                (script, complaint, is_shorter) = (shorter, new, true);
            }
        }
        if !is_shorter {
            return complaint;
        }
    }
}

fn fail_if(outcome: Result<(), String>) {
    if let Err(complaint) = outcome {
        panic!("{complaint}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var_os(variable)?.into_string().ok()?;
    Some(value.parse().expect("a number"))
}
