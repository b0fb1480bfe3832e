//! The form that carries a request, field by field.
//!
//! Fields are taken out, not looked at: what is left in the end is what the emulator does not
//! model, and that is refused.

use std::collections::BTreeMap;

use http_body_util::BodyExt as _;
use s3s::Body;

use super::validation;
use crate::emulator::listing::percent_decode;
use crate::emulator::refusal::Refusal;

/// The fields of a form that were not taken yet.
#[derive(Debug)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads the body of a request.
    pub(super) async fn read(body: Body) -> Result<Self, Refusal> {
        let malformed = || Refusal::new(400, "MalformedInput", "The request body could not be read");
        let bytes = body.collect().await.map_err(|_| malformed())?.to_bytes();
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        Self::parse(text).ok_or_else(malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let field = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        };
        text.split('&').filter(|pair| !pair.is_empty()).map(field).collect::<Option<_>>().map(Self)
    }

    /// Looks at a field without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Takes a field.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a field that has to be there; `spelled` is its name in AWS's refusals.
    pub(super) fn require(&mut self, name: &str, spelled: &str) -> Result<String, Refusal> {
        self.take(name).ok_or_else(|| {
            validation(format!(
                "1 validation error detected: Value null at '{spelled}' failed to satisfy constraint: \
                 Member must not be null"
            ))
        })
    }

    /// Takes the members of a list, each of which `take` takes from the form by its prefix.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        mut take: impl FnMut(&mut Self, &str) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        // An empty list is a field without a value.
        if self.peek(name) == Some("") {
            self.take(name);
        }
        let mut members = Vec::new();
        loop {
            let prefix = format!("{name}.member.{}", members.len() + 1);
            if !self.0.range(prefix.clone()..).next().is_some_and(|(field, _)| belongs(field, &prefix)) {
                return Ok(members);
            }
            members.push(take(self, &prefix)?);
        }
    }

    /// Makes sure that nothing is left.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            Some(name) => Err(Refusal::not_modelled(&name)),
            None => Ok(()),
        }
    }
}

/// Whether a field is this member or a part of it: `member.1` is no part of `member.10`.
fn belongs(field: &str, prefix: &str) -> bool {
    field.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_member_by_member_and_the_rest_is_left() {
        let members = (1..=11).map(|number| format!("Keys.member.{number}=k{number}")).collect::<Vec<_>>();
        let text = format!("Name=a+b%2Fc&{}&Keys.member.13=lost", members.join("&"));
        let mut form = Form::parse(&text).expect("it is a form");
        assert_eq!(form.take("Name").as_deref(), Some("a b/c"));
        let keys =
            form.list("Keys", |form, prefix| Ok(form.take(prefix).expect("it is there"))).expect("a list");
        assert_eq!(keys.len(), 11);
        assert_eq!(keys[10], "k11");
        let refusal = form.finish().expect_err("a member behind a gap is left");
        assert_eq!((refusal.status, refusal.code.as_ref()), (501, "NotImplemented"));
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let mut form = Form::parse("Tags=&Name=x").expect("it is a form");
        assert!(form.list("Tags", |_, _| Ok(())).expect("a list").is_empty());
        assert_eq!(form.take("Name").as_deref(), Some("x"));
        assert!(form.finish().is_ok());
    }
}
