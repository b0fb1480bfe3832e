//! Directory streams: what `readdir` walks through.
//!
//! A stream holds the entries that it has seen so far, in the order in which it saw them, and a
//! position in it is an index. So `seekdir`, a second `readdir` of the same range and an `rm -r`
//! that deletes while it reads all mean what they should. Pages are fetched one after the other, as S3
//! hands them out, a few ahead of their reader ([`Pump`]).
//!
//! When the last page has come, the cache knows the directory whole. A directory that it knows
//! whole already costs no request.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::cache::{Answer, Known, Marker, Presence};
use super::inode::Species;
use super::{Directory, Folder, Namespace};
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::s3::{Depth, Page, PageToken, S3Error};

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: FileName,
    /// Whether it is a directory.
    pub species: Species,
}

/// The entries of one directory, as far as they have been asked for.
#[derive(Debug)]
pub struct DirectoryStream {
    entries: Vec<DirectoryEntry>,
    index: HashMap<FileName, usize>,
    rest: Rest,
}

/// What is still to come.
#[derive(Debug)]
enum Rest {
    /// Nothing: all entries are here.
    Nothing,
    /// Pages of this listing.
    Pages(Pages),
}

/// A listing under way.
#[derive(Debug)]
struct Pages {
    folder: Folder,
    /// When the first page was asked for; the whole listing is as old as that.
    asked: Instant,
    known: Arc<Mutex<Known>>,
    /// Where the next page begins that has not been taken in.
    from: Option<PageToken>,
    /// What fetches from there on; none after a failure, so that the next call asks for the same page again.
    pump: Option<Pump>,
}

/// A task that fetches pages until there are no more, or as many as may wait for their reader.
#[derive(Debug)]
struct Pump {
    pages: mpsc::Receiver<(Instant, Result<Page, S3Error>)>,
    _task: AbortOnDropHandle<()>,
}

impl Namespace {
    /// Begins to read a directory.
    ///
    /// # Errors
    /// None yet for what is in S3: a refusal shows when the first entry is read.
    pub fn read_directory(self: &Arc<Self>, directory: &Directory) -> DirectoryStream {
        let mut stream = DirectoryStream { entries: Vec::new(), index: HashMap::new(), rest: Rest::Nothing };
        match directory {
            Directory::Root => {
                for bucket in self.buckets() {
                    stream.add(bucket.directory.clone(), Species::Directory);
                }
            }
            Directory::In(folder) => self.begin(folder, &mut stream),
        }
        stream
    }

    fn begin(self: &Arc<Self>, folder: &Folder, stream: &mut DirectoryStream) {
        {
            let pending = self.pending.lock();
            let files = pending.files(folder).into_iter().map(|name| (name, Species::File));
            let directories = pending.directories(folder).into_iter().map(|name| (name, Species::Directory));
            for (name, species) in files.chain(directories) {
                stream.add(name, species);
            }
        }
        match self.cache.listing(folder) {
            Some(entries) => {
                for (name, answer) in entries {
                    stream.add(name, species_of(&answer.presence));
                }
            }
            None => stream.rest = self.pages(folder),
        }
    }

    /// The listing of a directory, from its beginning.
    fn pages(self: &Arc<Self>, folder: &Folder) -> Rest {
        Rest::Pages(Pages {
            folder: folder.clone(),
            asked: Instant::now(),
            known: self.cache.directory(folder),
            from: None,
            pump: Some(self.pump(folder, None)),
        })
    }

    /// Learns what a page that was asked for at `asked` says about a directory, of which it is the first.
    pub(super) fn learn_first_page(&self, folder: &Folder, page: Page, asked: Instant) {
        let is_whole = page.next.is_none();
        let known = self.cache.directory(folder);
        let mut known = known.lock();
        for (name, presence) in entries_of(page, folder) {
            known.learn_listed(&name, Answer { presence, asked });
        }
        if is_whole {
            known.all_names_told(asked);
        }
    }

    fn pump(self: &Arc<Self>, folder: &Folder, mut from: Option<PageToken>) -> Pump {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let (namespace, folder) = (Arc::clone(self), folder.clone());
        let fetch = async move {
            // A place first: what is fetched is held, and what is held is bounded.
            while let Ok(place) = sender.reserve().await {
                let asked = Instant::now();
                let page = namespace.list(&folder, Depth::Level, from.as_ref(), KEYS_PER_PAGE).await;
                from = page.as_ref().ok().and_then(|page| page.next.clone());
                place.send((asked, page));
                if from.is_none() {
                    return;
                }
            }
        };
        Pump { pages, _task: AbortOnDropHandle::new(self.tasks.spawn("list", fetch)) }
    }
}

impl DirectoryStream {
    /// What S3 lists in a directory, whatever is known of it already.
    pub(super) fn listing(namespace: &Arc<Namespace>, folder: &Folder) -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), rest: namespace.pages(folder) }
    }

    /// The entry at a position, fetching pages until there is one; `None` after the last.
    ///
    /// # Errors
    /// [`Kind::Denied`] without the right to list.
    pub async fn entry(&mut self, namespace: &Arc<Namespace>, at: usize) -> Result<Option<DirectoryEntry>> {
        while at >= self.entries.len() || self.is_unheard() {
            if !self.more(namespace).await? {
                return Ok(None);
            }
        }
        Ok(self.entries.get(at).cloned())
    }

    /// The entries from a position on that are here already.
    pub fn ready(&self, from: usize) -> &[DirectoryEntry] {
        self.entries.get(from..).unwrap_or_default()
    }

    /// Whether S3 has not answered yet. Until then nothing is shown, not even what only this mount knows: a shell
    /// takes what it is shown before a refusal for all there is, and `rm *` should not do its work by halves.
    fn is_unheard(&self) -> bool {
        matches!(&self.rest, Rest::Pages(pages) if pages.from.is_none())
    }

    /// Takes in the next page. Returns whether there was one.
    ///
    /// # Errors
    /// [`Kind::Denied`] without the right to list.
    pub(super) async fn more(&mut self, namespace: &Arc<Namespace>) -> Result<bool> {
        let Rest::Pages(pages) = &mut self.rest else { return Ok(false) };
        let mut pump = pages.pump.take().unwrap_or_else(|| namespace.pump(&pages.folder, pages.from.clone()));
        let page = pump.pages.recv().await;
        let (asked, page) = page.ok_or_else(|| Error::new(Kind::ShuttingDown, "the listing was stopped"))?;
        let (folder, known, whole_since) = (pages.folder.clone(), Arc::clone(&pages.known), pages.asked);
        let page = page?;
        match page.next.clone() {
            Some(token) => (pages.from, pages.pump) = (Some(token), Some(pump)),
            None => self.rest = Rest::Nothing,
        }
        let last = matches!(self.rest, Rest::Nothing);
        let mut known_names = known.lock();
        for (name, presence) in entries_of(page, &folder) {
            let species = species_of(&presence);
            known_names.learn_listed(&name, Answer { presence, asked });
            self.add(name, species);
        }
        if last && namespace.cache.holds(&folder, &known) {
            known_names.all_names_told(whole_since);
        }
        Ok(true)
    }

    /// Adds an entry; of a file and a directory of one name the directory stays.
    fn add(&mut self, name: FileName, species: Species) {
        match self.index.get(&name) {
            Some(at) if species == Species::Directory => self.entries[*at].species = species,
            Some(_) => {}
            None => {
                self.index.insert(name.clone(), self.entries.len());
                self.entries.push(DirectoryEntry { name, species });
            }
        }
    }
}

/// What a page says about the directory, in the order of names, without what cannot be shown.
fn entries_of(page: Page, folder: &Folder) -> Vec<(FileName, Presence)> {
    let component = |text: &str| FileName::parse(text.strip_prefix(folder.prefix.as_str())?).ok();
    let directories = page.prefixes.into_iter().filter_map(|prefix| {
        let name = component(prefix.strip_suffix('/')?)?;
        Some((name, Presence::Directory(Marker::Unasked)))
    });
    let files =
        page.objects.into_iter().filter_map(|(key, meta)| Some((component(&key)?, Presence::File(meta))));
    // Directories last, so that one takes the place of a file of the same name.
    let mut entries: Vec<_> = files.chain(directories).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
}

fn species_of(presence: &Presence) -> Species {
    match presence {
        Presence::Directory(_) => Species::Directory,
        Presence::File(_) | Presence::Absent | Presence::Unseen => Species::File,
    }
}

/// As many as S3 gives.
const KEYS_PER_PAGE: u16 = 1000;

/// Pages that wait for their reader, of some 300 KB each.
const PAGES_AHEAD: usize = 8;
