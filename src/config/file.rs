//! The configuration file, as written.
//!
//! ```toml
//! region = "eu-west-1"                    # above the first table: defaults for every mount
//!
//! [[mount]]                               # one table for each mount point
//! path = "/mnt/accountb"
//! role_arn = "arn:aws:iam::111122223333:role/assumed-accountb-role"
//! buckets = ["SampleBucketA", "photos=SampleBucketB/2024"]
//!
//! [[mount.bucket]]                        # a bucket with settings of its own
//! name = "SampleBucketC"
//! directory = "archive"
//! storage_class = "STANDARD_IA"
//! ```
//!
//! Values are only taken down here, each with its line; what they mean is decided where all
//! sources come together. A key that nobody knows is refused, for a setting that is silently
//! ignored is worse than none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::failure::{Failure, Place, Written};
use super::merge::Layer;
use super::options::{Key, OPTIONS, Scope, Shape, Spec};
use super::similar;

/// A configuration file, as written.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// Where it lies; none when there is no file.
    pub path: Option<PathBuf>,
    /// What holds for every mount.
    pub defaults: Layer,
    /// The mounts, in order.
    pub mounts: Vec<MountTable>,
}

/// A `[[mount]]` table.
#[derive(Debug, Clone)]
pub struct MountTable {
    /// The mount point.
    pub path: Written,
    /// What holds for this mount.
    pub layer: Layer,
    /// The buckets that have tables of their own.
    pub buckets: Vec<BucketTable>,
}

/// A `[[mount.bucket]]` table.
#[derive(Debug, Clone)]
pub struct BucketTable {
    /// The bucket's name.
    pub name: Written,
    /// Its directory below the mount point; none for the bucket's name.
    pub directory: Option<Written>,
    /// What of it is shown; none for all.
    pub prefix: Option<Written>,
    /// What holds for this bucket.
    pub layer: Layer,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or says something that nobody knows.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format!("the configuration file cannot be read: {error}"))
                .at(Place::File(path.into()))
        })?;
        Self::parse(path, &text)
    }

    /// Takes down the text of a file that lies at `path`.
    ///
    /// # Errors
    /// When it is not TOML, or says something that nobody knows.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let source = Source { path: path.into(), text };
        let root = DeTable::parse(text).map_err(|error| source.syntax_error(&error))?;
        let mut table = Table::new(&source, root.get_ref(), "the top level");
        let file = Self {
            path: Some(path.into()),
            mounts: table
                .tables("mount")?
                .iter()
                .map(|mount| source.mount(mount))
                .collect::<Result<_, _>>()?,
            defaults: table.layer(|spec| spec.key != Key::Bucket)?,
        };
        table.finish()?;
        Ok(file)
    }
}

/// The text being read, which knows its lines.
struct Source<'t> {
    path: Arc<Path>,
    text: &'t str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Place::Line(Arc::clone(&self.path), before.matches('\n').count() + 1)
    }

    fn syntax_error(&self, error: &toml::de::Error) -> Failure {
        let message = format!("the configuration file is not TOML: {}", error.message().trim_end());
        Failure::new(message.replace('\n', ", ")).at(self.place(error.span().map_or(0, |span| span.start)))
    }

    fn mount(&self, table: &Spanned<&DeTable<'_>>) -> Result<MountTable, Failure> {
        let place = self.place(table.span().start);
        let mut table = Table::new(self, table.get_ref(), "[[mount]]");
        let mount = MountTable {
            path: table.required("path", &place, "path = \"/mnt/accountb\"")?,
            buckets: table
                .tables("bucket")?
                .iter()
                .map(|bucket| self.bucket(bucket))
                .collect::<Result<_, _>>()?,
            layer: table.layer(|_| true)?,
        };
        table.finish()?;
        Ok(mount)
    }

    fn bucket(&self, table: &Spanned<&DeTable<'_>>) -> Result<BucketTable, Failure> {
        let place = self.place(table.span().start);
        let mut table = Table::new(self, table.get_ref(), "[[mount.bucket]]");
        let bucket = BucketTable {
            name: table.required("name", &place, "name = \"SampleBucketA\"")?,
            directory: table.one("directory")?,
            prefix: table.one("prefix")?,
            layer: table.layer(|spec| spec.scope == Scope::Bucket)?,
        };
        table.finish()?;
        Ok(bucket)
    }

    /// A value without structure, as text. Numbers keep their spelling, so that `0o644` stays octal.
    fn scalar(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Written, Failure> {
        let place = self.place(value.span().start);
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Integer(_) => self.text[value.span()].replace('_', ""),
            other => {
                let kind = other.type_str();
                return Err(Failure::new(format!("'{key}' cannot be of type {kind}")).at(place));
            }
        };
        Ok(Written::new(text, place))
    }
}

/// One table being taken down; what is left of it in the end is unknown.
struct Table<'s, 't> {
    source: &'s Source<'t>,
    name: &'static str,
    entries: BTreeMap<&'s str, (usize, &'s Spanned<DeValue<'s>>)>,
    known: Vec<String>,
}

impl<'s, 't> Table<'s, 't> {
    fn new(source: &'s Source<'t>, table: &'s DeTable<'s>, name: &'static str) -> Self {
        let entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), (key.span().start, value)));
        Self { source, name, entries: entries.collect(), known: Vec::new() }
    }

    fn take(&mut self, key: &str) -> Option<&'s Spanned<DeValue<'s>>> {
        self.known.push(key.to_owned());
        self.entries.remove(key).map(|(_, value)| value)
    }

    fn one(&mut self, key: &str) -> Result<Option<Written>, Failure> {
        self.take(key).map(|value| self.source.scalar(key, value)).transpose()
    }

    fn required(&mut self, key: &str, place: &Place, example: &str) -> Result<Written, Failure> {
        self.one(key)?.ok_or_else(|| {
            Failure::new(format!("{} lacks '{key}'", self.name))
                .at(place.clone())
                .hint(format!("add: {example}"))
        })
    }

    /// A list of values, where a single one may stand for itself.
    fn many(&mut self, key: &str) -> Result<Vec<Written>, Failure> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items.iter().map(|item| self.source.scalar(key, item)).collect(),
                _ => Ok(vec![self.source.scalar(key, value)?]),
            },
        }
    }

    /// An array of tables.
    fn tables(&mut self, key: &'static str) -> Result<Vec<Spanned<&'s DeTable<'s>>>, Failure> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let items = value.get_ref().as_array().ok_or_else(|| self.not_tables(key, value))?;
        let tables = items.iter().map(|item| match item.get_ref() {
            DeValue::Table(table) => Ok(Spanned::new(item.span(), table)),
            _ => Err(self.not_tables(key, item)),
        });
        tables.collect()
    }

    fn not_tables(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Failure {
        let place = self.source.place(value.span().start);
        let heading =
            if self.name == "[[mount]]" { format!("[[mount.{key}]]") } else { format!("[[{key}]]") };
        Failure::new(format!("'{key}' is not a list of tables"))
            .at(place)
            .hint(format!("begin it with {heading}"))
    }

    /// All settings that `allowed` lets stand here.
    fn layer(&mut self, allowed: impl Fn(&Spec) -> bool) -> Result<Layer, Failure> {
        let mut layer = Layer::default();
        for spec in OPTIONS.iter().filter(|spec| allowed(spec)) {
            let key = spec.file_key();
            let values = match spec.shape {
                Shape::Many => self.many(&key)?,
                Shape::One | Shape::Switch => self.one(&key)?.into_iter().collect(),
            };
            values.into_iter().for_each(|value| layer.add(spec.key, value));
        }
        Ok(layer)
    }

    /// Refuses the first entry that nobody has taken.
    fn finish(self) -> Result<(), Failure> {
        let Some((key, (offset, _))) = self.entries.into_iter().min_by_key(|(_, (offset, _))| *offset) else {
            return Ok(());
        };
        let failure =
            Failure::new(format!("unknown key '{key}' in {}", self.name)).at(self.source.place(offset));
        Err(match similar::closest(key, self.known.iter().map(String::as_str)) {
            Some(known) => failure.hint(format!("did you mean '{known}'?")),
            None if OPTIONS.iter().any(|spec| spec.file_key() == key) => failure.hint(match self.name {
                "the top level" => "it belongs into a [[mount]] table",
                _ => "it is about a whole mount: move it up into the [[mount]] table",
            }),
            None => failure.hint(format!("known here: {}", self.known.join(", "))),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Failure> {
        ConfigFile::parse(Path::new("c.toml"), text)
    }

    #[test]
    fn values_are_taken_down_with_their_lines() {
        let text = r#"
            region = "eu-west-1"
            file_mode = 0o640

            [[mount]]
            path = "/mnt/b"
            role_arn = "one"
            buckets = [
                "A",
                "x=B/2024",
            ]
            read_only = true

            [[mount.bucket]]
            name = "C"
            acl = "none"
        "#;
        let file = parse(text).unwrap();
        let mount = &file.mounts[0];
        let said = |layer: &Layer, key: Key| {
            let lines = layer.all(key).iter().map(|written| match &written.place {
                Place::Line(_, line) => (written.text.clone(), *line),
                other => panic!("{other}"),
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(said(&file.defaults, Key::Region), [("eu-west-1".to_owned(), 2)]);
        assert_eq!(said(&file.defaults, Key::FileMode), [("0o640".to_owned(), 3)]);
        assert_eq!(said(&mount.layer, Key::RoleArn), [("one".to_owned(), 7)]);
        assert_eq!(said(&mount.layer, Key::Bucket), [("A".to_owned(), 9), ("x=B/2024".to_owned(), 10)]);
        assert_eq!(said(&mount.layer, Key::ReadOnly), [("true".to_owned(), 12)]);
        assert_eq!(mount.buckets[0].name.text, "C");
        assert_eq!(said(&mount.buckets[0].layer, Key::Acl), [("none".to_owned(), 16)]);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_line() {
        let table = [
            ("a = [", 1, "not TOML", ""),
            ("x = 1\nx = 2", 2, "not TOML", ""),
            ("\nrol_arn = 'x'", 2, "unknown key 'rol_arn' in the top level", "did you mean 'role_arn'?"),
            ("xyzzy = 1", 1, "unknown key 'xyzzy'", "known here: mount, "),
            ("buckets = ['A']", 1, "unknown key 'buckets' in the top level", "[[mount]]"),
            ("[[mount]]\nrole_arn = 'x'", 1, "[[mount]] lacks 'path'", "path ="),
            ("[mount]\npath = '/m'", 1, "'mount' is not a list of tables", "[[mount]]"),
            ("[[mount]]\npath = '/m'\n[mount.bucket]\nname = 'A'", 3, "'bucket' is not", "[[mount.bucket]]"),
            ("[[mount]]\npath = '/m'\n[[mount.bucket]]\nacl = 'none'", 3, "lacks 'name'", "name ="),
            (
                "[[mount]]\npath = '/m'\n[[mount.bucket]]\nname = 'A'\nendpoint_url = 'x'",
                5,
                "unknown key 'endpoint_url'",
                "about a whole mount",
            ),
            ("region = 1.5", 1, "'region' cannot be of type float", ""),
            ("region = ['a']", 1, "'region' cannot be of type array", ""),
        ];
        for (text, line, message, hint) in table {
            let failure = parse(text).unwrap_err();
            assert!(failure.message.contains(message), "{text}: {failure}");
            assert_eq!(
                failure.place,
                Some(Place::Line(Path::new("c.toml").into(), line)),
                "{text}: {failure}"
            );
            assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {failure}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let failure = ConfigFile::read(Path::new("/nowhere/c.toml")).unwrap_err();
        assert_eq!(failure.place, Some(Place::File("/nowhere/c.toml".into())));
    }
}
