//! Conditions of policy statements: operators, and the keys that requests carry.
//!
//! A key that a request does not carry makes an operator fail, a negated one hold, and one that
//! ends in `IfExists` hold. Keys with several values ([`SEVERAL`]) are asked with `ForAllValues:`
//! or `ForAnyValue:`; AWS takes them without, too, and then does what nobody expects, so the
//! emulator does not.
//!
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Kind, Malformed, matches, object, strings};

/// Condition keys and their values in one request; keys compare without case.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Invariant: no key is without a value.
    values: BTreeMap<String, Vec<String>>,
}

/// One line of a statement's conditions.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    quantifier: Quantifier,
    operator: Operator,
    /// Negated operators hold when the key is absent and when *none* of the values matches.
    negated: bool,
    if_exists: bool,
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// The key has one value.
    One,
    /// `ForAllValues`, which holds for a key without values.
    All,
    /// `ForAnyValue`, which does not.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equals,
    EqualsIgnoreCase,
    Like,
    Bool,
    Null,
    Number(Relation),
}

/// How the request's number lies to the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Context {
    /// Adds a value to look at.
    pub fn with(self, key: &str, value: impl Into<String>) -> Self {
        self.with_all(key, [value.into()])
    }

    /// Adds a value to look at, if there is one.
    pub fn with_some(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds several values of one key, if there are any.
    pub fn with_all(mut self, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        if !values.is_empty() {
            self.values.insert(key.to_ascii_lowercase(), values);
        }
        self
    }

    fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Condition {
    pub(super) fn holds(&self, context: &Context) -> bool {
        let values = context.values(&self.key);
        if self.operator == Operator::Null {
            return self
                .values
                .iter()
                .any(|wanted| wanted == if values.is_empty() { "true" } else { "false" });
        }
        match self.quantifier {
            _ if values.is_empty() && self.if_exists => true,
            // "If the key that you specify in a policy condition is not present in the request
            // context, the values do not match", which a negated operator turns into a match.
            Quantifier::One if values.is_empty() => self.negated,
            Quantifier::One | Quantifier::All => values.iter().all(|value| self.holds_for(value)),
            Quantifier::Any => values.iter().any(|value| self.holds_for(value)),
        }
    }

    fn holds_for(&self, value: &str) -> bool {
        self.values.iter().any(|wanted| self.operator.matches(wanted, value)) != self.negated
    }

    pub(super) fn parse_all(conditions: &Value, policy: Kind) -> Result<Vec<Self>, Malformed> {
        let mut parsed = Vec::new();
        for (name, keys) in object(conditions, "Condition")? {
            for (key, values) in object(keys, "a condition operator")? {
                parsed.push(Self::parse(name, key, values, policy)?);
            }
        }
        Ok(parsed)
    }

    fn parse(name: &str, key: &str, values: &Value, policy: Kind) -> Result<Self, Malformed> {
        let (quantifier, base) = match name.split_once(':') {
            None => (Quantifier::One, name),
            Some(("ForAllValues", base)) => (Quantifier::All, base),
            Some(("ForAnyValue", base)) => (Quantifier::Any, base),
            Some(_) => return Err(Malformed::new(format!("condition operator {name} is not modelled"))),
        };
        let (base, if_exists) = base.strip_suffix("IfExists").map_or((base, false), |base| (base, true));
        let (operator, negated) = match Operator::parse(base) {
            Some((Operator::Null, _)) if if_exists || quantifier != Quantifier::One => None,
            operator => operator,
        }
        .ok_or_else(|| Malformed::new(format!("condition operator {name} is not modelled")))?;
        let key = key.to_ascii_lowercase();
        if !is_modelled(&key, policy) {
            return Err(Malformed::new(format!("condition key {key} is not modelled")));
        }
        if SEVERAL.contains(&key.as_str()) && quantifier == Quantifier::One && operator != Operator::Null {
            return Err(Malformed::new(format!("{key} needs ForAllValues or ForAnyValue")));
        }
        let values = scalars(values)?;
        if matches!(operator, Operator::Number(_)) && values.iter().any(|value| number(value).is_none()) {
            return Err(Malformed::new(format!("{name} takes numbers")));
        }
        Ok(Self { quantifier, operator, negated, if_exists, key, values })
    }
}

impl Operator {
    /// The operator of this name, and whether it is negated.
    fn parse(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "StringEquals" => (Self::Equals, false),
            "StringNotEquals" => (Self::Equals, true),
            "StringEqualsIgnoreCase" => (Self::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Self::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Self::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Self::Like, true),
            "Bool" => (Self::Bool, false),
            "Null" => (Self::Null, false),
            "NumericEquals" => (Self::Number(Relation::Equal), false),
            "NumericNotEquals" => (Self::Number(Relation::Equal), true),
            "NumericLessThan" => (Self::Number(Relation::Less), false),
            "NumericLessThanEquals" => (Self::Number(Relation::LessOrEqual), false),
            "NumericGreaterThan" => (Self::Number(Relation::Greater), false),
            "NumericGreaterThanEquals" => (Self::Number(Relation::GreaterOrEqual), false),
            _ => return None,
        })
    }

    fn matches(self, wanted: &str, value: &str) -> bool {
        match self {
            Self::Equals => wanted == value,
            Self::EqualsIgnoreCase | Self::Bool => wanted.eq_ignore_ascii_case(value),
            Self::Like => matches(wanted, value),
            Self::Null => false,
            Self::Number(relation) => match (number(value), number(wanted)) {
                (Some(value), Some(wanted)) => relation.holds(value, wanted),
                _ => false,
            },
        }
    }
}

impl Relation {
    #[expect(clippy::float_cmp, reason = "NumericEquals means just that")]
    fn holds(self, value: f64, wanted: f64) -> bool {
        match self {
            Self::Equal => value == wanted,
            Self::Less => value < wanted,
            Self::LessOrEqual => value <= wanted,
            Self::Greater => value > wanted,
            Self::GreaterOrEqual => value >= wanted,
        }
    }
}

/// Strings, booleans and numbers, or lists of them.
fn scalars(value: &Value) -> Result<Vec<String>, Malformed> {
    match value {
        Value::Bool(flag) => Ok(vec![flag.to_string()]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Array(values) => {
            values.iter().map(scalars).collect::<Result<Vec<_>, _>>().map(|all| all.concat())
        }
        value => strings(value),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Whether requests carry this key here; it is in lower case.
fn is_modelled(key: &str, policy: Kind) -> bool {
    let names_something = |prefix: &&str| key.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    // What a token says is only known while it is turned into a session.
    let of_token = || {
        key.rsplit_once(':').is_some_and(|(host, claim)| {
            policy == Kind::Trust && host.contains('.') && ["aud", "sub"].contains(&claim)
        })
    };
    KEYS.contains(&key) || SEVERAL.contains(&key) || OPEN.iter().any(names_something) || of_token()
}

/// Keys with one value.
const KEYS: &[&str] = &[
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:securetransport",
    "aws:sourceidentity",
    // Only requests that S3 makes to KMS for somebody carry it, and there is no KMS here.
    "kms:viaservice",
    "s3:delimiter",
    "s3:prefix",
    "s3:resourceaccount",
    "s3:x-amz-acl",
    "s3:x-amz-server-side-encryption",
    "sts:externalid",
    "sts:rolesessionname",
    "sts:sourceidentity",
];

/// Keys with several values.
const SEVERAL: &[&str] = &["aws:tagkeys", "sts:transitivetagkeys"];

/// Families of keys: a tag's key follows.
const OPEN: &[&str] = &["aws:principaltag/", "aws:requesttag/"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(condition: &Value, policy: Kind) -> Result<Vec<Condition>, Malformed> {
        Condition::parse_all(condition, policy)
    }

    fn holds(condition: &Value, context: &Context) -> bool {
        let conditions = parse(condition, Kind::Trust).expect("it is well-formed");
        conditions.iter().all(|condition| condition.holds(context))
    }

    #[test]
    fn conditions_hold_as_in_the_manual() {
        let acl = |value: &str| Context::default().with("s3:x-amz-acl", value);
        let none = Context::default;
        let rows = [
            (json!({"StringEquals": {"s3:x-amz-acl": "private"}}), acl("private"), true),
            (json!({"StringEquals": {"S3:X-Amz-Acl": ["other", "private"]}}), acl("private"), true),
            (json!({"StringEquals": {"s3:x-amz-acl": "private"}}), acl("PRIVATE"), false),
            (json!({"StringEqualsIgnoreCase": {"s3:x-amz-acl": "private"}}), acl("PRIVATE"), true),
            (json!({"StringEquals": {"s3:x-amz-acl": "private"}}), none(), false),
            (json!({"StringEqualsIfExists": {"s3:x-amz-acl": "private"}}), none(), true),
            (json!({"StringNotEquals": {"s3:x-amz-acl": "private"}}), acl("private"), false),
            (json!({"StringNotEquals": {"s3:x-amz-acl": ["a", "private"]}}), acl("private"), false),
            (json!({"StringNotEquals": {"s3:x-amz-acl": ["a", "b"]}}), acl("private"), true),
            (json!({"StringNotEquals": {"s3:x-amz-acl": "private"}}), none(), true),
            (json!({"StringLike": {"s3:x-amz-acl": "pri*"}}), acl("private"), true),
            (json!({"StringNotLike": {"s3:x-amz-acl": "pri*"}}), acl("private"), false),
            (json!({"Null": {"s3:x-amz-acl": "true"}}), none(), true),
            (json!({"Null": {"s3:x-amz-acl": true}}), acl("private"), false),
            (json!({"Null": {"s3:x-amz-acl": "false"}}), acl("private"), true),
            (
                json!({"Bool": {"aws:SecureTransport": false}}),
                none().with("aws:SecureTransport", "false"),
                true,
            ),
            (
                json!({"Bool": {"aws:SecureTransport": "true"}}),
                none().with("aws:SecureTransport", "false"),
                false,
            ),
            (
                json!({"StringEquals": {"s3:x-amz-acl": "private"}, "StringLike": {"s3:prefix": "a/*"}}),
                acl("private").with("s3:prefix", "b/c"),
                false,
            ),
        ];
        for (condition, context, expected) in rows {
            assert_eq!(holds(&condition, &context), expected, "{condition} {context:?}");
        }
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let age = |seconds: &str| Context::default().with("aws:MultiFactorAuthAge", seconds);
        let rows = [
            ("NumericLessThan", "900", "3600", true),
            ("NumericLessThan", "3600", "3600", false),
            ("NumericLessThanEquals", "3600", "3600", true),
            ("NumericGreaterThan", "3600", "900", true),
            ("NumericGreaterThan", "900", "900", false),
            ("NumericGreaterThanEquals", "900", "900", true),
            ("NumericEquals", "900.0", "900", true),
            ("NumericNotEquals", "900", "900", false),
        ];
        for (operator, value, wanted, expected) in rows {
            let condition = json!({operator: {"aws:MultiFactorAuthAge": wanted}});
            assert_eq!(holds(&condition, &age(value)), expected, "{operator} {value} {wanted}");
        }
        assert!(holds(&json!({"NumericLessThan": {"aws:MultiFactorAuthAge": 3600}}), &age("0")));
        let none = Context::default();
        assert!(!holds(&json!({"NumericLessThan": {"aws:MultiFactorAuthAge": 3600}}), &none));
        assert!(holds(&json!({"NumericLessThanIfExists": {"aws:MultiFactorAuthAge": 3600}}), &none));
        assert!(holds(&json!({"NumericNotEquals": {"aws:MultiFactorAuthAge": 3600}}), &none));
    }

    #[test]
    fn several_values_are_asked_as_a_set() {
        let keys = |keys: &[&str]| {
            Context::default().with_all("aws:TagKeys", keys.iter().map(|key| (*key).to_owned()))
        };
        let rows = [
            ("ForAllValues:StringEquals", keys(&["team", "cost"]), true),
            ("ForAllValues:StringEquals", keys(&["team", "other"]), false),
            ("ForAllValues:StringEquals", keys(&[]), true),
            ("ForAllValues:StringNotEquals", keys(&["other"]), true),
            ("ForAllValues:StringNotEquals", keys(&["other", "team"]), false),
            ("ForAnyValue:StringEquals", keys(&["team", "other"]), true),
            ("ForAnyValue:StringEquals", keys(&["other"]), false),
            ("ForAnyValue:StringEquals", keys(&[]), false),
            ("ForAnyValue:StringEqualsIfExists", keys(&[]), true),
            ("ForAnyValue:StringLike", keys(&["cost"]), true),
        ];
        for (operator, context, expected) in rows {
            let condition = json!({operator: {"aws:TagKeys": ["team", "cost"]}});
            assert_eq!(holds(&condition, &context), expected, "{operator} {context:?}");
        }
    }

    #[test]
    fn keys_and_operators_that_are_not_modelled_are_refused() {
        let refused = [
            json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}}),
            json!({"DateLessThan": {"aws:TokenIssueTime": "2025-01-01T00:00:00Z"}}),
            json!({"ForEachValue:StringEquals": {"aws:TagKeys": "team"}}),
            json!({"StringEquals": {"aws:TagKeys": "team"}}),
            json!({"NullIfExists": {"aws:TagKeys": "true"}}),
            json!({"NumericLessThan": {"aws:MultiFactorAuthAge": "soon"}}),
            json!({"StringEquals": {"aws:RequestTag/": "x"}}),
            json!({"StringEquals": {"aws:RequestTag/team": "${aws:PrincipalTag/team}"}}),
            json!({"StringEquals": {"oidc.example.com/id/1:amr": "x"}}),
        ];
        for condition in refused {
            assert!(parse(&condition, Kind::Trust).is_err(), "{condition}");
        }
        let of_token = json!({"StringEquals": {"oidc.example.com/id/1:sub": "x"}});
        assert!(parse(&of_token, Kind::Trust).is_ok());
        assert!(parse(&of_token, Kind::Identity).is_err(), "a session does not know its token");
    }
}
