//! What a write goes without, for servers that refuse what they do not know.
//!
//! A refusal (501 `NotImplemented`, or 400 with some code) seldom says which header it is about. So the
//! write is offered again with less: first with one thing left out, each by itself, then with two,
//! and so on. The first that is accepted is the least that this server wants given up: had any part of it
//! been sent along, the offer would have been one that was refused before. So each thing left out in it is to
//! blame, nothing else is ever given up, and all later writes begin there.
//!
//! Of AWS, and of what a write does not carry anyway, nothing is given up but the [form](Form) in which
//! bytes are guarded.

use std::future::Future;

use super::Gateway;
use super::conditions::{Standing, Writing};
use super::error::S3Error;
use super::gaps::Gap;
use super::integrity::{self, Form};
use super::object::Precondition;

/// What a write is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Concession {
    pub(super) form: Form,
    pub(super) sends_acl: bool,
    pub(super) sends_condition: bool,
}

/// What a write would carry, if the server knew it all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) writing: Writing,
    /// Whether it carries bytes, or announces some.
    pub(super) has_body: bool,
    pub(super) has_acl: bool,
    pub(super) condition: &'a Precondition,
}

/// What may be given up beside the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Negotiable {
    form: bool,
    acl: bool,
    condition: bool,
}

impl Gateway {
    /// Makes a write in the first way that the server takes, from what it is known to take on.
    pub(super) async fn conceding<T, F>(
        &self,
        wish: Wish<'_>,
        mut once: impl FnMut(Concession) -> F,
    ) -> Result<T, S3Error>
    where
        F: Future<Output = Result<T, S3Error>>,
    {
        let start = self.known_concession(wish);
        let negotiable = Negotiable {
            form: wish.has_body,
            acl: self.gaps.may_be() && wish.has_acl && start.sends_acl,
            condition: self.gaps.may_be()
                && *wish.condition != Precondition::Whatever
                && start.sends_condition,
        };
        let mut refusal = None;
        for concession in offers(start, negotiable) {
            let outcome = once(concession).await;
            self.learn_condition(wish.writing, wish.condition, concession, &outcome);
            match outcome {
                Ok(done) => {
                    self.settle(start, concession);
                    return Ok(done);
                }
                Err(error) if integrity::may_be_about_form(&error) => {
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.expect("there is at least one offer, and it was refused"))
    }

    /// What the server is known to take, as far as anything is known.
    pub(super) fn known_concession(&self, wish: Wish<'_>) -> Concession {
        Concession {
            form: self.integrity.form(),
            sends_acl: !self.gaps.has(Gap::Acl),
            sends_condition: self.conditions.standing(wish.writing, wish.condition) != Standing::Refused,
        }
    }

    fn settle(&self, start: Concession, accepted: Concession) {
        if start.sends_acl && !accepted.sends_acl {
            self.gaps.note(Gap::Acl);
        }
        if start.form != accepted.form {
            self.integrity.settle(accepted.form);
            accepted.form.gaps().into_iter().for_each(|gap| self.gaps.note(gap));
        }
    }
}

/// All offers from `start` down, those that leave out least first.
fn offers(start: Concession, negotiable: Negotiable) -> Vec<Concession> {
    let forms: Vec<Form> = std::iter::successors(Some(start.form), |form| form.next())
        .take(if negotiable.form { usize::MAX } else { 1 })
        .collect();
    let mut offers = Vec::new();
    for (steps, form) in forms.into_iter().enumerate() {
        for without_acl in [false, true] {
            for without_condition in [false, true] {
                if (without_acl && !negotiable.acl) || (without_condition && !negotiable.condition) {
                    continue;
                }
                let concession = Concession {
                    form,
                    sends_acl: start.sends_acl && !without_acl,
                    sends_condition: start.sends_condition && !without_condition,
                };
                offers.push((steps + usize::from(without_acl) + usize::from(without_condition), concession));
            }
        }
    }
    // Stable: of those that leave out as much, the form comes last to be blamed and is offered last.
    offers.sort_by_key(|(given_up, _)| *given_up);
    offers.into_iter().map(|(_, concession)| concession).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::integrity::Integrity;

    fn start() -> Concession {
        Concession { form: Integrity::default().form(), sends_acl: true, sends_condition: true }
    }

    const ALL: Negotiable = Negotiable { form: true, acl: true, condition: true };

    #[test]
    fn less_is_given_up_before_more() {
        let offers = offers(start(), ALL);
        assert_eq!((offers.len(), offers[0]), (16, start()));
        let given_up =
            |offer: &Concession| usize::from(!offer.sends_acl) + usize::from(!offer.sends_condition);
        for single in &offers[1..4] {
            let is_form = single.form != start().form;
            assert_eq!(given_up(single) + usize::from(is_form), 1, "{single:?}");
        }
        let last = offers.last().expect("there are sixteen");
        assert_eq!((given_up(last), last.form.next()), (2, None));
    }

    #[test]
    fn what_is_not_negotiable_is_in_every_offer() {
        let only_form = offers(start(), Negotiable { acl: false, condition: false, ..ALL });
        assert_eq!(only_form.len(), 4);
        assert!(only_form.iter().all(|offer| offer.sends_acl && offer.sends_condition));
        let nothing = Negotiable { form: false, acl: false, condition: false };
        assert_eq!(offers(start(), nothing), [start()]);
    }

    #[test]
    fn what_was_given_up_before_is_not_offered_again() {
        let begun = Concession { sends_acl: false, ..start() };
        assert!(offers(begun, Negotiable { acl: false, ..ALL }).iter().all(|offer| !offer.sends_acl));
    }
}
