//! A refusal as a person reads it: what is wrong, where it was said, what to try.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a mount cannot be, in words for the person who asked for it.
///
/// Reads as one sentence, followed by the place and the hint on lines of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One sentence: what is wrong, and with what.
    pub message: String,
    /// Where the setting at fault was written.
    pub place: Option<Place>,
    /// What to try.
    pub hint: Option<String>,
}

impl Failure {
    /// Returns a failure without place and hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: None }
    }

    /// Says where the setting at fault was written.
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// Says what to try.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at: {place}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", hint.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// What went wrong inside, told without place and hint.
impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A flag, as it is spelled: `--role-arn`.
    Flag(String),
    /// A mount option: `role-arn` after `-o`.
    MountOption(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file.
    Line(Arc<Path>, usize),
    /// The configuration file as a whole.
    File(PathBuf),
    /// An argument without a name of its own, such as the mount point.
    Argument(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(text) | Self::Variable(text) => f.write_str(text),
            Self::MountOption(text) => write!(f, "-o {text}"),
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Argument(text) => write!(f, "the argument {text}"),
        }
    }
}

/// One value as somebody wrote it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The value, not yet understood.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Written {
    /// Takes down what was written at `place`.
    pub fn new(text: impl Into<String>, place: Place) -> Self {
        Self { text: text.into(), place }
    }

    /// Understands the value by `parse`; what `parse` refuses is refused at this place.
    ///
    /// # Errors
    /// Those of `parse`.
    pub fn parse<T, E: Into<Failure>>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, Failure> {
        parse(&self.text).map_err(|error| error.into().at(self.place.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_sentence_place_and_hint() {
        let failure = Failure::new("the flower pot is full")
            .at(Place::Line(Path::new("/etc/pot.toml").into(), 12))
            .hint("empty it,\nor buy a larger one");
        let text =
            "the flower pot is full\n  at: /etc/pot.toml:12\n  hint: empty it,\n        or buy a larger one";
        assert_eq!(failure.to_string(), text);
    }

    #[test]
    fn what_a_parser_refuses_is_refused_at_the_place_of_the_value() {
        let written = Written::new("x", Place::Variable("S3XMOUNT_UID".into()));
        let refused = written.parse(|_| Err::<(), _>(Failure::new("no"))).err();
        assert_eq!(refused.and_then(|failure| failure.place), Some(written.place));
    }
}
