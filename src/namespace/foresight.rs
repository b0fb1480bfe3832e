//! Asking ahead of questions: what [`interest`](super::interest) decides, done in the background.
//!
//! A lookup leaves word which name it had to ask about. If more of them are to be expected, the directory is listed,
//! or the attributes of the next names are asked for, beside the lookup's own requests; whoever asks about such a
//! name meanwhile shares the answer.

use std::sync::Arc;

use tokio::time::Instant;

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
        let known = self.cache.directory(folder);
        let mut known = known.lock();
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
            Next::Sweep => {
                let sweep = sweep(Arc::clone(self), folder.clone());
                drop(self.tasks.spawn_until_stopped("sweep", sweep));
            }
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
async fn sweep(namespace: Arc<Namespace>, folder: Folder) {
    let listed = list(&namespace, &folder).await;
    let known = namespace.cache.directory(&folder);
    let interest = &mut known.lock().interest;
    match listed {
        Ok(()) => interest.swept(Instant::now()),
        Err(error) => {
            tracing::debug!(prefix = %folder.prefix, %error, "a directory cannot be listed ahead of questions");
            interest.sweep_failed(Instant::now());
        }
    }
}

async fn list(namespace: &Arc<Namespace>, folder: &Folder) -> Result<()> {
    let mut stream = DirectoryStream::listing(namespace, folder);
    let mut pages = 0;
    while stream.more(namespace).await? {
        if pages == 0 {
            sample(namespace, folder, &stream);
        }
        pages += 1;
        if !namespace.cache.directory(folder).lock().interest.justifies(pages) {
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
