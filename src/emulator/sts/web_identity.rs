//! `AssumeRoleWithWebIdentity`: who has a token of a trusted provider becomes somebody.
//!
//! The request is not signed; the token is all there is. The provider is looked up in the account of
//! the role, so a provider that another account trusts opens nothing.

use super::form::Form;
use super::wish::Wish;
use super::{check_length, documents};
use crate::emulator::World;
use crate::emulator::clock::unix_seconds;
use crate::emulator::directory::{Caller, Role};
use crate::emulator::identity::{AccountId, Identity};
use crate::emulator::oidc::{BadToken, OidcProvider, WebIdentity};
use crate::emulator::policy::{Context, Question};
use crate::emulator::refusal::Refusal;

/// Decides and, if all is well, starts a session.
pub(super) fn assume_role(world: &World, mut form: Form) -> Result<String, Refusal> {
    let wish = Wish::take(&mut form, world.allow_short_sessions)?;
    let token = form.require("WebIdentityToken", "webIdentityToken")?;
    check_length("webIdentityToken", &token, 4, 20_000)?;
    form.finish()?;
    let (identity, provider) = identify(world, &wish.role_arn, &token)?;
    let role = world.directory.role(&wish.role_arn);
    let role = role.filter(|role| admits(world, role, &identity, &provider, &wish.session_name));
    let role = role.ok_or_else(|| {
        Refusal::new(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    })?;
    wish.check_duration(&role, false)?;
    let packed_percent = wish.packed_percent(world, &[])?;

    let session = wish.session(world, None, Vec::new())?;
    let assumed = role.session_identity(&session.name);
    let keys = world.directory.issue_session(&role, session, world.clock.now());
    let grant = documents::Grant { identity: &assumed, keys: &keys, source_identity: None, packed_percent };
    Ok([
        grant.elements(),
        documents::element("SubjectFromWebIdentityToken", &identity.subject),
        documents::element("Audience", &identity.audience),
        documents::element("Provider", &provider.arn()),
    ]
    .concat())
}

/// Finds out whom a token speaks of, and who vouches for it in the role's account.
fn identify(world: &World, role_arn: &str, token: &str) -> Result<(WebIdentity, OidcProvider), Refusal> {
    let identity = WebIdentity::read(token).map_err(|bad| match bad {
        BadToken::Shapeless => invalid(SHAPELESS),
        BadToken::Unsigned => invalid(UNSIGNED),
    })?;
    let account = role_arn.split(':').nth(4).and_then(AccountId::parse);
    let provider = account.and_then(|account| world.directory.provider(account, identity.host()));
    let provider = provider.ok_or_else(|| {
        invalid(format!("No OpenIDConnect provider found in your account for {}", identity.issuer))
    })?;
    let (now, expires) = (unix_seconds(world.clock.now()), unix_seconds(identity.expires));
    if expires <= now {
        return Err(Refusal::new(
            400,
            "ExpiredTokenException",
            format!(
                "Token expired: current date/time {now} must be before the expiration date/time {expires}"
            ),
        ));
    }
    match provider.audiences.contains(&identity.audience) {
        true => Ok((identity, provider)),
        false => Err(invalid("Incorrect token audience")),
    }
}

fn admits(
    world: &World,
    role: &Role,
    identity: &WebIdentity,
    provider: &OidcProvider,
    session_name: &str,
) -> bool {
    let caller = Identity::Web { provider_arn: provider.arn(), subject: identity.subject.clone() };
    let context = world
        .ambient(&Caller::of(caller.clone()), Context::default())
        .with("sts:RoleSessionName", session_name)
        .with(&format!("{}:sub", provider.host), &identity.subject)
        .with(&format!("{}:aud", provider.host), &identity.audience);
    let question = Question {
        caller: &caller,
        action: "sts:AssumeRoleWithWebIdentity",
        resource: &role.arn(),
        context: &context,
    };
    role.trust.as_deref().is_some_and(|trust| trust.verdict(&question).allows())
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(400, "InvalidIdentityToken", message)
}

const SHAPELESS: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
const UNSIGNED: &str = "The web identity token that was passed could not be validated by Amazon Web Services. \
                        Get a new identity token from the identity provider and then retry the request.";
