//! `AssumeRole`: one identity becomes another.
//!
//! The role's trust policy and the caller's identity policy combine as they do for any resource,
//! except that nobody is admitted whom the trust policy does not name. A source identity and tags,
//! passed now or inherited along a chain, each take a permission more, on *both* sides.

use super::form::Form;
use super::session_tags::PassedTags;
use super::wish::Wish;
use super::{check_characters, check_length, documents};
use crate::emulator::World;
use crate::emulator::access::{self, Resource};
use crate::emulator::directory::{BadFactor, Caller, Role, SessionTag};
use crate::emulator::identity::Identity;
use crate::emulator::policy::{Context, Question};
use crate::emulator::refusal::Refusal;

/// What `AssumeRole` alone takes.
struct Wishes {
    common: Wish,
    external_id: Option<String>,
    factor: Option<Factor>,
    source_identity: Option<String>,
    tags: PassedTags,
}

/// The number of a device and a code that it showed.
struct Factor {
    serial: String,
    code: String,
}

/// Decides and, if all is well, starts a session.
pub(super) fn assume_role(world: &World, caller: &Caller, mut form: Form) -> Result<String, Refusal> {
    let wishes = Wishes::take(&mut form, world)?;
    form.finish()?;
    if let Some(factor) = &wishes.factor {
        factor.check(world, caller)?;
    }
    let source_identity = wishes.effective_source_identity(caller)?;
    let context = wishes.context(world, caller, source_identity.as_deref());
    let role = world.directory.role(&wishes.common.role_arn);
    let role = role.filter(|role| Request { caller, role, context: &context }.may_assume());
    let role = role.ok_or_else(|| not_authorized(caller, "sts:AssumeRole", &wishes.common.role_arn))?;
    let request = Request { caller, role: &role, context: &context };
    if source_identity.is_some() {
        request.require_on_both_sides("sts:SetSourceIdentity")?;
    }
    let tags = wishes.tags.joined_with(&caller.tags)?;
    if !tags.is_empty() {
        request.require_on_both_sides("sts:TagSession")?;
    }
    let chained = matches!(caller.identity, Identity::RoleSession { .. });
    wishes.common.check_duration(&role, chained)?;
    // What is inherited takes no space: it was paid for when it was passed.
    let packed_percent = wishes.common.packed_percent(world, &wishes.tags.tags)?;

    let session = wishes.common.session(world, source_identity.clone(), tags)?;
    let identity = role.session_identity(&session.name);
    let keys = world.directory.issue_session(&role, session, world.clock.now());
    let source_identity = source_identity.as_deref();
    Ok(documents::Grant { identity: &identity, keys: &keys, source_identity, packed_percent }.elements())
}

impl Wishes {
    fn take(form: &mut Form, world: &World) -> Result<Self, Refusal> {
        let common = Wish::take(form, world.allow_short_sessions)?;
        let external_id = form.take("ExternalId");
        if let Some(external_id) = &external_id {
            check_length("externalId", external_id, 2, 1224)?;
            check_characters("externalId", external_id, "=,.@:/-", r"[\w+=,.@:\/-]*")?;
        }
        let source_identity = form.take("SourceIdentity");
        if let Some(source_identity) = &source_identity {
            check_length("sourceIdentity", source_identity, 2, 64)?;
            check_characters("sourceIdentity", source_identity, "=,.@-", r"[\w+=,.@-]*")?;
        }
        let factor = Factor::take(form)?;
        Ok(Self { common, external_id, factor, source_identity, tags: PassedTags::take(form)? })
    }

    /// Who is behind the session: once said, it is passed on and cannot be changed.
    fn effective_source_identity(&self, caller: &Caller) -> Result<Option<String>, Refusal> {
        match (&caller.source_identity, &self.source_identity) {
            (Some(set), Some(wished)) if set != wished => Err(Refusal::new(
                403,
                "AccessDenied",
                "The source identity is already set for the calling session and cannot be changed.",
            )),
            (set, wished) => Ok(wished.clone().or_else(|| set.clone())),
        }
    }

    fn context(&self, world: &World, caller: &Caller, source_identity: Option<&str>) -> Context {
        let context = world
            .ambient(caller, Context::default())
            .with("sts:RoleSessionName", &self.common.session_name)
            .with_some("sts:ExternalId", self.external_id.clone())
            .with_some("sts:SourceIdentity", source_identity)
            .with_all("aws:TagKeys", self.tags.keys(|_| true))
            .with_all("sts:TransitiveTagKeys", self.tags.keys(|tag| tag.transitive));
        let with_tag = |context: Context, tag: &SessionTag| {
            context.with(&format!("aws:RequestTag/{}", tag.key), &tag.value)
        };
        let context = self.tags.tags.iter().fold(context, with_tag);
        match self.factor {
            // The code was checked a moment ago.
            Some(_) => context.with("aws:MultiFactorAuthPresent", "true").with("aws:MultiFactorAuthAge", "0"),
            None => context,
        }
    }
}

impl Factor {
    fn take(form: &mut Form) -> Result<Option<Self>, Refusal> {
        let (serial, code) = (form.take("SerialNumber"), form.take("TokenCode"));
        if let Some(serial) = &serial {
            check_length("serialNumber", serial, 9, 256)?;
            check_characters("serialNumber", serial, "=/:,.@-", r"[\w+=/:,.@-]*")?;
        }
        if let Some(code) = &code {
            check_length("tokenCode", code, 6, 6)?;
            super::check_pattern("tokenCode", code, |letter| letter.is_ascii_digit(), r"[\d]*")?;
        }
        match (serial, code) {
            (None, None) => Ok(None),
            (Some(serial), Some(code)) => Ok(Some(Self { serial, code })),
            _ => Err(factor_failed(", must provide both MFA serial number and one time pass code.")),
        }
    }

    fn check(&self, world: &World, caller: &Caller) -> Result<(), Refusal> {
        let now = world.clock.now();
        world.directory.take_code(&caller.identity, &self.serial, &self.code, now).map_err(|bad| match bad {
            BadFactor::NotTheirs => factor_failed(
                ", unable to validate MFA code.  Please verify your MFA serial number is valid and \
                 associated with this user.",
            ),
            BadFactor::WrongCode => factor_failed(" with invalid MFA one time pass code."),
        })
    }
}

/// The question that both sides are asked, for one action or another.
struct Request<'a> {
    caller: &'a Caller,
    role: &'a Role,
    context: &'a Context,
}

impl Request<'_> {
    fn may_assume(&self) -> bool {
        // "Roles may not be assumed by root accounts."
        if matches!(self.caller.identity, Identity::Root { .. }) {
            return false;
        }
        let arn = self.role.arn();
        let question = self.question("sts:AssumeRole", &arn);
        let policy = self.role.trust.as_deref();
        let trust = Resource { owner: self.role.account, policy, covered: true, acl_allows: false };
        // Unlike a bucket, a role admits nobody its trust policy does not name, not even at home.
        let named = policy.is_some_and(|trust| trust.verdict(&question).allows());
        named && access::allowed(self.caller, &question, trust)
    }

    /// Makes sure of a permission that the manual demands of the caller's policies and of the
    /// role's trust policy, whether or not they belong to one account.
    fn require_on_both_sides(&self, action: &str) -> Result<(), Refusal> {
        let arn = self.role.arn();
        let question = self.question(action, &arn);
        let trusts = self.role.trust.as_deref().is_some_and(|trust| trust.verdict(&question).allows());
        match trusts && self.caller.verdict(&question).allows() {
            true => Ok(()),
            false => Err(not_authorized(self.caller, action, &arn)),
        }
    }

    fn question<'a>(&'a self, action: &'a str, resource: &'a str) -> Question<'a> {
        Question { caller: &self.caller.identity, action, resource, context: self.context }
    }
}

fn not_authorized(caller: &Caller, action: &str, role_arn: &str) -> Refusal {
    let message = format!(
        "User: {} is not authorized to perform: {action} on resource: {role_arn}",
        caller.identity.arn()
    );
    Refusal::new(403, "AccessDenied", message)
}

fn factor_failed(how: &str) -> Refusal {
    Refusal::new(403, "AccessDenied", format!("MultiFactorAuthentication failed{how}"))
}
