//! A script, lived step by step, and all states of the reference that may be by now.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{Gate, InProcess, Object, On};
use s3xmount::write::CommitMode;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::choice::{Held, choose};
use super::mount::Mount;
use super::op::{Bytes, Death, Op, Outcome, Script};
use super::reference::{Reference, TOPS};
use crate::support::How;

/// A script being lived.
pub(super) struct Life<'a> {
    script: &'a Script,
    emulator: InProcess,
    mount: Mount,
    /// All states that may be.
    states: Vec<Reference>,
    held: Vec<Held>,
    objects: Objects,
    said: &'a Mutex<String>,
}

/// What a stretch of life came to.
enum Stretch {
    /// All steps are taken.
    Lived,
    /// The process was killed before this step, and during this operation, if it was not in between.
    Killed(usize, Option<Op>),
}

impl<'a> Life<'a> {
    /// Lives a script to its end; says what it does as it goes.
    pub(super) fn live(script: &'a Script, said: &'a Mutex<String>) -> Result<(), String> {
        // Whatever is drawn by lot, pauses before another attempt above all, is the same each time.
        fastrand::seed(script.seed);
        let mut runtime = runtime();
        let mut life = runtime.block_on(Self::begin(script, said));
        if let Stretch::Killed(next, during) = runtime.block_on(life.go_on(0, script.death))? {
            let left = runtime.block_on(life.mount.left_behind());
            // All tasks end where they are, and after that what they share is dropped: nothing of it reaches S3 any more.
            drop(runtime);
            runtime = self::runtime();
            runtime.block_on(life.rise(left, during))?;
            let _lived = runtime.block_on(life.go_on(next, None))?;
        }
        runtime.block_on(life.end())
    }

    async fn begin(script: &'a Script, said: &'a Mutex<String>) -> Self {
        let world = demo::world(Rights::Full);
        let world = if script.opaque_etags { world.with_opaque_etags() } else { world };
        let emulator = InProcess::new(world);
        for (bucket, key) in demo::BUCKETS.iter().flat_map(|name| {
            let bucket = emulator.world().bucket(name);
            bucket.keys().into_iter().map(move |key| (Arc::clone(&bucket), key))
        }) {
            bucket.delete(&key, &WriteCondition::None).unwrap();
        }
        let mount = Mount::new(&emulator, tempfile::tempdir().unwrap(), commit_mode(script)).await;
        let mut objects = Objects::default();
        let (files, markers) = objects.look(&emulator);
        let states = vec![Reference::new(files, markers, commit_mode(script))];
        let life = Self { mount, states, held: Vec::new(), objects, script, said, emulator };
        life.trouble();
        life
    }

    fn trouble(&self) {
        let (faults, seed) = (&self.emulator.world().faults, self.script.seed);
        faults.clear();
        if self.script.crowded {
            for (share, millis) in [(0.5, 1), (0.3, 2), (0.2, 7)] {
                let delay = Duration::from_millis(millis);
                faults.inject(On::anything().at_random(share, seed + 100 + millis).always().delay(delay));
            }
        }
        if self.script.troubled {
            faults.inject(On::anything().at_random(0.05, seed).always().lose_answer());
            faults.inject(On::anything().at_random(0.05, seed + 1).always().drop_request());
            faults.inject(On::anything().at_random(0.05, seed + 2).always().throttle());
        }
    }

    /// Takes the steps from this one on, to the last or to the death of the process.
    async fn go_on(&mut self, from: usize, death: Option<Death>) -> Result<Stretch, String> {
        let mut silence = None;
        let mut steps = self.script.steps.iter().enumerate().skip(from).peekable();
        while let Some((number, step)) = steps.next() {
            if let (Some(death), None) = (death, &silence)
                && number >= death.step
            {
                silence = Some((self.fall_silent(death), death.step + death.steps));
            }
            let op = choose(self.script, step, &self.states[0], &self.held, number);
            let op = op.filter(|op| silence.is_none() || !op.is_foreign());
            if let (true, Some(one), Some((after, next))) = (self.script.crowded, &op, steps.peek()) {
                let two = choose(self.script, next, &self.states[0], &self.held, *after);
                if let Some(two) = two.filter(|two| one.meets(two)) {
                    let both = Op::Both(Box::new(one.clone()), Box::new(two));
                    steps.next();
                    self.take(both).await?;
                    continue;
                }
            }
            match (&silence, op) {
                (Some((_, end)), _) if number > *end => return Ok(Stretch::Killed(number, None)),
                (_, None) => {}
                (None, Some(op)) => self.take(op).await?,
                (Some((gates, _)), Some(op)) => match self.take_unless_stuck(&op, gates).await {
                    Some(outcome) => self.taken(&op, &outcome)?,
                    None => return Ok(Stretch::Killed(number + 1, Some(op))),
                },
            }
        }
        Ok(match silence {
            Some(_) => Stretch::Killed(self.script.steps.len(), None),
            None => Stretch::Lived,
        })
    }

    async fn take(&mut self, op: Op) -> Result<(), String> {
        self.say(&op);
        if op.is_foreign() {
            self.settle().await?;
        }
        let outcome = match &op {
            Op::Both(one, two) => {
                let (one, two) = tokio::join!(self.take_one(one), self.take_one(two));
                Outcome::both(one, two)
            }
            op => self.take_one(op).await,
        };
        if op.is_foreign() {
            // Long enough ago for the mount to see it; and whatever was to happen in that hour happens now.
            tokio::time::advance(Duration::from_secs(3600)).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.taken(&op, &outcome)
    }

    async fn take_one(&self, op: &Op) -> Outcome {
        match op {
            Op::ForeignPut { path, bytes } => self.foreign(path, Some(bytes)).await,
            Op::ForeignDelete { path } => self.foreign(path, None).await,
            op => self.mount.take(op).await,
        }
    }

    /// Before it is taken, which it may not survive.
    fn say(&self, op: &Op) {
        *self.said.lock() += &format!("  {op:?}");
    }

    /// Takes note of an operation and of what it came to.
    fn taken(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        *self.said.lock() += &format!(" -> {outcome:?}\n");
        self.expect(op, outcome)?;
        self.hold(op, outcome);
        Ok(())
    }

    /// Keeps account of what is open.
    fn hold(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::Both(one, two), Outcome::Both(first, second)) => {
                self.hold(one, first);
                self.hold(two, second);
            }
            (Op::Open { number, how, .. }, Outcome::Done) => {
                self.held.push(Held { number: *number, writes: *how != How::Read, is_closing: false });
            }
            (Op::Close { number }, _) => {
                let closed = self.held.iter_mut().filter(|held| held.number == *number);
                closed.for_each(|held| held.is_closing = true);
            }
            (Op::Land { number }, _) => self.held.retain(|held| held.number != *number),
            _ => {}
        }
    }

    // ---- death, and what comes after it ----

    /// From now on S3 answers some more requests, and then none.
    fn fall_silent(&self, death: Death) -> [Gate; 2] {
        let [half_done, not_done] = [Gate::closed(), Gate::closed()];
        let faults = &self.emulator.world().faults;
        let one_more = u64::from(death.is_half_done);
        faults.inject(On::anything().after(death.answered).times(one_more).hold_answer(&half_done));
        faults.inject(On::anything().after(death.answered + one_more).always().hold_request(&not_done));
        [half_done, not_done]
    }

    /// `None` when it waits for an answer that does not come.
    async fn take_unless_stuck(&self, op: &Op, [half_done, not_done]: &[Gate; 2]) -> Option<Outcome> {
        self.say(op);
        let stuck = async {
            tokio::select! {
                biased;
                () = half_done.reached_by(1) => {}
                () = not_done.reached_by(1) => {}
            }
            // Others may be stuck, while this one has something to do: the clock waits for it.
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        tokio::select! {
            biased;
            outcome = self.mount.take(op) => Some(outcome),
            () = stuck => None,
        }
    }

    /// Another mount takes over what the dead one has left.
    async fn rise(&mut self, left: TempDir, during: Option<Op>) -> Result<(), String> {
        *self.said.lock() += if during.is_some() { " -> killed\n" } else { "  killed\n" };
        self.held.clear();
        self.trouble();
        self.mount = Mount::new(&self.emulator, left, commit_mode(self.script)).await;
        self.mount.recover().await?;
        let (files, markers) = self.objects.look(&self.emulator);
        let (mut states, mut complaints) = (Vec::new(), Vec::new());
        for state in &self.states {
            let found = match &during {
                Some(Op::Rename { from, onto, .. }) => {
                    vec![state.killed_during_rename((from, onto), &files, &markers)]
                }
                Some(op) => state.killed_during(op).into_iter().map(Ok).collect(),
                None => vec![Ok(state.killed())],
            };
            for state in found {
                match state.and_then(|state| state.agrees(&files, &markers).map(|()| state)) {
                    Ok(state) if states.contains(&state) => {}
                    Ok(state) => states.push(state),
                    Err(complaint) => complaints.push(complaint),
                }
            }
        }
        if states.is_empty() {
            return Err(complaints.join("\n"));
        }
        self.states = states;
        self.expect_kept()
    }

    /// What could not be committed is set aside, all of it.
    fn expect_kept(&mut self) -> Result<(), String> {
        let aside = self.mount.set_aside();
        let is_kept = |state: &Reference| {
            state.lost().iter().all(|lost| aside.iter().any(|kept| lost.is_kept_in(kept)))
        };
        let kept: Vec<Reference> = self.states.iter().filter(|state| is_kept(state)).cloned().collect();
        if kept.is_empty() {
            return Err(format!(
                "{} files were set aside, and not all that could not be committed",
                aside.len()
            ));
        }
        self.states = kept;
        Ok(())
    }

    // ---- what is expected ----

    /// Strikes out the states that cannot have come to this.
    fn expect(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        let there = (!self.script.background).then(|| self.objects.look(&self.emulator));
        let (mut states, mut complaints) = (Vec::new(), Vec::new());
        for state in &self.states {
            match state.after(op, outcome) {
                Ok(after) => {
                    for next in after {
                        let agrees = there.as_ref().map(|(files, markers)| next.agrees(files, markers));
                        match agrees.unwrap_or(Ok(())) {
                            Ok(()) if states.contains(&next) => {}
                            Ok(()) => states.push(next),
                            Err(complaint) => complaints.push(complaint),
                        }
                    }
                }
                Err(complaint) => complaints.push(complaint),
            }
        }
        if states.is_empty() {
            return Err(complaints.join("\n"));
        }
        self.states = states;
        Ok(())
    }

    /// What somebody else does to the bucket.
    async fn foreign(&self, path: &str, bytes: Option<&Bytes>) -> Outcome {
        if self.script.crowded {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..5))).await;
        }
        let (bucket, key) = split(path);
        let world = self.emulator.world();
        match bytes {
            Some(bytes) => world.seed(bucket, key, bytes.0.to_vec()),
            None => world.bucket(bucket).delete(key, &WriteCondition::None).unwrap(),
        }
        Outcome::Done
    }

    /// S3 has what was closed, and it is what the reference says.
    async fn settle(&mut self) -> Result<(), String> {
        self.mount.settle().await?;
        let (files, markers) = self.objects.look(&self.emulator);
        let complaint = self.states.iter().map(|state| state.agrees(&files, &markers)).find_map(Result::err);
        self.states.retain(|state| state.agrees(&files, &markers).is_ok());
        if self.states.is_empty() { Err(complaint.expect("one for each state")) } else { Ok(()) }
    }

    /// Closes everything, and has everything looked at once more by this mount and by one that knows nothing.
    async fn end(mut self) -> Result<(), String> {
        while let Some(held) = self.held.first().copied() {
            if !held.is_closing {
                self.take(Op::Close { number: held.number }).await?;
            }
            self.take(Op::Land { number: held.number }).await?;
        }
        if self.script.seed.is_multiple_of(3) {
            self.look_at_everything().await?;
        }
        self.mount.finish().await;
        self.settle().await?;
        let uploads = self.uploads_left();
        if uploads > 0 {
            return Err(format!("{uploads} uploads were left"));
        }
        self.expect_kept()?;
        self.mount = Mount::new(&self.emulator, tempfile::tempdir().unwrap(), commit_mode(self.script)).await;
        self.take(Op::MountAnew).await?;
        self.look_at_everything().await
    }

    /// Not counted are those whose beginning S3 told nobody, so that nobody knows their names; they have no parts.
    fn uploads_left(&self) -> usize {
        let may_be_unknown = self.script.troubled || self.script.death.is_some();
        let uploads = demo::BUCKETS.iter().flat_map(|bucket| self.emulator.world().uploads(bucket));
        uploads.filter(|(_, upload)| !(may_be_unknown && upload.parts.is_empty())).count()
    }

    async fn look_at_everything(&mut self) -> Result<(), String> {
        for path in self.states[0].all_directories() {
            self.take(Op::List { path }).await?;
        }
        for path in self.states[0].all_files() {
            self.take(Op::Stat { path: path.clone() }).await?;
            self.take(Op::ReadWhole { path }).await?;
        }
        Ok(())
    }
}

/// The objects of both buckets, of which only new ones are copied.
#[derive(Default)]
struct Objects(HashMap<String, (Arc<Object>, Bytes)>);

impl Objects {
    /// All files by their paths, and the directories that have markers.
    fn look(&mut self, emulator: &InProcess) -> (BTreeMap<String, Bytes>, BTreeSet<String>) {
        let (mut files, mut markers) = (BTreeMap::new(), BTreeSet::new());
        for (top, name) in TOPS.iter().zip(demo::BUCKETS) {
            let bucket = emulator.world().bucket(name);
            for key in bucket.keys() {
                let path = format!("{top}/{key}");
                if let Some(directory) = path.strip_suffix('/') {
                    markers.insert(directory.to_owned());
                    continue;
                }
                let object = bucket.object(&key).unwrap();
                let known = self.0.get(&path).filter(|(known, _)| Arc::ptr_eq(known, &object));
                let bytes = known.map(|(_, bytes)| bytes.clone());
                let bytes = bytes.unwrap_or_else(|| Bytes(Arc::new(object.content.to_bytes().to_vec())));
                self.0.insert(path.clone(), (object, bytes.clone()));
                files.insert(path, bytes);
            }
        }
        (files, markers)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn commit_mode(script: &Script) -> CommitMode {
    if script.background { CommitMode::Background } else { CommitMode::Close }
}

/// The bucket and the key of a path.
fn split(path: &str) -> (&'static str, &str) {
    let (top, key) = path.split_once('/').unwrap();
    (demo::BUCKETS[TOPS.iter().position(|at| *at == top).unwrap()], key)
}
