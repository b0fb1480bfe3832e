//! Asking ahead of questions: what [`interest`](super::interest) decides, done in the background.
//!
//! A lookup leaves word which name it had to ask about. If more of them are to be expected, the directory is listed,
//! or the attributes of the next names are asked for, beside the lookup's own requests; whoever asks about such a
//! name meanwhile shares the answer. Whoever wants all names of a directory has it listed the same way, and shares
//! the listing that is under way.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::Known;
use super::inode::Species;
use super::interest::Next;
use super::listing::DirectoryStream;
use super::{Folder, Namespace};
use crate::error::Result;
use crate::name::FileName;

impl Namespace {
    /// Takes note of a name that memory did not know enough of, and asks ahead if others are likely to follow it.
    pub(super) fn foresee(self: &Arc<Self>, folder: &Folder, name: &FileName) {
        // An answer that is out of date says nothing: a listing renews many of them for the price of one.
        let is_listed = self.cache.answer(folder, name).is_some_and(|answer| !answer.presence.is_nothing());
        let known_here = self.cache.directory(folder);
        let mut known = known_here.lock();
        let next = match is_listed {
            true => {
                let before = known.before(name).cloned();
                known.interest.in_listed(name, before.as_ref())
            }
            false => known.interest.in_unknown(Instant::now()),
        };
        match next {
            Next::Nothing => {}
            Next::Sweep if !self.rights(folder.bucket).may_list(folder) => {
                known.interest.sweep_failed(Instant::now());
            }
            Next::Sweep => self.begin_sweep(folder, &known_here, &mut known),
            Next::Describe(count) => {
                let names = known.after(name, count);
                let Some(last) = names.last() else { return };
                known.interest.described_until(last);
                drop(
                    self.tasks
                        .spawn_until_stopped("describe", described(Arc::clone(self), folder.clone(), names)),
                );
            }
        }
    }

    /// Lists a directory in the background, if it has no more names than are in so many pages, and returns when that
    /// is over. One that was listed a moment ago, or could not be, is left alone.
    pub async fn learn_names(self: &Arc<Self>, folder: &Folder, pages_max: u32) {
        let known = self.cache.directory(folder);
        let sweep = {
            let mut here = known.lock();
            match here.interest.wants_names(Instant::now(), pages_max) {
                Next::Sweep if !self.rights(folder.bucket).may_list(folder) => {
                    return here.interest.sweep_failed(Instant::now());
                }
                Next::Sweep => self.begin_sweep(folder, &known, &mut here),
                _ if !here.interest.is_sweeping() => return,
                _ => {}
            }
            here.sweep.clone()
        };
        if let Some(mut sweep) = sweep {
            // Nothing is ever sent: it closes.
            sweep.changed().await.unwrap_or_default();
        }
    }

    fn begin_sweep(self: &Arc<Self>, folder: &Folder, known: &Arc<Mutex<Known>>, here: &mut Known) {
        let (under_way, ended) = watch::channel(());
        here.sweep = Some(ended);
        let sweep = sweep(Arc::clone(self), folder.clone(), Arc::clone(known), under_way);
        drop(self.tasks.spawn_until_stopped("sweep", sweep));
    }

    /// Asks about names before anybody else does, several at a time.
    ///
    /// An error is not lost: the name stays undescribed, and whoever asks about it meets it again.
    pub async fn describe(self: &Arc<Self>, folder: &Folder, names: &[FileName]) {
        if let Err(error) = self.settle_all(folder, names).await {
            tracing::debug!(prefix = %folder.prefix, %error, "names were asked about ahead in vain");
        }
    }
}

async fn described(namespace: Arc<Namespace>, folder: Folder, names: Vec<FileName>) {
    namespace.describe(&folder, &names).await;
}

/// Lists a directory, as far as interest in it lasts.
async fn sweep(
    namespace: Arc<Namespace>,
    folder: Folder,
    known: Arc<Mutex<Known>>,
    _under_way: watch::Sender<()>,
) {
    let listed = list(&namespace, &folder, &known).await;
    let interest = &mut known.lock().interest;
    match listed {
        Ok(()) => interest.swept(Instant::now()),
        Err(error) => {
            tracing::debug!(prefix = %folder.prefix, %error, "a directory cannot be listed ahead of questions");
            interest.sweep_failed(Instant::now());
        }
    }
}

async fn list(namespace: &Arc<Namespace>, folder: &Folder, known: &Mutex<Known>) -> Result<()> {
    let mut stream = DirectoryStream::listing(namespace, folder);
    let mut pages = 0;
    while stream.more(namespace).await? {
        if pages == 0 && known.lock().interest.is_in_attributes() {
            sample(namespace, folder, &stream);
        }
        pages += 1;
        if !known.lock().interest.justifies(pages) {
            break;
        }
    }
    Ok(())
}

/// Looks at the attributes of the first objects: if they have none of ours, the listing says all about the others.
fn sample(namespace: &Arc<Namespace>, folder: &Folder, stream: &DirectoryStream) {
    let files = stream.ready(0).iter().filter(|entry| entry.species == Species::File);
    let names = files.map(|entry| entry.name.clone()).take(super::cache::CENSUS_OBJECTS as usize).collect();
    drop(
        namespace
            .tasks
            .spawn_until_stopped("sample", described(Arc::clone(namespace), folder.clone(), names)),
    );
}
