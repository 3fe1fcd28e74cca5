//! User-interactive authentication: a request is repeated with one completed stage after another
//! until a flow is complete. A stage may also be completed on a page of ours (`uia/fallback.rs`).

mod fallback;

use std::{collections::BTreeMap, time::Duration};

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub use self::fallback::{Confirmation, UiaAsked};
use crate::{
    Accounts, EmailPurpose, PasswordError, StoreError, ValidatedEmail, captcha::CaptchaError,
    email_validation::NotValidated, once::ShortLived,
};

const SESSIONS_KEPT: usize = 10_000;
const SESSION_CHARS: usize = 24;
/// Then the session is over: guesses start anew, under the rate limits of starting.
const FAILURES_MAX: u32 = 10;

/// A step that this server can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Dummy,
    Password,
    RegistrationToken,
    Terms,
    /// An address that was confirmed for this purpose.
    EmailIdentity(EmailPurpose),
    Jwt,
    /// Completed on a page only: whoever goes to their identity provider comes back to it.
    Sso,
    Recaptcha,
}

/// What has to be authenticated. A session that was begun for one request is of no use for another.
#[derive(Clone, Copy, Debug)]
pub struct UiaRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// The user who is logged in; they must be the one who completes the password stage.
    pub user_id: Option<&'a UserId>,
    /// What else the session is bound to, such as the devices to be deleted; may be empty.
    pub target: &'a str,
}

/// The ways to authenticate that are offered.
#[derive(Clone, Debug)]
pub struct Uia<'a> {
    pub flows: &'a [&'a [Stage]],
    /// Parameters of stages, such as the policies of `m.login.terms`.
    pub params: BTreeMap<String, Box<RawValue>>,
}

/// The body of the 401 answer.
#[derive(Clone, Debug, Serialize)]
pub struct UiaInfo {
    pub flows: Vec<UiaFlow>,
    pub params: BTreeMap<String, Box<RawValue>>,
    pub session: String,
    pub completed: Vec<Stage>,
    /// Why the stage that was attempted is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errcode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UiaFlow {
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
pub enum UiaOutcome {
    /// Go on with the request. The session is spent.
    Done(UiaDone),
    /// Answer 401 with this.
    Incomplete(UiaInfo),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiaDone {
    pub completed: Vec<Stage>,
    /// To be spent by [`Accounts::register`].
    pub registration_token: Option<String>,
    /// Who completed the password or JWT stage, or has the address whose stage was completed.
    pub user_id: Option<OwnedUserId>,
    /// For [`Accounts::register`].
    pub email: Option<ValidatedEmail>,
}

#[derive(Debug, thiserror::Error)]
pub enum UiaError {
    /// M_BAD_JSON.
    #[error("the auth object is not valid: {0}")]
    Invalid(String),
    /// M_UNKNOWN or M_FORBIDDEN: unknown, expired, or begun for another request.
    #[error("the authentication session does not exist or was begun for another request")]
    UnknownSession,
    /// M_FORBIDDEN: no attempt of the user who is logged in, so there is nothing to be tried again.
    #[error("the user who is named is not the one who is logged in")]
    OtherUser,
    #[error("too many proofs are being checked")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UiaRequest<'_> {
    fn fingerprint(&self) -> [u8; 32] {
        let user_id = self.user_id.map_or("", UserId::as_str);
        let mut hash = Sha256::new();
        for part in [user_id, self.method, self.path, self.target] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// What a client sent as `auth`. Kept nowhere: it may hold a password.
#[derive(Deserialize)]
struct Auth {
    #[serde(rename = "type")]
    stage: Option<String>,
    session: Option<String>,
    identifier: Option<Identifier>,
    /// The older form of `identifier`.
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    /// What the captcha's script gave.
    response: Option<String>,
    threepid_creds: Option<ThreepidCreds>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: Option<String>,
    user: Option<String>,
    medium: Option<String>,
    address: Option<String>,
}

#[derive(Deserialize)]
struct ThreepidCreds {
    sid: String,
    client_secret: String,
}

#[derive(Debug)]
struct UiaSession {
    fingerprint: [u8; 32],
    asked: UiaAsked,
    done: UiaDone,
    failures: u32,
    /// Somebody else came back from the identity provider.
    by_another: bool,
}

#[derive(Debug)]
pub(crate) struct UiaSessions(ShortLived<UiaSession>);

impl UiaSessions {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self(ShortLived::new(lifetime, SESSIONS_KEPT))
    }
}

/// Why a stage is not complete.
struct StageFailure {
    errcode: &'static str,
    error: String,
    /// Clients ask again and again whether a mail was answered: that is no guess.
    is_guess: bool,
}

impl StageFailure {
    fn new(errcode: &'static str, error: &str) -> Self {
        Self { errcode, error: error.to_owned(), is_guess: true }
    }

    fn forbidden(error: &str) -> Self {
        Self::new("M_FORBIDDEN", error)
    }
}

/// What a stage proved.
#[derive(Default)]
struct Proof {
    user_id: Option<OwnedUserId>,
    registration_token: Option<String>,
    email: Option<ValidatedEmail>,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Dummy => "m.login.dummy",
            Self::Password => "m.login.password",
            Self::RegistrationToken => "m.login.registration_token",
            Self::Terms => "m.login.terms",
            Self::EmailIdentity(_) => "m.login.email.identity",
            Self::Jwt => "org.matrix.login.jwt",
            Self::Sso => "m.login.sso",
            Self::Recaptcha => "m.login.recaptcha",
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Uia<'_> {
    /// The stage of this name, if it may be completed now: stages are completed in the order of a
    /// flow.
    fn next(&self, name: &str, completed: &[Stage]) -> Option<Stage> {
        let next = |flow: &&[Stage]| flow.iter().find(|stage| !completed.contains(stage)).copied();
        self.flows.iter().filter_map(next).find(|stage| stage.name() == name)
    }

    fn is_complete(&self, completed: &[Stage]) -> bool {
        self.flows.iter().any(|flow| flow.iter().all(|stage| completed.contains(stage)))
    }

    fn info(self, session: &str, completed: Vec<Stage>, failure: Option<StageFailure>) -> UiaInfo {
        let (errcode, error) = match failure {
            Some(StageFailure { errcode, error, .. }) => (Some(errcode), Some(error)),
            None => (None, None),
        };
        UiaInfo {
            flows: self.flows.iter().map(|flow| UiaFlow { stages: flow.to_vec() }).collect(),
            params: self.params,
            session: session.to_owned(),
            completed,
            errcode,
            error,
        }
    }
}

impl Accounts {
    /// One round. `auth` is the request's `auth` object, if it has one.
    pub async fn uia(
        &self,
        request: UiaRequest<'_>,
        offer: Uia<'_>,
        auth: Option<&RawValue>,
    ) -> Result<UiaOutcome, UiaError> {
        let auth: Option<Auth> = auth
            .map(|auth| serde_json::from_str(auth.get()))
            .transpose()
            .map_err(|error| UiaError::Invalid(error.to_string()))?
            .flatten();
        let session = self.uia_session(&request, auth.as_ref())?;
        let completed = self.uia_completed(&session)?;
        // What was completed on a page needs no further word.
        if !completed.is_empty() && offer.is_complete(&completed) {
            return self.finish(&session);
        }
        let stage_name = auth.as_ref().and_then(|auth| auth.stage.as_deref());
        let (Some(auth), Some(stage_name)) = (&auth, stage_name) else {
            return Ok(UiaOutcome::Incomplete(offer.info(&session, completed, None)));
        };
        let volunteered = || self.may_volunteer(stage_name, &request);
        let attempted = match offer.next(stage_name, &completed).or_else(volunteered) {
            Some(stage) => self.attempt(stage, &request, auth).await?.map(|proof| (stage, proof)),
            None => {
                Err(StageFailure::new("M_UNRECOGNIZED", "this stage is not the next of any flow"))
            }
        };
        match attempted {
            Ok((stage, proof)) => self.complete_stage(offer, &session, stage, proof),
            Err(failure) => {
                if failure.is_guess {
                    self.count_failure(&session);
                }
                Ok(UiaOutcome::Incomplete(offer.info(&session, completed, Some(failure))))
            }
        }
    }

    /// The session that is named, if it was begun for this request, or a new one.
    fn uia_session(
        &self,
        request: &UiaRequest<'_>,
        auth: Option<&Auth>,
    ) -> Result<String, UiaError> {
        let inner = &self.inner;
        let (fingerprint, now) = (request.fingerprint(), inner.clock.now_ms());
        if let Some(session) = auth.and_then(|auth| auth.session.as_ref()) {
            let begun_for = inner.uia.0.with(session, now, |session| session.fingerprint);
            return if begun_for == Some(fingerprint) {
                Ok(session.clone())
            } else {
                Err(UiaError::UnknownSession)
            };
        }
        let session = inner.rng.alphanumeric(SESSION_CHARS);
        let begun = UiaSession {
            fingerprint,
            asked: UiaAsked::new(request),
            done: UiaDone::default(),
            failures: 0,
            by_another: false,
        };
        inner.uia.0.insert(&session, begun, now);
        Ok(session)
    }

    fn uia_completed(&self, session: &str) -> Result<Vec<Stage>, UiaError> {
        let (uia, now) = (&self.inner.uia.0, self.inner.clock.now_ms());
        let seen =
            uia.with(session, now, |session| (session.by_another, session.done.completed.clone()));
        let (by_another, completed) = seen.ok_or(UiaError::UnknownSession)?;
        if by_another {
            uia.take(session, now);
            return Err(UiaError::OtherUser);
        }
        Ok(completed)
    }

    /// Clients may show a captcha although no flow has one, since other servers take it.
    fn may_volunteer(&self, stage_name: &str, request: &UiaRequest<'_>) -> Option<Stage> {
        let welcome = request.user_id.is_none() && self.has_captcha();
        Some(Stage::Recaptcha).filter(|stage| welcome && stage.name() == stage_name)
    }

    /// Of two that complete it at the same time, one goes on.
    fn finish(&self, session: &str) -> Result<UiaOutcome, UiaError> {
        let session = self.inner.uia.0.take(session, self.inner.clock.now_ms());
        Ok(UiaOutcome::Done(session.ok_or(UiaError::UnknownSession)?.done))
    }

    fn count_failure(&self, session: &str) {
        let inner = &self.inner;
        let now = inner.clock.now_ms();
        let failures = inner.uia.0.with(session, now, |session| {
            session.failures += 1;
            session.failures
        });
        if failures.is_some_and(|failures| failures >= FAILURES_MAX) {
            inner.uia.0.take(session, now);
        }
    }

    fn complete_stage(
        &self,
        offer: Uia<'_>,
        session: &str,
        stage: Stage,
        proof: Proof,
    ) -> Result<UiaOutcome, UiaError> {
        let completed =
            self.note_completed(session, stage, proof).ok_or(UiaError::UnknownSession)?;
        if !offer.is_complete(&completed) {
            return Ok(UiaOutcome::Incomplete(offer.info(session, completed, None)));
        }
        self.finish(session)
    }

    /// What is completed by now. `None` if there is no such session.
    fn note_completed(&self, session: &str, stage: Stage, proof: Proof) -> Option<Vec<Stage>> {
        self.inner.uia.0.with(session, self.inner.clock.now_ms(), |session| {
            let done = &mut session.done;
            if !done.completed.contains(&stage) {
                done.completed.push(stage);
            }
            done.user_id = proof.user_id.or(done.user_id.take());
            done.registration_token = proof.registration_token.or(done.registration_token.take());
            done.email = proof.email.or(done.email.take());
            done.completed.clone()
        })
    }

    async fn attempt(
        &self,
        stage: Stage,
        request: &UiaRequest<'_>,
        auth: &Auth,
    ) -> Result<Result<Proof, StageFailure>, UiaError> {
        match stage {
            Stage::Dummy | Stage::Terms => Ok(Ok(Proof::default())),
            Stage::Password => self.attempt_password(request, auth).await,
            Stage::RegistrationToken => {
                self.attempt_registration_token(auth.token.as_deref().unwrap_or_default()).await
            }
            Stage::EmailIdentity(purpose) => self.attempt_email(purpose, request, auth).await,
            Stage::Jwt => Ok(self.attempt_jwt(request, auth)),
            Stage::Sso => {
                let failure = StageFailure::forbidden("the stage is completed on its page");
                Ok(Err(StageFailure { is_guess: false, ..failure }))
            }
            Stage::Recaptcha => self.attempt_captcha(auth.response.as_deref()).await,
        }
    }

    async fn attempt_registration_token(
        &self,
        token: &str,
    ) -> Result<Result<Proof, StageFailure>, UiaError> {
        if self.is_registration_token_valid(token).await? {
            let registration_token = Some(token.to_owned());
            return Ok(Ok(Proof { registration_token, ..Proof::default() }));
        }
        Ok(Err(StageFailure::new("M_UNAUTHORIZED", "the registration token is not valid")))
    }

    async fn attempt_captcha(
        &self,
        response: Option<&str>,
    ) -> Result<Result<Proof, StageFailure>, UiaError> {
        let Some(response) = response else {
            return Ok(Err(StageFailure::new("M_CAPTCHA_NEEDED", "the captcha is missing")));
        };
        match self.verify_captcha(response).await {
            Ok(true) => Ok(Ok(Proof::default())),
            Ok(false) => {
                Ok(Err(StageFailure::new("M_CAPTCHA_INVALID", "the captcha was not accepted")))
            }
            Err(CaptchaError::Busy) => Err(UiaError::Busy),
            Err(CaptchaError::NoAnswer) => {
                let failure =
                    StageFailure::new("M_UNKNOWN", "the captcha could not be checked, try again");
                Ok(Err(StageFailure { is_guess: false, ..failure }))
            }
        }
    }

    async fn attempt_password(
        &self,
        request: &UiaRequest<'_>,
        auth: &Auth,
    ) -> Result<Result<Proof, StageFailure>, UiaError> {
        let wrong = || Ok(Err(StageFailure::forbidden("the user name or the password is wrong")));
        let user_id = self.named_user(auth).await?;
        let (Some(user_id), Some(password)) = (user_id, &auth.password) else { return wrong() };
        // The password of somebody else proves nothing, right or wrong.
        if request.user_id.is_some_and(|expected| expected != user_id) {
            return Err(UiaError::OtherUser);
        }
        match self.check_password(&user_id, password).await {
            Ok(user) => Ok(Ok(Proof { user_id: Some(user.user_id), ..Proof::default() })),
            Err(PasswordError::Deactivated) => {
                Ok(Err(StageFailure::new("M_USER_DEACTIVATED", "the account has been deactivated")))
            }
            Err(PasswordError::Busy) => Err(UiaError::Busy),
            Err(PasswordError::Store(error)) => Err(error.into()),
            Err(PasswordError::Wrong | PasswordError::TooShort(_) | PasswordError::TooLong(_)) => {
                wrong()
            }
        }
    }

    async fn named_user(&self, auth: &Auth) -> Result<Option<OwnedUserId>, StoreError> {
        match &auth.identifier {
            Some(identifier) if identifier.kind.as_deref() == Some("m.id.thirdparty") => {
                let (Some(medium), Some(address)) = (&identifier.medium, &identifier.address)
                else {
                    return Ok(None);
                };
                self.threepid_owner(medium, address).await
            }
            identifier => {
                let named = identifier.as_ref().and_then(|identifier| identifier.user.as_ref());
                Ok(named.or(auth.user.as_ref()).and_then(|user| self.user_id(user)))
            }
        }
    }

    /// What was confirmed by mail is spent here, so that it proves one thing once.
    async fn attempt_email(
        &self,
        purpose: EmailPurpose,
        request: &UiaRequest<'_>,
        auth: &Auth,
    ) -> Result<Result<Proof, StageFailure>, UiaError> {
        let failed = |error| Ok(Err(StageFailure::new("M_THREEPID_AUTH_FAILED", error)));
        let Some(ThreepidCreds { sid, client_secret }) = &auth.threepid_creds else {
            return failed("the stage needs `threepid_creds`");
        };
        let email = match self.validated_email(sid, client_secret, purpose) {
            Ok(email) => email,
            Err(NotValidated::Unknown) => return failed("there is no such validation"),
            Err(NotValidated::Pending) => {
                let error = "the mail has not been answered";
                let failure = StageFailure::new("M_THREEPID_AUTH_FAILED", error);
                return Ok(Err(StageFailure { is_guess: false, ..failure }));
            }
        };
        let user_id = match purpose {
            EmailPurpose::Register | EmailPurpose::AddToAccount => None,
            EmailPurpose::ResetPassword => {
                let Some(owner) = self.owner_of_email(&email).await? else {
                    return failed("no account has the address");
                };
                if request.user_id.is_some_and(|expected| expected != owner) {
                    return Err(UiaError::OtherUser);
                }
                Some(owner)
            }
        };
        if !self.spend_email_session(sid) {
            return failed("there is no such validation");
        }
        Ok(Ok(Proof { user_id, email: Some(email), ..Proof::default() }))
    }

    fn attempt_jwt(&self, request: &UiaRequest<'_>, auth: &Auth) -> Result<Proof, StageFailure> {
        let token = auth.token.as_deref().unwrap_or_default();
        let identity = self
            .verify_login_jwt(token)
            .map_err(|error| StageFailure::forbidden(&error.to_string()))?;
        let user_id = self.user_id(&identity.localpart);
        if user_id.is_none()
            || request.user_id.is_some_and(|expected| user_id.as_deref() != Some(expected))
        {
            return Err(StageFailure::forbidden("the token is of another user"));
        }
        Ok(Proof { user_id, ..Proof::default() })
    }
}
