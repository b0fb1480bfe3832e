//! The text of a credentials file before, and after.
//!
//! Pure, over bytes. The format is that of the AWS tools (AWS SDKs and Tools reference guide, "Shared config
//! and credentials files") with the freedoms that Python's configparser adds, which the AWS CLI reads it with:
//! `:` for `=`, capitals in keys, and a line that is indented deeper than its key goes on with its value.

use crate::secret::SecretBuffer;

/// The profile holds keys that exist nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// Returns the text with these entries in the section `name`, which is added at the end if there is none.
///
/// Lines of the section that say the same things, also by older names, make room; all others stay.
///
/// # Errors
/// When the section holds other keys, and without a token: those of a user, which do not end and are not
/// to be had again.
pub(super) fn with_profile(text: &[u8], name: &str, entries: &[(&str, &str)]) -> Result<SecretBuffer, Lost> {
    let lines = parse(text);
    let of_section = |line: &Line<'_>| line.section == Some(name.as_bytes());
    if holds_lasting_keys(lines.iter().filter(|line| of_section(line)), entries) {
        return Err(Lost);
    }
    let is_replaced = |line: &Line<'_>| of_section(line) && line.is_about(&REPLACED);
    let first_replaced = lines.iter().position(is_replaced);
    let place = first_replaced.or_else(|| Some(lines.iter().position(of_section)? + 1));
    // Not deeper than the lines that follow, which would go on with our last value.
    let first_entry = || lines.iter().position(|line| of_section(line) && line.is_entry());
    let model = first_replaced.or_else(first_entry).map_or(b"".as_slice(), |at| lines[at].bytes);
    let style = Style { ending: line_ending(text), indent: &model[..indent(model)] };
    let mut edited = SecretBuffer::new();
    for (at, line) in lines.iter().enumerate() {
        if place == Some(at) {
            style.put(entries, &mut edited);
        }
        if !is_replaced(line) {
            edited.push(line.bytes);
        }
    }
    if place.is_none() {
        style.begin(name, &mut edited);
    }
    if place.is_none_or(|place| place == lines.len()) {
        style.put(entries, &mut edited);
    }
    Ok(edited)
}

/// How the lines look among which ours are put.
struct Style<'t> {
    ending: &'static [u8],
    indent: &'t [u8],
}

impl Style<'_> {
    /// Begins a section at the end of the file, after a blank line.
    fn begin(&self, name: &str, edited: &mut SecretBuffer) {
        self.end_line(edited);
        let last = edited.bytes().split_inclusive(|byte| *byte == b'\n').next_back();
        let gap = if last.is_none_or(|line| line.trim_ascii().is_empty()) { &[] } else { self.ending };
        [gap, b"[", name.as_bytes(), b"]", self.ending].iter().for_each(|part| edited.push(part));
    }

    fn put(&self, entries: &[(&str, &str)], edited: &mut SecretBuffer) {
        self.end_line(edited);
        for (key, value) in entries {
            let line = [self.indent, key.as_bytes(), b" = ", value.as_bytes(), self.ending];
            line.iter().for_each(|part| edited.push(part));
        }
    }

    /// The last line of a file may lack its end.
    fn end_line(&self, edited: &mut SecretBuffer) {
        if edited.bytes().last().is_some_and(|byte| *byte != b'\n') {
            edited.push(self.ending);
        }
    }
}

/// What ends the first line ends ours.
fn line_ending(text: &[u8]) -> &'static [u8] {
    let first = text.split_inclusive(|byte| *byte == b'\n').next();
    if first.is_some_and(|line| line.ends_with(b"\r\n")) { b"\r\n" } else { b"\n" }
}

/// Whether there are keys of a user in these lines, and others than those that are to be written.
fn holds_lasting_keys<'l, 't: 'l>(
    section: impl Iterator<Item = &'l Line<'t>>,
    entries: &[(&str, &str)],
) -> bool {
    let (mut lasting, mut token) = (false, false);
    for line in section {
        let Meaning::Entry { key, value } = line.meaning else { continue };
        if is_one_of(key, &TOKENS) {
            token |= !value.is_empty();
        } else if is_one_of(key, &[ID]) {
            let is_new = entries.iter().any(|(key, new)| *key == ID && new.as_bytes() == value);
            lasting |= !value.is_empty() && !is_new;
        }
    }
    lasting && !token
}

/// One line of the file, its end included.
struct Line<'t> {
    bytes: &'t [u8],
    /// The section that it lies in, or begins.
    section: Option<&'t [u8]>,
    meaning: Meaning<'t>,
}

#[derive(Clone, Copy)]
enum Meaning<'t> {
    /// A section begins.
    Header,
    /// A key and its value.
    Entry { key: &'t [u8], value: &'t [u8] },
    /// More of the value of this key.
    More { key: &'t [u8] },
    /// A comment, nothing, or something that nobody understands.
    Other,
}

impl Line<'_> {
    fn is_entry(&self) -> bool {
        matches!(self.meaning, Meaning::Entry { .. })
    }

    fn is_about(&self, keys: &[&str]) -> bool {
        match self.meaning {
            Meaning::Entry { key, .. } | Meaning::More { key } => is_one_of(key, keys),
            Meaning::Header | Meaning::Other => false,
        }
    }
}

fn is_one_of(key: &[u8], keys: &[&str]) -> bool {
    keys.iter().any(|other| key.eq_ignore_ascii_case(other.as_bytes()))
}

fn parse(text: &[u8]) -> Vec<Line<'_>> {
    let (mut section, mut open) = (None, None);
    let mut line = |bytes| {
        let meaning = meaning(bytes, open.map(|(key, indent)| Open { key, indent }));
        match meaning {
            Meaning::Header => (section, open) = (header(bytes), None),
            Meaning::Entry { key, .. } => open = Some((key, indent(bytes))),
            Meaning::More { .. } | Meaning::Other => {}
        }
        Line { bytes, section, meaning }
    };
    text.split_inclusive(|byte| *byte == b'\n').map(&mut line).collect()
}

/// The entry above a line, and how deep it is indented.
struct Open<'t> {
    key: &'t [u8],
    indent: usize,
}

fn meaning<'t>(line: &'t [u8], open: Option<Open<'t>>) -> Meaning<'t> {
    let words = line.trim_ascii();
    let split = words.iter().position(|byte| b"=:".contains(byte));
    match (words.first(), open, split) {
        (None | Some(b'#' | b';'), _, _) => Meaning::Other,
        (Some(_), Some(open), _) if indent(line) > open.indent => Meaning::More { key: open.key },
        (Some(b'['), _, _) if header(line).is_some() => Meaning::Header,
        (Some(_), _, Some(at)) => {
            Meaning::Entry { key: words[..at].trim_ascii(), value: words[at + 1..].trim_ascii() }
        }
        (Some(_), _, None) => Meaning::Other,
    }
}

/// The name between the brackets.
fn header(line: &[u8]) -> Option<&[u8]> {
    let inner = line.trim_ascii().strip_prefix(b"[")?;
    Some(inner[..inner.iter().position(|byte| *byte == b']')?].trim_ascii())
}

fn indent(line: &[u8]) -> usize {
    line.len() - line.trim_ascii_start().len()
}

const ID: &str = "aws_access_key_id";

/// The second is what boto called the token, and where it still stands it is preferred to the first.
const TOKENS: [&str; 2] = ["aws_session_token", "aws_security_token"];

/// What a session says, and so nobody else may.
const REPLACED: [&str; 5] = [ID, "aws_secret_access_key", TOKENS[0], TOKENS[1], "x_security_token_expires"];
