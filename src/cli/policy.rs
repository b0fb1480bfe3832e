//! `s3xmount policy`: the documents that the configured mount takes, for both accounts.

use std::io::{self, Write};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Stop, args};
use crate::config::{self, CommandLine, Failure, Place, Surroundings, Written};
use crate::policy::{self, Document, Kind, Rights, Way, Wish};

/// What was asked for.
#[derive(Debug)]
pub struct PolicyArgs {
    line: CommandLine,
    wish: Wish,
    kind: Option<Kind>,
    holder: Option<String>,
}

impl PolicyArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let written = |name: &str| {
            let text = args::texts(matches, name).next_back()?;
            Some(Written::new(text, Place::Flag(format!("--{name}"))))
        };
        let rights = written(RIGHTS)
            .map(|text| text.parse(|text| one_of(text, "rights", Rights::ALL, Rights::as_str)))
            .transpose()?;
        let way = written(WAY)
            .map(|text| text.parse(|text| one_of(text, "way", Way::ALL, Way::as_str)))
            .transpose()?;
        let kind = written(DOCUMENT)
            .map(|text| text.parse(|text| one_of(text, "document", Kind::ALL, Kind::as_str)))
            .transpose()?;
        Ok(Self {
            line: args::line_of_no_mount(matches)?,
            wish: Wish {
                rights: rights.unwrap_or(Rights::ReadWrite),
                way,
                principals: args::texts(matches, PRINCIPAL).map(str::to_owned).collect(),
            },
            kind,
            holder: written(OF).map(|written| written.text),
        })
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let own = [
        Arg::new(DOCUMENT).long(DOCUMENT).value_name("KIND").help(
            "Prints this document and nothing else, ready for file://: `trust`, `role`, `bucket` or `kms` [default: all, with headings]",
        ),
        Arg::new(OF).long(OF).value_name("NAME").help(
            "The bucket, role or key whose document it is, where there are several",
        ),
        Arg::new(RIGHTS).long(RIGHTS).value_name("RIGHTS").help(
            "How much is allowed: `minimal` (get and put objects with their ACL), `read-only` or `read-write` (with list, delete, abort) [default: read-write]",
        ),
        Arg::new(WAY).long(WAY).value_name("WAY").help(
            "How the buckets are reached: by `role`, or `direct` by those whom --principal names [default: role, if there is one]",
        ),
        Arg::new(PRINCIPAL).long(PRINCIPAL).value_name("ARN").action(ArgAction::Append).help(
            "Who may assume the role, or reaches the buckets directly: a user, a role, an account, a service such as ec2.amazonaws.com. Repeat for several",
        ),
    ];
    Command::new("policy")
        .about("Prints the policies for both accounts that the mount takes")
        .override_usage("s3xmount policy [OPTIONS] MOUNTPOINT [--document KIND]")
        .after_help(EXAMPLES)
        .args(own)
        .args(args::mount_args())
}

/// Prints the documents.
///
/// # Errors
/// When the settings do not say enough, or say more than one document where one was asked for.
pub fn run(asked: &PolicyArgs) -> Result<(), Stop> {
    let settings = config::load(&asked.line, &Surroundings::look()).map_err(Stop::Refused)?;
    let documents = policy::documents(&settings, &asked.wish).map_err(Stop::Refused)?;
    match asked.kind {
        None => documents.iter().enumerate().try_for_each(|(at, document)| {
            let space = if at == 0 { "" } else { "\n" };
            announce(&format!("{space}# {}", document.heading()));
            print(document)
        }),
        Some(kind) => print(the_one(&documents, kind, asked.holder.as_deref()).map_err(Stop::Refused)?),
    }
}

fn the_one<'d>(documents: &'d [Document], kind: Kind, holder: Option<&str>) -> Result<&'d Document, Failure> {
    let names = |document: &&Document, name: &str| {
        document.holder == name || document.holder.rsplit('/').next() == Some(name)
    };
    let of_kind: Vec<&Document> = documents.iter().filter(|document| document.kind == kind).collect();
    let fitting: Vec<&Document> =
        of_kind.iter().filter(|document| holder.is_none_or(|name| names(document, name))).copied().collect();
    let all = of_kind.iter().map(|document| document.holder.as_str()).collect::<Vec<_>>().join(", ");
    let kind = kind.as_str();
    match fitting.as_slice() {
        [one] => Ok(one),
        [] if all.is_empty() => Err(Failure::new(format!("the mount takes no document of the kind {kind}"))),
        [] => {
            Err(Failure::new(format!("there is no such {kind} document")).hint(format!("there are: {all}")))
        }
        _ => {
            Err(Failure::new(format!("which {kind} document?")).hint(format!("say --of with one of: {all}")))
        }
    }
}

/// The document goes to standard output, and nothing else does, so that it can go into a file.
fn print(document: &Document) -> Result<(), Stop> {
    for warning in &document.warnings {
        announce(&format!("s3xmount: {}: {warning}", document.heading()));
    }
    let printed = io::stdout().lock().write_all(document.text().as_bytes());
    printed.map_err(|error| Stop::Failed(Failure::new(format!("the policy cannot be printed: {error}"))))
}

#[expect(clippy::print_stderr, reason = "for the person; standard output is for the documents")]
fn announce(words: &str) {
    eprintln!("{words}");
}

fn one_of<T: Copy>(
    text: &str,
    what: &str,
    all: impl IntoIterator<Item = T>,
    spelled: impl Fn(T) -> &'static str,
) -> Result<T, Failure> {
    let all: Vec<T> = all.into_iter().collect();
    let known = all.iter().map(|one| spelled(*one)).collect::<Vec<_>>().join(", ");
    let found = all.into_iter().find(|one| spelled(*one) == text);
    found.ok_or_else(|| Failure::new(format!("'{text}' is no {what}")).hint(format!("there are: {known}")))
}

const DOCUMENT: &str = "document";
const OF: &str = "of";
const RIGHTS: &str = "rights";
const WAY: &str = "way";
const PRINCIPAL: &str = "principal";

const EXAMPLES: &str = "\
Examples:
  All documents of a configured mount:
    s3xmount policy /mnt/accountb

  In the account of the role:
    s3xmount policy /mnt/accountb --document role --rights minimal > role.json
    aws iam put-role-policy --role-name assumed-accountb-role --policy-name buckets \\
        --policy-document file://role.json

  In the account of the bucket:
    s3xmount policy /mnt/accountb --document bucket --of SampleBucketA > bucket.json
    aws s3api put-bucket-policy --bucket SampleBucketA --policy file://bucket.json";
