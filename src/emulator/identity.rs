//! Who can act: account numbers and the principals inside them.

use std::fmt;

/// The twelve digits of an AWS account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

/// Somebody who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular: the request was not signed.
    Anonymous,
    /// The root user of an account, who may do everything in it.
    Root {
        /// The account.
        account: AccountId,
    },
    /// An IAM user.
    User {
        /// The account the user belongs to.
        account: AccountId,
        /// The user's name.
        name: String,
    },
    /// Whoever assumed a role.
    RoleSession {
        /// The account the role belongs to.
        account: AccountId,
        /// The role's name.
        role: String,
        /// The name the session was given.
        session: String,
    },
    /// Whoever shows a token of an identity provider, on the way to a role session.
    Web {
        /// The provider that vouches.
        provider_arn: String,
        /// Whom it vouches for.
        subject: String,
    },
}

impl AccountId {
    /// Returns the account with this number.
    ///
    /// # Panics
    ///
    /// If the number has more than twelve digits.
    pub const fn new(number: u64) -> Self {
        assert!(number < 1_000_000_000_000, "an account number has twelve digits");
        Self(number)
    }

    /// Parses exactly twelve digits.
    pub fn parse(text: &str) -> Option<Self> {
        let twelve_digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        twelve_digits.then(|| text.parse().ok().map(Self)).flatten()
    }

    /// Returns the canonical id that ACLs and listings use for this account.
    ///
    /// The real ones are 64 hexadecimal digits without meaning; these end in the account number,
    /// so that a person reading an ACL sees whose it is.
    pub fn canonical_id(self) -> String {
        format!("{:064}", self.0)
    }

    /// Returns the ARN of a role in this account.
    pub fn role_arn(self, role: &str) -> String {
        format!("arn:aws:iam::{self}:role/{role}")
    }

    /// Returns the ARN of a user in this account.
    pub fn user_arn(self, user: &str) -> String {
        format!("arn:aws:iam::{self}:user/{user}")
    }

    /// Returns the ARN that stands for the whole account in policies.
    pub fn root_arn(self) -> String {
        format!("arn:aws:iam::{self}:root")
    }
}

impl Identity {
    /// Returns the account, which callers lack whom no account knows.
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Anonymous | Self::Web { .. } => None,
            Self::Root { account } | Self::User { account, .. } | Self::RoleSession { account, .. } => {
                Some(*account)
            }
        }
    }

    /// Returns the ARN as `GetCallerIdentity` shows it.
    pub fn arn(&self) -> String {
        match self {
            Self::RoleSession { account, role, session } => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
            _ => self.principal_arn(),
        }
    }

    /// Returns the ARN of the user or role behind the request, the condition key `aws:PrincipalArn`.
    pub fn principal_arn(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Root { account } => account.root_arn(),
            Self::User { account, name } => account.user_arn(name),
            Self::RoleSession { account, role, .. } => account.role_arn(role),
            Self::Web { provider_arn, subject } => format!("{provider_arn}:{subject}"),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:012}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccountId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_number_is_exactly_twelve_digits() {
        assert_eq!(AccountId::parse("000000000042"), Some(AccountId::new(42)));
        assert_eq!(AccountId::new(42).to_string(), "000000000042");
        for not_one in ["42", "0000000000042", "00000000004x", "+00000000042", ""] {
            assert_eq!(AccountId::parse(not_one), None, "{not_one}");
        }
    }
}
