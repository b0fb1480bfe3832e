//! Small files that are opened one after the other, fetched before they are opened.
//!
//! A small file costs one round trip to S3, and whoever reads a thousand of them in turn waits a
//! thousand times. After the second open in a directory its names are listed, a [`Walk`] says which
//! files come next in the order that the opens follow, and those are fetched whole, description and
//! bytes in one request each. Whoever has gone through one directory so is expected to go through the
//! next one that is listed.
//!
//! # What an open may believe
//! `open` sees the current version. An answer of S3 that was asked for within [`OPEN_MEMORY`] counts as
//! current, for an open as for a lookup before it, and what was fetched ahead is such an answer. One that
//! has become older only saves the transfer: the open asks S3 which version is current, and takes the
//! bytes in memory if they are of that one. The walk sees that they were too old and has fewer ahead.
//!
//! # What it may cost
//! Bytes are asked of the budget and never demanded, all together no more than [`BYTES_MAX`]; what
//! nobody opens within [`UNOPENED`] is dropped, and counts against the walk.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::budget::Budget;
use crate::name::FileName;
use crate::namespace::{Folder, Ino, Namespace, OPEN_MEMORY, Place, Species, number};
use crate::read::{Fetched, Met, Walk, Whole};
use crate::task::Tasks;

/// The files that are fetched ahead, and the directories in which that may happen.
#[derive(Debug)]
pub(super) struct SmallFiles {
    namespace: Arc<Namespace>,
    budget: Budget,
    tasks: Tasks,
    file_bytes_max: u64,
    /// Taken before any lock of the namespace.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    directories: HashMap<Folder, Directory>,
    /// Counts opens, to tell which directory was used last.
    turn: u64,
    /// The walk that last met a file it had ahead: what the next directory is expected to see.
    habit: Option<Walk<ORDERS>>,
    sweeping: bool,
}

/// A directory in which files are opened.
#[derive(Debug, Default)]
struct Directory {
    used: u64,
    names: Names,
    walk: Walk<ORDERS>,
    /// What was fetched or is on its way, by position in the order of names.
    ahead: HashMap<usize, Ahead>,
}

#[derive(Debug)]
struct Ahead {
    whole: Arc<Whole>,
    bytes: u64,
}

/// What is known of a directory's names.
#[derive(Debug)]
enum Names {
    /// Nobody has asked; and what has been opened so far.
    Unknown(Vec<FileName>),
    /// They are being listed, or could not be; and what was opened last, so that it is not fetched once more.
    Asked(Vec<FileName>),
    /// All of them.
    Known(Catalogue),
}

impl Default for Names {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

/// The files of a directory in the orders in which programs take them.
#[derive(Debug)]
struct Catalogue {
    /// By name.
    files: Vec<(FileName, u64)>,
    /// The file at each position in the order of inode numbers.
    by_number: Vec<usize>,
    /// The position of each file in it.
    rank: Vec<usize>,
    positions: HashMap<FileName, usize>,
}

/// By name, and by inode number.
const ORDERS: usize = 2;

impl SmallFiles {
    pub(super) fn new(
        namespace: Arc<Namespace>,
        budget: Budget,
        tasks: Tasks,
        file_bytes_max: u64,
    ) -> Arc<Self> {
        Arc::new(Self { namespace, budget, tasks, file_bytes_max, state: Mutex::default() })
    }

    /// Waits for a file that is on its way; its description is known then.
    pub(super) async fn arrived(&self, place: &Place) {
        let whole = self.state.lock().find(place).map(|ahead| Arc::clone(&ahead.whole));
        if let Some(whole) = whole {
            whole.arrived().await;
        }
    }

    /// A file is opened to be read: begins to fetch those that come next, and returns its bytes if
    /// they were had ahead.
    pub(super) async fn open(self: &Arc<Self>, parent: Ino, place: &Place) -> Option<Arc<Fetched>> {
        let whole = {
            let mut state = self.state.lock();
            let taken = state.take(place);
            let met = taken.as_ref().map_or(Met::Unawares, |ahead| met(&ahead.whole));
            self.go_on(&mut state, parent, place, met);
            taken?.whole
        };
        match whole.now() {
            Some(fetched) => fetched,
            None => whole.arrived().await,
        }
    }

    /// A directory is being listed, with these names among others. If those who did so before went on to
    /// read the files, begins to fetch the first of them. Returns the names that will not be described
    /// by that.
    pub(super) fn listed(self: &Arc<Self>, ino: Ino, folder: &Folder, names: Vec<FileName>) -> Vec<FileName> {
        let mut state = self.state.lock();
        let Some(walk) = state.habit.as_ref().map(Walk::next_directory) else { return names };
        let directory = state.directory(folder);
        if matches!(directory.names, Names::Unknown(_)) {
            let Some(files) = self.namespace.files(folder) else { return names };
            directory.names = Names::Known(Catalogue::new(ino, files));
            directory.walk = walk;
            self.fetch_expected(&mut state, folder);
        }
        let place = |name: &FileName| Place { folder: folder.clone(), name: name.clone() };
        names.into_iter().filter(|name| state.find(&place(name)).is_none()).collect()
    }

    fn go_on(self: &Arc<Self>, state: &mut State, parent: Ino, place: &Place, met: Met) {
        let directory = state.directory(&place.folder);
        match &mut directory.names {
            Names::Unknown(opened) => {
                opened.push(place.name.clone());
                if opened.len() >= OPENS_BEFORE_LISTING {
                    directory.names = Names::Asked(std::mem::take(opened));
                    match self.namespace.files(&place.folder) {
                        Some(files) => directory.learn(Catalogue::new(parent, files)),
                        None => self.list(parent, place.folder.clone()),
                    }
                }
            }
            Names::Asked(opened) => {
                if opened.len() >= OPENS_REMEMBERED {
                    opened.remove(0);
                }
                opened.push(place.name.clone());
            }
            Names::Known(_) => directory.opened(&place.name, met),
        }
        if met != Met::Unawares {
            state.habit = Some(directory.walk.clone());
        }
        self.fetch_expected(state, &place.folder);
    }

    /// Learns the names of a directory, in the background.
    fn list(self: &Arc<Self>, parent: Ino, folder: Folder) {
        let files = Arc::clone(self);
        let listing = async move {
            files.namespace.learn_names(&folder, PAGES_MAX).await;
            // One that cannot be listed stays "asked", so that it is not asked again and again.
            let Some(known) = files.namespace.files(&folder) else { return };
            let mut state = files.state.lock();
            state.directory(&folder).learn(Catalogue::new(parent, known));
            files.fetch_expected(&mut state, &folder);
        };
        drop(self.tasks.spawn_until_stopped("list ahead", listing));
    }

    /// Begins to fetch what the walk expects to be opened next.
    fn fetch_expected(self: &Arc<Self>, state: &mut State, folder: &Folder) {
        let mut bytes_left = BYTES_MAX.saturating_sub(state.bytes());
        let directory = state.directory(folder);
        let Names::Known(catalogue) = &directory.names else { return };
        let Some((order, expected)) = directory.walk.expected() else { return };
        for position in expected.map_while(|at| catalogue.at(order, at)) {
            let (name, bytes) = &catalogue.files[position];
            if *bytes > self.file_bytes_max || directory.ahead.contains_key(&position) {
                continue;
            }
            if bytes_left < *bytes {
                break;
            }
            let Some(paid) = self.budget.ask((*bytes).max(1)) else { break };
            let place = Place { folder: folder.clone(), name: name.clone() };
            let Ok(key) = place.folder.prefix.file(name) else { continue };
            let gateway = Arc::clone(self.namespace.gateway(folder.bucket));
            let namespace = Arc::clone(&self.namespace);
            let learn =
                move |fetched: &Fetched| namespace.fetched(&place, fetched.meta.clone(), fetched.asked);
            let whole = Arc::new(Whole::fetch(gateway, key, paid, &self.tasks, learn));
            directory.ahead.insert(position, Ahead { whole, bytes: *bytes });
            bytes_left -= bytes;
        }
        if !state.sweeping && state.directories.values().any(|directory| !directory.ahead.is_empty()) {
            state.sweeping = true;
            drop(self.tasks.spawn_until_stopped("small files", sweep(Arc::downgrade(self))));
        }
    }
}

/// Drops what nobody opened, until there is nothing left.
async fn sweep(files: Weak<SmallFiles>) {
    loop {
        tokio::time::sleep(UNOPENED / 2).await;
        let Some(files) = files.upgrade() else { return };
        let mut state = files.state.lock();
        if !state.drop_unopened() {
            state.sweeping = false;
            return;
        }
    }
}

impl State {
    fn directory(&mut self, folder: &Folder) -> &mut Directory {
        self.turn += 1;
        if !self.directories.contains_key(folder) {
            if self.directories.len() >= DIRECTORIES_MAX {
                let oldest = self.directories.iter().min_by_key(|(_, at)| at.used).map(|(at, _)| at.clone());
                oldest.map(|oldest| self.directories.remove(&oldest));
            }
            self.directories.insert(folder.clone(), Directory::default());
        }
        let directory = self.directories.get_mut(folder).expect("it is there, or has just been put there");
        directory.used = self.turn;
        directory
    }

    fn find(&self, place: &Place) -> Option<&Ahead> {
        let directory = self.directories.get(&place.folder)?;
        directory.ahead.get(&directory.position(&place.name)?)
    }

    fn take(&mut self, place: &Place) -> Option<Ahead> {
        let directory = self.directories.get_mut(&place.folder)?;
        directory.ahead.remove(&directory.position(&place.name)?)
    }

    fn bytes(&self) -> u64 {
        self.directories
            .values()
            .flat_map(|directory| directory.ahead.values())
            .map(|ahead| ahead.bytes)
            .sum()
    }

    /// Returns whether anything is left.
    fn drop_unopened(&mut self) -> bool {
        let mut left = false;
        for directory in self.directories.values_mut() {
            let before = directory.ahead.len();
            directory.ahead.retain(|_, ahead| ahead.whole.asked().elapsed() < UNOPENED);
            if directory.ahead.len() < before {
                directory.walk.in_vain();
                self.habit = None;
            }
            left |= !directory.ahead.is_empty();
        }
        left
    }
}

impl Directory {
    /// All names are known now; what was opened before shows the order.
    fn learn(&mut self, catalogue: Catalogue) {
        let before = std::mem::replace(&mut self.names, Names::Known(catalogue));
        if let Names::Unknown(opened) | Names::Asked(opened) = before {
            opened.iter().for_each(|name| self.opened(name, Met::Unawares));
        }
    }

    fn opened(&mut self, name: &FileName, met: Met) {
        let Names::Known(catalogue) = &self.names else { return };
        match catalogue.positions.get(name) {
            Some(position) => self.walk.opened([*position, catalogue.rank[*position]], met),
            // It has come since the listing: the names are to be looked at anew.
            None => (self.names, self.ahead) = Default::default(),
        }
    }

    fn position(&self, name: &FileName) -> Option<usize> {
        match &self.names {
            Names::Known(catalogue) => catalogue.positions.get(name).copied(),
            Names::Unknown(_) | Names::Asked(_) => None,
        }
    }
}

impl Catalogue {
    fn new(parent: Ino, files: Vec<(FileName, u64)>) -> Self {
        let numbers: Vec<Ino> = files.iter().map(|(name, _)| number(parent, name, Species::File)).collect();
        let mut by_number: Vec<usize> = (0..files.len()).collect();
        by_number.sort_unstable_by_key(|at| numbers[*at].0);
        let mut rank = vec![0; files.len()];
        by_number.iter().enumerate().for_each(|(at, file)| rank[*file] = at);
        let positions = files.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { files, by_number, rank, positions }
    }

    /// The file at a position of an order, by its position in the order of names.
    fn at(&self, order: usize, position: usize) -> Option<usize> {
        match order {
            0 => (position < self.files.len()).then_some(position),
            _ => self.by_number.get(position).copied(),
        }
    }
}

fn met(whole: &Whole) -> Met {
    match whole.now() {
        None => Met::OnItsWay,
        Some(Some(fetched)) if fetched.asked.elapsed() < OPEN_MEMORY => Met::InTime,
        Some(Some(_)) => Met::TooOld,
        Some(None) => Met::Unawares,
    }
}

/// One open may be anybody's; with the second there is something to gain.
const OPENS_BEFORE_LISTING: usize = 2;

/// Opens that are remembered until the names are known. The last ones tell where the next is expected.
const OPENS_REMEMBERED: usize = 16;

/// Pages of a directory, of a thousand names each, that are listed for the sake of its next files.
const PAGES_MAX: u32 = 10;

/// Directories in which files are being opened at the same time.
const DIRECTORIES_MAX: usize = 64;

/// All that is fetched ahead of its open.
const BYTES_MAX: u64 = 48 << 20;

/// Longer than what may be believed without asking, so that a slow reader still saves the transfer.
const UNOPENED: Duration = Duration::from_secs(4);
