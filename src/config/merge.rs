//! Who wins.
//!
//! A setting may be written in several places. The first of these that mentions it decides:
//!
//! 1. the command line (flags and `-o` are one place),
//! 2. the environment,
//! 3. the file: the `[[mount.bucket]]` table, then the `[[mount]]` table, then the top of the file,
//! 4. the default.
//!
//! Lists are not added up: a list on the command line replaces the one in the file.

use std::collections::BTreeMap;

use super::failure::{Failure, Place, Written};
use super::options::{Key, OPTIONS, Shape, VARIABLE_PREFIX};
use super::similar;
use super::surroundings::Surroundings;
use super::units;

/// What one source says.
#[derive(Debug, Clone, Default)]
pub struct Layer(BTreeMap<Key, Vec<Written>>);

impl Layer {
    /// Takes down one more value.
    pub fn add(&mut self, key: Key, value: Written) {
        self.0.entry(key).or_default().push(value);
    }

    /// All values of a setting, in order.
    pub fn all(&self, key: Key) -> &[Written] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The one value of a setting.
    ///
    /// # Errors
    /// When the source contradicts itself.
    pub fn one(&self, key: Key) -> Result<Option<&Written>, Failure> {
        let values = self.all(key);
        match values.iter().find(|value| value.text != values[0].text) {
            None => Ok(values.first()),
            Some(other) => {
                let (name, first) = (key.spec().name, &values[0].text);
                let message =
                    format!("{name} is given twice and differently: '{first}' and '{}'", other.text);
                Err(Failure::new(message).at(other.place.clone()).hint("leave one of them away"))
            }
        }
    }

    /// What the environment says.
    ///
    /// # Errors
    /// When a variable with our prefix is none of ours: it was meant to set something.
    pub fn of_environment(around: &Surroundings) -> Result<Self, Failure> {
        let mut layer = Self::default();
        for (name, text) in around.variables.range(VARIABLE_PREFIX.to_owned()..) {
            let Some(suffix) = name.strip_prefix(VARIABLE_PREFIX) else { break };
            let place = Place::Variable(name.clone());
            match OPTIONS.iter().find(|spec| spec.variable() == *name) {
                Some(spec) if spec.shape == Shape::Many => {
                    text.split_whitespace()
                        .for_each(|item| layer.add(spec.key, Written::new(item, place.clone())));
                }
                Some(spec) if !text.is_empty() => layer.add(spec.key, Written::new(text, place)),
                Some(_) => {}
                None if is_not_for_us(suffix) => {}
                None => return Err(unknown_variable(name).at(place)),
            }
        }
        Ok(layer)
    }
}

/// Whether a variable with our prefix is meant for somebody else.
///
/// `CONFIG` is read before any file can be; `ASKED` is how this program recognises itself; `BIN` is what scripts call the path of this program. The other shapes are those that Kubernetes gives to every
/// container for a service that happens to be called s3xmount, and those of our own tests.
fn is_not_for_us(suffix: &str) -> bool {
    ["CONFIG", "BIN", "PORT", "ASKED"].contains(&suffix)
        || ["TEST_", "SERVICE_", "PORT_"].iter().any(|start| suffix.starts_with(start))
}

fn unknown_variable(name: &str) -> Failure {
    let known: Vec<String> = OPTIONS.iter().map(|spec| spec.variable()).collect();
    let failure = Failure::new(format!("there is no setting for the variable {name}"));
    match similar::closest(name, known.iter().map(String::as_str)) {
        Some(known) => failure.hint(format!("did you mean {known}?")),
        None => failure.hint("variables are named as the flags are: S3XMOUNT_ROLE_ARN is --role-arn"),
    }
}

/// All sources of one mount, strongest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The command line.
    pub flags: &'a Layer,
    /// The environment.
    pub variables: &'a Layer,
    /// The bucket's table in the file.
    pub bucket: Option<&'a Layer>,
    /// The mount's table in the file.
    pub mount: Option<&'a Layer>,
    /// The top of the file.
    pub defaults: &'a Layer,
}

impl<'a> Layers<'a> {
    /// The same sources, with those of one bucket's table.
    pub fn with_bucket(self, bucket: &'a Layer) -> Self {
        Self { bucket: Some(bucket), ..self }
    }

    /// All values of a list, from the strongest source that mentions it.
    pub fn all(&self, key: Key) -> &'a [Written] {
        self.in_order().map(|layer| layer.all(key)).find(|values| !values.is_empty()).unwrap_or(&[])
    }

    /// The value of a setting from the strongest source that mentions it.
    ///
    /// # Errors
    /// When that source contradicts itself.
    pub fn one(&self, key: Key) -> Result<Option<&'a Written>, Failure> {
        for layer in self.in_order() {
            if let Some(value) = layer.one(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The value of a setting, understood by `parse`.
    ///
    /// # Errors
    /// Those of `parse`, at the place of the value.
    pub fn value<T>(
        &self,
        key: Key,
        parse: impl FnOnce(&str) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        self.one(key)?.map(|written| written.parse(parse)).transpose()
    }

    /// The state of a switch, off when nobody mentions it.
    ///
    /// # Errors
    /// When its value is neither yes nor no.
    pub fn switch(&self, key: Key) -> Result<bool, Failure> {
        Ok(self.value(key, units::switch)?.unwrap_or(false))
    }

    /// Where a setting was written about this very mount, not as a default for all.
    pub fn said_of_this_mount(&self, key: Key) -> Option<&'a Place> {
        let narrow = [Some(self.flags), self.bucket, self.mount];
        narrow.into_iter().flatten().find_map(|layer| layer.all(key).first()).map(|written| &written.place)
    }

    fn in_order(&self) -> impl Iterator<Item = &'a Layer> + use<'a> {
        let layers = [Some(self.flags), Some(self.variables), self.bucket, self.mount, Some(self.defaults)];
        layers.into_iter().flatten()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn layer(values: &[&str]) -> Layer {
        let mut layer = Layer::default();
        for value in values {
            layer.add(Key::Acl, Written::new(*value, Place::Flag("--acl".into())));
        }
        layer
    }

    #[test]
    fn each_source_outranks_those_after_it() {
        let sources = ["flags", "variables", "bucket", "mount", "defaults"].map(|name| layer(&[name]));
        let silent = Layer::default();
        // From the strongest on, one source after the other falls silent.
        for strongest in 0..=sources.len() {
            let source = |i: usize| if i < strongest { &silent } else { &sources[i] };
            let layers = Layers {
                flags: source(0),
                variables: source(1),
                bucket: Some(source(2)),
                mount: Some(source(3)),
                defaults: source(4),
            };
            let expected = sources.get(strongest).map(|layer| layer.one(Key::Acl).unwrap().unwrap());
            assert_eq!(layers.one(Key::Acl).unwrap(), expected);
            assert_eq!(layers.all(Key::Acl).first(), expected);
        }
    }

    #[test]
    fn a_source_may_repeat_itself_but_not_contradict_itself() {
        assert!(layer(&["private", "private"]).one(Key::Acl).is_ok());
        let failure = layer(&["private", "none"]).one(Key::Acl).unwrap_err();
        assert_eq!(failure.message, "acl is given twice and differently: 'private' and 'none'");
    }

    fn environment(name: &str, value: &str) -> Result<Layer, Failure> {
        let variables = [(name.to_owned(), value.to_owned())].into();
        Layer::of_environment(&Surroundings { variables, ..Surroundings::default() })
    }

    #[test]
    fn variables_are_named_as_the_flags_are() {
        let layer = environment("S3XMOUNT_ROLE_ARN", "one two").unwrap();
        let texts: Vec<&str> = layer.all(Key::RoleArn).iter().map(|written| written.text.as_str()).collect();
        assert_eq!(texts, ["one", "two"]);
        assert!(environment("S3XMOUNT_ACL", "").unwrap().all(Key::Acl).is_empty(), "empty means unset");
    }

    #[test]
    fn an_unknown_variable_of_ours_is_refused() {
        let failure = environment("S3XMOUNT_READONLY", "1").unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("did you mean S3XMOUNT_READ_ONLY?"));
        for name in ["S3XMOUNT_PORT_80_TCP", "S3XMOUNT_SERVICE_HOST", "S3XMOUNT_CONFIG", "S3XMOUNTS", "PATH"]
        {
            assert!(environment(name, "x").is_ok(), "{name}");
        }
    }
}
