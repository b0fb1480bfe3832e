//! One name, and the requests that settle what it is.
//!
//! A name may be an object `x`, a directory `x/`, or both; then it is the directory, because a
//! directory has more to lose. HEAD of the key and LIST of the prefix go out together. Without
//! the right to list, a directory shows only by its marker, and a refusal of HEAD may mean
//! "absent": S3 says 403 there so as not to tell. It reads as absent then, unless the
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
use super::{Folder, Namespace};
use crate::error::Result;
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::{Depth, Gateway, ObjectMeta, Page, S3Error, S3ErrorKind};

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
            Some(Presence::Absent) | None => self.resolve(folder, name, asked).await?,
        };
        let answer = Answer { presence, asked };
        self.cache.learn(folder, name, answer.clone());
        Ok(answer)
    }

    async fn describe_file(&self, folder: &Folder, name: &FileName, listed: ObjectMeta) -> Result<Presence> {
        match self.gateway(folder.bucket).head(&folder.prefix.file(name)?).await {
            Ok(meta) => Ok(Presence::File(self.witnessed(folder, name, meta))),
            Err(error) if error.kind() == S3ErrorKind::Absent => Ok(Presence::Absent),
            // It may be listed and not be read: the listing is all there is to know.
            Err(error) if error.kind() == S3ErrorKind::Denied => Ok(Presence::File(listed)),
            Err(error) => Err(error.into()),
        }
    }

    async fn describe_directory(&self, folder: &Folder, name: &FileName, asked: Instant) -> Result<Presence> {
        let marker = self.marker(self.gateway(folder.bucket), &folder.prefix.directory(name)?, asked).await?;
        Ok(Presence::Directory(marker))
    }

    async fn resolve(&self, folder: &Folder, name: &FileName, asked: Instant) -> Result<Presence> {
        let gateway = self.gateway(folder.bucket);
        let key = folder.prefix.file(name)?;
        // One byte longer than the key: at the very end of S3's limit there is only the file.
        let Ok(prefix) = folder.prefix.directory(name) else {
            return of_head(gateway.head(&key).await);
        };
        // Two keys tell a marker from what is in the directory beside it.
        let (head, list) = tokio::join!(gateway.head(&key), gateway.list(&prefix, Depth::Level, None, 2));
        if head.is_ok() {
            self.witnesses(folder.bucket).add(&key);
        }
        match list {
            Ok(page) if has_entries(&page) => match has_marker(&page, &prefix) {
                true => Ok(Presence::Directory(self.marker(gateway, &prefix, asked).await?)),
                false => Ok(Presence::Directory(Marker::Missing { asked })),
            },
            Ok(_) => of_head(head),
            Err(error) if error.kind() == S3ErrorKind::Denied => {
                self.resolve_blindly(folder, &prefix, head, asked).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn resolve_blindly(
        &self,
        folder: &Folder,
        prefix: &DirPrefix,
        head: Result<ObjectMeta, S3Error>,
        asked: Instant,
    ) -> Result<Presence> {
        let gateway = self.gateway(folder.bucket);
        if let Marker::Present { meta, asked } = self.marker(gateway, prefix, asked).await? {
            return Ok(Presence::Directory(Marker::Present { meta, asked }));
        }
        match head {
            Err(error) if error.kind() == S3ErrorKind::Denied => {
                match self.witnesses(folder.bucket).believe_absence(gateway).await {
                    true => Ok(Presence::Absent),
                    false => Err(error.into()),
                }
            }
            head => of_head(head),
        }
    }

    /// Asks for the marker of a directory. One that may not be seen is none.
    async fn marker(&self, gateway: &Gateway, prefix: &DirPrefix, asked: Instant) -> Result<Marker> {
        let Some(key) = prefix.marker() else { return Ok(Marker::Missing { asked }) };
        match gateway.head(&key).await {
            Ok(meta) => Ok(Marker::Present { meta, asked }),
            Err(error) if matches!(error.kind(), S3ErrorKind::Absent | S3ErrorKind::Denied) => {
                Ok(Marker::Missing { asked })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// An object that could be read vouches for our right to read in its bucket.
    fn witnessed(&self, folder: &Folder, name: &FileName, meta: ObjectMeta) -> ObjectMeta {
        if let Ok(key) = folder.prefix.file(name) {
            self.witnesses(folder.bucket).add(&key);
        }
        meta
    }

    /// Asks for one object's description, whatever is cached, and learns from the answer.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound) when it is absent.
    pub(super) async fn head(&self, folder: &Folder, name: &FileName) -> Result<ObjectMeta> {
        let asked = Instant::now();
        let key: ObjectKey = folder.prefix.file(name)?;
        match self.gateway(folder.bucket).head(&key).await {
            Ok(meta) => {
                let meta = self.witnessed(folder, name, meta);
                let answer = Answer { presence: Presence::File(meta.clone()), asked };
                self.cache.learn(folder, name, answer);
                Ok(meta)
            }
            Err(error) => {
                if error.kind() == S3ErrorKind::Absent {
                    self.cache.learn(folder, name, Answer { presence: Presence::Absent, asked });
                }
                Err(error.into())
            }
        }
    }
}

fn of_head(head: Result<ObjectMeta, S3Error>) -> Result<Presence> {
    match head {
        Ok(meta) => Ok(Presence::File(meta)),
        Err(error) if error.kind() == S3ErrorKind::Absent => Ok(Presence::Absent),
        Err(error) => Err(error.into()),
    }
}

fn has_entries(page: &Page) -> bool {
    !page.objects.is_empty() || !page.prefixes.is_empty()
}

fn has_marker(page: &Page, prefix: &DirPrefix) -> bool {
    page.objects.first().is_some_and(|(key, _)| key == prefix.as_str())
}
