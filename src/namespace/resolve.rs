//! One name, and the requests that settle it.
//!
//! A name may be an object `x`, a directory `x/`, or both; then it is the directory, because a
//! directory has more to lose. Which requests go out depends on what the bucket has taught us (see
//! [`visibility`](super::visibility)):
//!
//! ```text
//!   listable    HEAD x  ∥  LIST x/ ──► HEAD x/ if the listing shows a marker
//!   doubtful    HEAD x  ∥  HEAD x/ ──► LIST x/ if neither is there and it is worth trying
//!   declared, or made here, and doubtful: HEAD x/ alone, for its attributes
//! ```
//!
//! LIST is asked with exactly the directory as its prefix, as that is what policies speak of. Where it is
//! refused, a directory shows only by its marker, and a refusal of HEAD may mean
//! "absent": S3 says 403 there so as not to tell. It reads as absent then ([`Presence::Unseen`]), unless the
//! [`witness`](super::witness) says otherwise, and whatever creates a file of that name commits
//! on the condition that there is none.
//!
//! Several callers who ask for one name at once share one set of requests.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::cache::{Answer, Marker, Presence};
use super::visibility::Outlook;
use super::{Folder, Namespace};
use crate::error::{Error, Kind, Result};
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::{Depth, ObjectMeta, Page, S3Error, S3ErrorKind};

/// Requests about names that are under way.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<(Folder, FileName), Flight>>);

/// One set of requests, and what came of it for all who wait.
type Flight = Arc<OnceCell<Result<Answer>>>;

impl Flights {
    /// Runs `settle` unless somebody does so for that name already, and shares the outcome.
    async fn join<F>(&self, folder: &Folder, name: &FileName, settle: F) -> Result<Answer>
    where
        F: Future<Output = Result<Answer>>,
    {
        let flight = (folder.clone(), name.clone());
        let cell = Arc::clone(self.0.lock().entry(flight.clone()).or_default());
        // Should the one who asks be cancelled, the cell lets the next in line ask instead.
        let answer = cell.get_or_init(|| settle).await.clone();
        let mut flights = self.0.lock();
        if flights.get(&flight).is_some_and(|landed| Arc::ptr_eq(landed, &cell)) {
            flights.remove(&flight);
        }
        answer
    }
}

impl Namespace {
    /// Settles what a name is, from the cache where it knows enough.
    pub(super) async fn settle(&self, folder: &Folder, name: &FileName) -> Result<Answer> {
        match self.cached(folder, name) {
            Some(answer) => Ok(answer),
            None => self.ask(folder, name).await,
        }
    }

    /// Settles what a name is now, whatever the cache says.
    pub(super) async fn ask(&self, folder: &Folder, name: &FileName) -> Result<Answer> {
        // Boxed: two requests at once are 50 KB of future, which every caller's would contain.
        self.flights.join(folder, name, Box::pin(self.ask_and_learn(folder, name))).await
    }

    async fn ask_and_learn(&self, folder: &Folder, name: &FileName) -> Result<Answer> {
        let asked = Instant::now();
        let presence = match self.cache.answer(folder, name).map(|answer| answer.presence) {
            // The kind is known and alive; only the description is wanted.
            Some(Presence::File(listed)) => self.describe_file(folder, name, listed).await?,
            Some(Presence::Directory(_)) => self.describe_directory(folder, name, asked).await?,
            Some(Presence::Absent | Presence::Unseen) | None => self.resolve(folder, name, asked).await?,
        };
        let answer = Answer { presence, asked };
        self.cache.learn(folder, name, answer.clone());
        Ok(answer)
    }

    async fn describe_file(&self, folder: &Folder, name: &FileName, listed: ObjectMeta) -> Result<Presence> {
        match self.ask_object(folder, &folder.prefix.file(name)?).await {
            Ok(meta) => Ok(Presence::File(meta)),
            Err(error) if error.kind() == S3ErrorKind::Absent => Ok(Presence::Absent),
            // It may be listed and not be read: the listing is all there is to know.
            Err(error) if matches!(error.kind(), S3ErrorKind::Denied | S3ErrorKind::KeyRefused) => {
                Ok(Presence::File(listed))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn describe_directory(&self, folder: &Folder, name: &FileName, asked: Instant) -> Result<Presence> {
        Ok(Presence::Directory(self.marker(&folder.folder(name)?, asked).await?))
    }

    async fn resolve(&self, folder: &Folder, name: &FileName, asked: Instant) -> Result<Presence> {
        let key = folder.prefix.file(name)?;
        // One byte longer than the key: at the very end of S3's limit there is only the file.
        let Ok(directory) = folder.folder(name) else {
            let head = self.ask_object(folder, &key).await;
            return self.without_directory(folder, head).await;
        };
        match self.rights(folder.bucket).outlook(folder, &directory) {
            Outlook::Listable => self.resolve_by_listing(folder, &key, &directory, asked).await,
            Outlook::Doubtful { .. } if self.pending.lock().has_directory(&directory) => {
                Ok(Presence::Directory(self.marker(&directory, asked).await?))
            }
            Outlook::Doubtful { worth_trying } => {
                self.resolve_by_objects(folder, &key, &directory, worth_trying, asked).await
            }
        }
    }

    async fn resolve_by_listing(
        &self,
        folder: &Folder,
        key: &ObjectKey,
        directory: &Folder,
        asked: Instant,
    ) -> Result<Presence> {
        // More keys than it takes to tell that there is a directory: whoever looks one up looks into it next.
        let list = self.list(directory, Depth::Level, None, KEYS_AT_ONCE);
        let (head, page) = tokio::join!(self.ask_object(folder, key), list);
        match page {
            Ok(page) if has_entries(&page) => {
                let has_marker = has_marker(&page, &directory.prefix);
                self.learn_first_page(directory, page, asked);
                match has_marker {
                    true => Ok(Presence::Directory(self.marker(directory, asked).await?)),
                    false => Ok(Presence::Directory(Marker::Missing { asked })),
                }
            }
            Ok(_) => self.without_directory(folder, head).await,
            Err(error) if error.kind() == S3ErrorKind::Denied => match self.marker(directory, asked).await? {
                Marker::Missing { .. } | Marker::Unasked => self.without_directory(folder, head).await,
                marker => Ok(Presence::Directory(marker)),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn resolve_by_objects(
        &self,
        folder: &Folder,
        key: &ObjectKey,
        directory: &Folder,
        worth_trying: bool,
        asked: Instant,
    ) -> Result<Presence> {
        let (head, marker) = tokio::join!(self.ask_object(folder, key), self.marker(directory, asked));
        if let marker @ Marker::Present { .. } = marker? {
            return Ok(Presence::Directory(marker));
        }
        // Who is told that something is absent may list, at least something.
        let is_told = matches!(&head, Err(error) if error.kind() == S3ErrorKind::Absent);
        let is_refused = matches!(&head, Err(error) if error.kind() == S3ErrorKind::Denied);
        if is_told || (is_refused && worth_trying) {
            match self.list(directory, Depth::Level, None, 1).await {
                Ok(page) if has_entries(&page) => return Ok(Presence::Directory(Marker::Missing { asked })),
                Err(error) if error.kind() != S3ErrorKind::Denied => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        self.without_directory(folder, head).await
    }

    /// What a name in `folder` is that is no directory as far as we can see, from what HEAD said of its key.
    async fn without_directory(
        &self,
        folder: &Folder,
        head: Result<ObjectMeta, S3Error>,
    ) -> Result<Presence> {
        let error = match head {
            Ok(meta) => return Ok(Presence::File(meta)),
            Err(error) => error,
        };
        match error.kind() {
            S3ErrorKind::Absent => Ok(Presence::Absent),
            S3ErrorKind::Denied if self.means_absence(folder).await => Ok(Presence::Unseen),
            _ => Err(error.into()),
        }
    }

    /// Whether a key in `folder` that was refused is to be taken for an absent one.
    async fn means_absence(&self, folder: &Folder) -> bool {
        !self.rights(folder.bucket).tells_absence(folder)
            && self.witnesses(folder.bucket).believe_absence(self.gateway(folder.bucket)).await
    }

    /// Asks for the marker of a directory. One that may not be seen is none.
    async fn marker(&self, directory: &Folder, asked: Instant) -> Result<Marker> {
        let Some(key) = directory.prefix.marker() else { return Ok(Marker::Missing { asked }) };
        match self.ask_object(directory, &key).await {
            Ok(meta) => Ok(Marker::Present { meta, asked }),
            Err(error)
                if matches!(
                    error.kind(),
                    S3ErrorKind::Absent | S3ErrorKind::Denied | S3ErrorKind::KeyRefused
                ) =>
            {
                Ok(Marker::Missing { asked })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for an object. One that could be read vouches for our right to read in its bucket.
    async fn ask_object(&self, folder: &Folder, key: &ObjectKey) -> Result<ObjectMeta, S3Error> {
        let head = self.gateway(folder.bucket).head(key).await;
        if head.is_ok() {
            self.witnesses(folder.bucket).add(key);
            self.rights(folder.bucket).admitted();
        }
        head
    }

    /// Asks for one object's description, whatever is cached, and learns from the answer.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is absent.
    pub(super) async fn head(&self, folder: &Folder, name: &FileName) -> Result<ObjectMeta> {
        let asked = Instant::now();
        let error = match self.ask_object(folder, &folder.prefix.file(name)?).await {
            Ok(meta) => {
                let presence = Presence::File(meta.clone());
                self.cache.learn(folder, name, Answer { presence, asked });
                return Ok(meta);
            }
            Err(error) => error,
        };
        let presence = match error.kind() {
            S3ErrorKind::Absent => Presence::Absent,
            S3ErrorKind::Denied if self.means_absence(folder).await => Presence::Unseen,
            _ => return Err(error.into()),
        };
        self.cache.learn(folder, name, Answer { presence, asked });
        Err(Error::caused(Kind::NotFound, "no such file", error))
    }
}

fn has_entries(page: &Page) -> bool {
    !page.objects.is_empty() || !page.prefixes.is_empty()
}

fn has_marker(page: &Page, prefix: &DirPrefix) -> bool {
    page.objects.first().is_some_and(|(key, _)| key == prefix.as_str())
}

/// Two would tell a marker from what is in the directory beside it. So many are most directories whole, and a
/// deep path is resolved with a request for each level and none for what is in it; a page of a thousand would come
/// later by as much as a second request takes.
const KEYS_AT_ONCE: u16 = 128;
