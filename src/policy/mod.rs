//! Policy documents that follow from the settings: pure functions of what is mounted.
//!
//! ```text
//!   statement   who may do what in which part of a bucket, and who may assume which role
//!   document    whole documents for both accounts, of such statements (`s3xmount policy`)
//!   limits      how long they may be
//!   print       how they are written
//!   session     the policy that bounds a role session to what the mount does
//! ```
//!
//! What a caller may do in a bucket of another account is what *both* allow: the policy of the caller
//! in its own account, and the policy of the bucket in the other. So each right stands in two
//! documents, and a diagnosis (`s3xmount doctor`) takes the missing statement from here as well.

mod document;
mod limits;
mod print;
mod session;
mod statement;

pub use self::document::{Document, Kind, Way, Wish, documents};
pub use self::print::pretty;
pub use self::session::session;
pub use self::statement::{
    Action, Assumption, Grant, KEY_READ, KEY_WRITTEN, Rights, allow, allow_key, may_assume, trust,
};
