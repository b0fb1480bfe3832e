//! IAM policy documents: parsed once, then asked.
//!
//! A document is one of three kinds, and each kind has its own parser because each has its
//! own grammar: an *identity* policy hangs on a user or role and names no principal, a
//! *bucket* policy names principals and resources, a *trust* policy names principals only.
//! Asking a document gives a [`Verdict`]; how the verdicts of several documents combine is
//! [`access`](super::access)'s business.
//!
//! Whatever the emulator does not model (other operators, policy variables, `NotPrincipal`)
//! is refused while parsing. A condition that was silently skipped would make a test pass
//! that AWS would fail. The conditions have a file of their own.
//!
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>.

mod condition;

use std::fmt;

use serde_json::{Map, Value};

pub use self::condition::Context;

use self::condition::Condition;
use super::identity::{AccountId, Identity};

/// A policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    statements: Vec<Statement>,
    document: String,
}

/// One question: may this caller do this to that?
#[derive(Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub caller: &'a Identity,
    /// What for, such as `s3:GetObject`.
    pub action: &'a str,
    /// To what, as an ARN.
    pub resource: &'a str,
    /// The values that conditions look at.
    pub context: &'a Context,
}

/// What one document says to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No statement applies.
    Silent,
    /// A statement allows it to the caller's whole account: that account's own policies
    /// must still hand it on to the caller.
    AllowAccount,
    /// A statement allows it to the caller in person.
    Allow,
    /// A statement forbids it, which no other statement can undo.
    Deny,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

#[derive(Debug, Clone)]
struct Statement {
    effect: Effect,
    /// `None` in identity policies, whose principal is whoever they hang on.
    principals: Option<Vec<Principal>>,
    actions: Patterns,
    /// `None` in trust policies, whose resource is the role they hang on.
    resources: Option<Patterns>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principal {
    Anyone,
    Account(AccountId),
    Arn(String),
    /// An identity provider, by its ARN: whoever has a token of it.
    Federated(String),
    /// A service such as `ec2.amazonaws.com`; no caller of the emulator is one.
    Service,
}

/// `Action`/`Resource`, or with `except` their `Not` forms.
#[derive(Debug, Clone)]
struct Patterns {
    except: bool,
    patterns: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Identity,
    Bucket,
    Trust,
}

impl Policy {
    /// Parses the policy of a user or role, or a session policy.
    pub fn identity(document: &Value) -> Result<Self, Malformed> {
        Self::parse(document, Kind::Identity)
    }

    /// Parses a bucket policy.
    pub fn bucket(document: &Value) -> Result<Self, Malformed> {
        Self::parse(document, Kind::Bucket)
    }

    /// Parses the policy of a KMS key, whose grammar is that of a bucket's; `*` is the key itself there.
    pub fn key(document: &Value) -> Result<Self, Malformed> {
        Self::parse(document, Kind::Bucket)
    }

    /// Parses a role's trust policy.
    pub fn trust(document: &Value) -> Result<Self, Malformed> {
        Self::parse(document, Kind::Trust)
    }

    /// Returns what this document says: a denial if any statement denies, else the widest allowance.
    pub fn verdict(&self, question: &Question<'_>) -> Verdict {
        self.statements.iter().map(|statement| statement.verdict(question)).max().unwrap_or(Verdict::Silent)
    }

    /// Returns the document as it was given.
    pub fn document(&self) -> &str {
        &self.document
    }

    fn parse(document: &Value, kind: Kind) -> Result<Self, Malformed> {
        let fields = object(document, "a policy")?;
        known_fields(fields, &["Version", "Id", "Statement"])?;
        let statements = match fields.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(single @ Value::Object(_)) => vec![single],
            _ => return Err(Malformed::new("Statement must be an object or a list of objects")),
        };
        let statements = statements.into_iter().map(|one| Statement::parse(one, kind));
        Ok(Self { statements: statements.collect::<Result<_, _>>()?, document: document.to_string() })
    }
}

impl Verdict {
    /// Whether this allows, be it through the caller's account.
    pub fn allows(self) -> bool {
        matches!(self, Self::Allow | Self::AllowAccount)
    }
}

impl Statement {
    fn verdict(&self, question: &Question<'_>) -> Verdict {
        let applies = self.actions.cover(&question.action.to_ascii_lowercase())
            && self.resources.as_ref().is_none_or(|resources| resources.cover(question.resource))
            && self.conditions.iter().all(|condition| condition.holds(question.context));
        match (self.reach(question.caller), self.effect) {
            (Some(_), Effect::Deny) if applies => Verdict::Deny,
            (Some(allowance), Effect::Allow) if applies => allowance,
            _ => Verdict::Silent,
        }
    }

    /// How closely the principals name the caller, if they do.
    fn reach(&self, caller: &Identity) -> Option<Verdict> {
        match &self.principals {
            None => Some(Verdict::Allow),
            Some(principals) => principals.iter().filter_map(|principal| principal.reach(caller)).max(),
        }
    }

    fn parse(statement: &Value, kind: Kind) -> Result<Self, Malformed> {
        let fields = object(statement, "a statement")?;
        known_fields(
            fields,
            &["Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"],
        )?;
        let effect = match fields.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(Malformed::new("Effect must be Allow or Deny")),
        };
        let principals = match (fields.get("Principal"), kind) {
            (None, Kind::Identity) => None,
            (Some(principal), Kind::Bucket | Kind::Trust) => Some(Principal::parse_all(principal, kind)?),
            (Some(_), Kind::Identity) => return Err(Malformed::new("an identity policy has no Principal")),
            (None, _) => return Err(Malformed::new("a resource policy needs a Principal")),
        };
        let mut actions = Patterns::parse(fields, "Action", "NotAction")?
            .ok_or_else(|| Malformed::new("a statement needs an Action or NotAction"))?;
        actions.patterns.iter_mut().for_each(|action| action.make_ascii_lowercase());
        let resources = match (Patterns::parse(fields, "Resource", "NotResource")?, kind) {
            (None, Kind::Trust) => None,
            (Some(resources), Kind::Identity | Kind::Bucket) => Some(resources),
            (Some(_), Kind::Trust) => return Err(Malformed::new("a trust policy has no Resource")),
            (None, _) => return Err(Malformed::new("a statement needs a Resource or NotResource")),
        };
        let conditions = match fields.get("Condition") {
            None => Vec::new(),
            Some(conditions) => Condition::parse_all(conditions, kind)?,
        };
        Ok(Self { effect, principals, actions, resources, conditions })
    }
}

impl Principal {
    fn reach(&self, caller: &Identity) -> Option<Verdict> {
        match self {
            Self::Anyone => Some(Verdict::Allow),
            Self::Service => None,
            Self::Account(account) if caller.account() != Some(*account) => None,
            // Naming an account trusts its administrator; the root user is that administrator.
            Self::Account(_) if matches!(caller, Identity::Root { .. }) => Some(Verdict::Allow),
            Self::Account(_) => Some(Verdict::AllowAccount),
            Self::Arn(arn) => {
                (*arn == caller.arn() || *arn == caller.principal_arn()).then_some(Verdict::Allow)
            }
            Self::Federated(arn) => {
                let is_theirs = matches!(caller, Identity::Web { provider_arn, .. } if provider_arn == arn);
                is_theirs.then_some(Verdict::Allow)
            }
        }
    }

    fn parse_all(principal: &Value, policy: Kind) -> Result<Vec<Self>, Malformed> {
        if principal.as_str() == Some("*") {
            return Ok(vec![Self::Anyone]);
        }
        let mut principals = Vec::new();
        for (kind, names) in object(principal, "Principal")? {
            for name in strings(names)? {
                principals.push(match kind.as_str() {
                    "AWS" => Self::parse_aws(&name)?,
                    "Service" => Self::Service,
                    "Federated" if policy == Kind::Trust && name.contains(":oidc-provider/") => {
                        Self::Federated(name)
                    }
                    other => {
                        return Err(Malformed::new(format!("principals of kind {other} are not modelled")));
                    }
                });
            }
        }
        Ok(principals)
    }

    fn parse_aws(name: &str) -> Result<Self, Malformed> {
        if name == "*" {
            return Ok(Self::Anyone);
        }
        let root = name.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
        if let Some(account) = AccountId::parse(root.unwrap_or(name)) {
            return Ok(Self::Account(account));
        }
        let is_arn = name.starts_with("arn:aws:iam::") || name.starts_with("arn:aws:sts::");
        if !is_arn || name.contains(['*', '?']) {
            return Err(Malformed::new(format!("Invalid principal in policy: {name}")));
        }
        Ok(Self::Arn(name.to_owned()))
    }
}

impl Patterns {
    fn cover(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, text)) != self.except
    }

    fn parse(fields: &Map<String, Value>, name: &str, not_name: &str) -> Result<Option<Self>, Malformed> {
        match (fields.get(name), fields.get(not_name)) {
            (Some(patterns), None) => Ok(Some(Self { except: false, patterns: strings(patterns)? })),
            (None, Some(patterns)) => Ok(Some(Self { except: true, patterns: strings(patterns)? })),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Malformed::new(format!("{name} and {not_name} exclude each other"))),
        }
    }
}

impl Malformed {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Whether `text` fits `pattern`, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when what follows the last star did not fit: behind it, one character later.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (mut pattern_next, mut text_next) = (pattern.clone(), text.clone());
        match (pattern_next.next(), text_next.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern_next.clone(), text.clone()));
                pattern = pattern_next;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, text) = (pattern_next, text_next);
            }
            _ => {
                let Some((after_star, mut swallowed)) = retry.take() else { return false };
                if swallowed.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), swallowed.clone());
                retry = Some((after_star, swallowed));
            }
        }
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, Malformed> {
    value.as_object().ok_or_else(|| Malformed::new(format!("{what} must be an object")))
}

fn known_fields(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Malformed> {
    match fields.keys().find(|field| !known.contains(&field.as_str())) {
        Some(field) => Err(Malformed::new(format!("{field} is not modelled"))),
        None => Ok(()),
    }
}

/// A string or a list of them.
fn strings(value: &Value) -> Result<Vec<String>, Malformed> {
    let one = |value: &Value| match value {
        Value::String(text) if text.contains("${") => {
            Err(Malformed::new("policy variables are not modelled"))
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err(Malformed::new("expected a string or a list of strings")),
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: AccountId = AccountId::new(111_111_111_111);

    fn alice() -> Identity {
        Identity::User { account: A, name: "alice".to_owned() }
    }

    fn session() -> Identity {
        Identity::RoleSession { account: A, role: "reader".to_owned(), session: "s1".to_owned() }
    }

    fn ask(policy: &Policy, caller: &Identity, action: &str, resource: &str, context: &Context) -> Verdict {
        policy.verdict(&Question { caller, action, resource, context })
    }

    #[test]
    fn wildcards_match_as_a_person_expects() {
        let rows = [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*/logs/*", "a/b/logs/c", true),
            ("a*b*c", "a-b-b-c", true),
            ("s3:Get*", "s3:GetObject", true),
            ("s3:Get*", "s3:PutObject", false),
            ("?", "ü", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_explicit_denial_wins_over_any_allowance() {
        let policy = Policy::identity(&json!({"Statement": [
            {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"},
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
        ]}));
        let policy = policy.expect("it is well-formed");
        let ask = |action, resource| ask(&policy, &alice(), action, resource, &Context::default());
        assert_eq!(ask("s3:GetObject", "arn:aws:s3:::b/k"), Verdict::Allow);
        assert_eq!(ask("S3:getobject", "arn:aws:s3:::b/k"), Verdict::Allow, "actions have no case");
        assert_eq!(ask("s3:DeleteObject", "arn:aws:s3:::b/k"), Verdict::Deny);
        assert_eq!(ask("s3:GetObject", "arn:aws:s3:::B/k"), Verdict::Silent, "resources do");
    }

    #[test]
    fn not_forms_cover_everything_else() {
        let policy = Policy::identity(&json!({"Statement": {
            "Effect": "Allow", "NotAction": "s3:Delete*", "NotResource": "arn:aws:s3:::b/private/*",
        }}));
        let policy = policy.expect("it is well-formed");
        let ask = |action, resource| ask(&policy, &alice(), action, resource, &Context::default());
        assert_eq!(ask("s3:GetObject", "arn:aws:s3:::b/k"), Verdict::Allow);
        assert_eq!(ask("s3:DeleteObject", "arn:aws:s3:::b/k"), Verdict::Silent);
        assert_eq!(ask("s3:GetObject", "arn:aws:s3:::b/private/k"), Verdict::Silent);
    }

    #[test]
    fn principals_name_people_closely_or_by_account() {
        let rows = [
            (json!("*"), &alice(), Verdict::Allow),
            (json!("*"), &Identity::Anonymous, Verdict::Allow),
            (json!({"AWS": "*"}), &session(), Verdict::Allow),
            (json!({"AWS": "111111111111"}), &alice(), Verdict::AllowAccount),
            (json!({"AWS": "arn:aws:iam::111111111111:root"}), &alice(), Verdict::AllowAccount),
            (json!({"AWS": "111111111111"}), &Identity::Root { account: A }, Verdict::Allow),
            (json!({"AWS": "222222222222"}), &alice(), Verdict::Silent),
            (json!({"AWS": "arn:aws:iam::111111111111:user/alice"}), &alice(), Verdict::Allow),
            (json!({"AWS": "arn:aws:iam::111111111111:user/bob"}), &alice(), Verdict::Silent),
            (
                json!({"AWS": ["arn:aws:iam::111111111111:role/reader", "222222222222"]}),
                &session(),
                Verdict::Allow,
            ),
            (json!({"AWS": "arn:aws:sts::111111111111:assumed-role/reader/s1"}), &session(), Verdict::Allow),
            (json!({"AWS": "arn:aws:sts::111111111111:assumed-role/reader/s2"}), &session(), Verdict::Silent),
            (json!({"Service": "ec2.amazonaws.com"}), &session(), Verdict::Silent),
        ];
        for (principal, caller, expected) in rows {
            let policy = Policy::bucket(&json!({"Statement": [
                {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "*"},
            ]}));
            let policy = policy.expect("it is well-formed");
            assert_eq!(
                ask(&policy, caller, "s3:GetObject", "arn:aws:s3:::b/k", &Context::default()),
                expected,
                "{principal}"
            );
        }
    }

    #[test]
    fn what_is_not_modelled_is_refused_while_parsing() {
        let with = |key: &str, value: Value| {
            let mut statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
            statement[key] = value;
            Policy::identity(&json!({"Statement": [statement]}))
        };
        assert!(with("Sid", json!("fine")).is_ok());
        let refused = [
            with("Principal", json!("*")),
            with("NotPrincipal", json!("*")),
            with("NotAction", json!("s3:*")),
            with("Effect", json!("Maybe")),
            with("Resource", json!("arn:aws:s3:::b/${aws:username}/*")),
            with("Condition", json!({"NumericLessThan": {"s3:max-keys": 10}})),
            with("Condition", json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}})),
        ];
        for (row, policy) in refused.into_iter().enumerate() {
            assert!(policy.is_err(), "row {row}");
        }
        let wild = json!({"Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:user/*"}, "Action": "s3:*", "Resource": "*",
        }]});
        assert!(Policy::bucket(&wild).is_err(), "a principal is named in full or not at all");
        let federated = |provider: &str, resource: Option<&str>| {
            let mut statement =
                json!({"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:*"});
            match resource {
                Some(resource) => {
                    statement["Resource"] = json!(resource);
                    Policy::bucket(&json!({"Statement": statement}))
                }
                None => Policy::trust(&json!({"Statement": statement})),
            }
        };
        let oidc = "arn:aws:iam::111111111111:oidc-provider/oidc.example.com";
        assert!(federated(oidc, None).is_ok());
        assert!(federated(oidc, Some("*")).is_err(), "a token opens roles alone");
        assert!(federated("arn:aws:iam::111111111111:saml-provider/x", None).is_err());
    }
}
