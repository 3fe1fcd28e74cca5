//! Confirming that an email address is read by whoever names it ([spec]): a mail with a link, and
//! the session that the client asks about meanwhile.
//!
//! A session belongs to one address and one purpose, and is used once: what was confirmed for one
//! thing is worth nothing for another. It is in memory, as the authentication that it is part of:
//! who asks again after a restart is sent another mail.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken

use std::time::Duration;

use ruma::OwnedUserId;
use subtle::ConstantTimeEq as _;

use crate::{
    Accounts, StoreError,
    email_address::EmailAddress,
    mail::{Mail, Matter},
    once::ShortLived,
    threepids::EMAIL,
};

const SESSIONS_KEPT: usize = 10_000;
/// Somebody has to find the mail first, perhaps among spam.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
const SID_CHARS: usize = 24;
/// 190 bits: too many to guess, and short enough for one line of a mail.
const TOKEN_CHARS: usize = 32;
/// Then the session is over.
const WRONG_TOKENS_MAX: u32 = 10;
const CLIENT_SECRET_BYTES_MAX: usize = 255;
const NEXT_LINK_BYTES_MAX: usize = 2048;

/// What an address is confirmed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EmailPurpose {
    Register,
    AddToAccount,
    ResetPassword,
}

#[derive(Clone, Copy, Debug)]
pub struct EmailTokenRequest<'a> {
    pub purpose: EmailPurpose,
    pub email: &'a str,
    pub client_secret: &'a str,
    pub send_attempt: u64,
    pub next_link: Option<&'a str>,
    /// Where the mail leads; `sid` and `token` are appended as its query.
    pub link: &'a str,
}

#[derive(Debug, thiserror::Error)]
pub enum EmailTokenError {
    #[error("this server sends no mail")]
    NotOffered,
    #[error("{0:?} is not an email address that this server can write to")]
    InvalidAddress(String),
    #[error("the client secret has 1 to {CLIENT_SECRET_BYTES_MAX} characters of 0-9a-zA-Z.=_-")]
    InvalidClientSecret,
    #[error("the address is that of an account")]
    InUse,
    #[error("no account has the address")]
    NotFound,
    /// Try again then.
    #[error("too many mails were asked for")]
    TooMany(Duration),
    #[error("the mail could not be sent")]
    NotSent,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An address that its reader has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedEmail {
    pub(crate) address: String,
    /// Milliseconds since the epoch.
    pub(crate) validated_at: u64,
}

/// What a link was for that has been followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedEmail {
    pub purpose: EmailPurpose,
    /// Where to go on; on a host that the operator has named.
    pub next_link: Option<String>,
}

/// Why a session proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotValidated {
    /// No such session, another secret, or another purpose.
    Unknown,
    /// The mail has not been answered.
    Pending,
}

#[derive(Debug)]
struct Session {
    purpose: EmailPurpose,
    address: String,
    client_secret: String,
    /// `None` if the mail has no link, since the address is of no use for the purpose.
    token: Option<String>,
    send_attempt: u64,
    next_link: Option<String>,
    wrong_tokens: u32,
    validated_at: Option<u64>,
}

pub(crate) struct EmailSessions {
    by_sid: ShortLived<Session>,
    /// The id of the session for a purpose, an address and a client's secret.
    sids: ShortLived<String>,
}

impl EmailSessions {
    pub(crate) fn new() -> Self {
        Self {
            by_sid: ShortLived::new(LIFETIME, SESSIONS_KEPT),
            sids: ShortLived::new(LIFETIME, SESSIONS_KEPT),
        }
    }
}

/// The opaque identifier grammar of validation sessions.
fn is_client_secret(secret: &str) -> bool {
    (1..=CLIENT_SECRET_BYTES_MAX).contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".=_-".contains(&byte))
}

fn is_same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// A link in a mail of ours is believed: only to where the operator says.
fn acceptable_link(link: &str, hosts: &[String]) -> Option<String> {
    let rest = link.strip_prefix("https://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let is_plain = link.len() <= NEXT_LINK_BYTES_MAX
        && link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (is_plain && hosts.iter().any(|known| known.eq_ignore_ascii_case(host)))
        .then(|| link.to_owned())
}

impl Accounts {
    /// Sends a mail, unless it was sent already, and answers the session's id.
    pub async fn request_email_token(
        &self,
        request: EmailTokenRequest<'_>,
    ) -> Result<String, EmailTokenError> {
        if !self.sends_mail() {
            return Err(EmailTokenError::NotOffered);
        }
        let address = EmailAddress::parse(request.email)
            .ok_or_else(|| EmailTokenError::InvalidAddress(request.email.to_owned()))?;
        if !is_client_secret(request.client_secret) {
            return Err(EmailTokenError::InvalidClientSecret);
        }
        let useless = self.why_useless(request.purpose, &address).await?;
        let key = format!("{:?} {} {}", request.purpose, address.as_str(), request.client_secret);
        let (sid, token, previous) = match self.known_session(&key, request.send_attempt) {
            Some(Known::Sent(sid)) => return Ok(sid),
            Some(Known::Again { sid, token, previous }) => (sid, token, previous),
            None => {
                let (sid, token) = self.begin_session(&key, &request, &address, useless.is_none());
                (sid, token, 0)
            }
        };
        let sent = self.send_token(&request, &address, &sid, token.as_deref(), useless).await;
        if sent.is_err() {
            // The client tries again with the same number, and means it.
            let now = self.inner.clock.now_ms();
            let sessions = &self.inner.emails.by_sid;
            sessions.with(&sid, now, |session| session.send_attempt = previous);
        }
        sent.map(|()| sid)
    }

    /// What is written to somebody whose address is of no use for the purpose. Where the operator
    /// allows, whoever asks is told instead.
    async fn why_useless(
        &self,
        purpose: EmailPurpose,
        address: &EmailAddress,
    ) -> Result<Option<Matter<'static>>, EmailTokenError> {
        let has_owner = self.inner.store.threepid(EMAIL, address.as_str()).await?.is_some();
        let hides = self.inner.config.hide_email_owners;
        match purpose {
            // Who is logged in is told: the address cannot be added.
            EmailPurpose::AddToAccount if has_owner => Err(EmailTokenError::InUse),
            EmailPurpose::Register if has_owner && !hides => Err(EmailTokenError::InUse),
            EmailPurpose::Register if has_owner => Ok(Some(Matter::AlreadyRegistered)),
            EmailPurpose::ResetPassword if !has_owner && !hides => Err(EmailTokenError::NotFound),
            EmailPurpose::ResetPassword if !has_owner => Ok(Some(Matter::NoAccount)),
            _ => Ok(None),
        }
    }

    fn known_session(&self, key: &str, send_attempt: u64) -> Option<Known> {
        let (emails, now) = (&self.inner.emails, self.inner.clock.now_ms());
        let sid = emails.sids.with(key, now, |sid| sid.clone())?;
        emails.by_sid.with(&sid, now, |session| {
            if send_attempt <= session.send_attempt {
                return Known::Sent(sid.clone());
            }
            let previous = std::mem::replace(&mut session.send_attempt, send_attempt);
            Known::Again { sid: sid.clone(), token: session.token.clone(), previous }
        })
    }

    /// The session's id, and the token of the link.
    fn begin_session(
        &self,
        key: &str,
        request: &EmailTokenRequest<'_>,
        address: &EmailAddress,
        has_link: bool,
    ) -> (String, Option<String>) {
        let inner = &self.inner;
        let now = inner.clock.now_ms();
        let sid = inner.rng.alphanumeric(SID_CHARS);
        let token = has_link.then(|| inner.rng.alphanumeric(TOKEN_CHARS));
        let hosts = &inner.config.next_link_hosts;
        let session = Session {
            purpose: request.purpose,
            address: address.as_str().to_owned(),
            client_secret: request.client_secret.to_owned(),
            token: token.clone(),
            send_attempt: request.send_attempt,
            next_link: request.next_link.and_then(|link| acceptable_link(link, hosts)),
            wrong_tokens: 0,
            validated_at: None,
        };
        inner.emails.by_sid.insert(&sid, session, now);
        inner.emails.sids.take(key, now);
        inner.emails.sids.insert(key, sid.clone(), now);
        (sid, token)
    }

    async fn send_token(
        &self,
        request: &EmailTokenRequest<'_>,
        address: &EmailAddress,
        sid: &str,
        token: Option<&str>,
        useless: Option<Matter<'static>>,
    ) -> Result<(), EmailTokenError> {
        let inner = &self.inner;
        let link = format!("{}?sid={sid}&token={}", request.link, token.unwrap_or_default());
        let confirm = Matter::Confirm { purpose: request.purpose, link: &link };
        let matter = match (useless, token) {
            (Some(useless), _) => useless,
            (None, Some(_)) => confirm,
            // The session began when the address was of no use, and the client asks once more.
            (None, None) => return Ok(()),
        };
        let mail = Mail::about(matter, address.as_str(), inner.server_name.as_str());
        let mailer = inner.mailer.get().ok_or(EmailTokenError::NotOffered)?;
        let busy = || EmailTokenError::TooMany(Duration::from_secs(5));
        let _permit = inner.mails_sending.try_acquire().map_err(|_| busy())?;
        inner
            .mail_counts
            .count(address.as_str(), inner.clock.now_ms())
            .map_err(EmailTokenError::TooMany)?;
        mailer.send(mail).await.map_err(|error| {
            tracing::error!(%error, "a mail could not be sent");
            EmailTokenError::NotSent
        })
    }

    /// What the link with this token is for, without following it.
    pub fn email_token_purpose(&self, sid: &str, token: &str) -> Option<EmailPurpose> {
        self.with_token(sid, token, |session| session.purpose)
    }

    /// Follows the link. `None` if the token is wrong or no longer counts. Once more changes nothing.
    pub fn confirm_email(&self, sid: &str, token: &str) -> Option<ConfirmedEmail> {
        let now = self.inner.clock.now_ms();
        self.with_token(sid, token, |session| {
            session.validated_at.get_or_insert(now);
            ConfirmedEmail { purpose: session.purpose, next_link: session.next_link.clone() }
        })
    }

    fn with_token<R>(
        &self,
        sid: &str,
        token: &str,
        then: impl FnOnce(&mut Session) -> R,
    ) -> Option<R> {
        let (sessions, now) = (&self.inner.emails.by_sid, self.inner.clock.now_ms());
        let found = sessions.with(sid, now, |session| {
            if session.token.as_ref().is_some_and(|known| is_same(known, token)) {
                return Ok(then(session));
            }
            session.wrong_tokens += 1;
            Err(session.wrong_tokens)
        })?;
        if found.as_ref().is_err_and(|wrong| *wrong >= WRONG_TOKENS_MAX) {
            sessions.take(sid, now);
        }
        found.ok()
    }

    /// The address that was confirmed in a session, if it was for this purpose.
    pub(crate) fn validated_email(
        &self,
        sid: &str,
        client_secret: &str,
        purpose: EmailPurpose,
    ) -> Result<ValidatedEmail, NotValidated> {
        let (sessions, now) = (&self.inner.emails.by_sid, self.inner.clock.now_ms());
        let found = sessions.with(sid, now, |session| {
            if session.purpose != purpose || !is_same(&session.client_secret, client_secret) {
                return Err(NotValidated::Unknown);
            }
            let validated_at = session.validated_at.ok_or(NotValidated::Pending)?;
            Ok(ValidatedEmail { address: session.address.clone(), validated_at })
        });
        found.unwrap_or(Err(NotValidated::Unknown))
    }

    pub(crate) fn validated_for_account(
        &self,
        sid: &str,
        client_secret: &str,
    ) -> Option<ValidatedEmail> {
        self.validated_email(sid, client_secret, EmailPurpose::AddToAccount).ok()
    }

    /// Of many who try at the same time, one goes on.
    pub(crate) fn spend_email_session(&self, sid: &str) -> bool {
        self.inner.emails.by_sid.take(sid, self.inner.clock.now_ms()).is_some()
    }

    /// The account whose password may be reset by a confirmed address.
    pub(crate) async fn owner_of_email(
        &self,
        email: &ValidatedEmail,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        self.threepid_owner(EMAIL, &email.address).await
    }
}

/// A session for the same purpose, address and secret.
enum Known {
    /// The mail was sent.
    Sent(String),
    /// The client wants another mail.
    Again { sid: String, token: Option<String>, previous: u64 },
}

#[cfg(test)]
mod tests {
    use super::{acceptable_link, is_client_secret};

    #[test]
    fn client_secrets() {
        assert!(is_client_secret("aZ0.=_-"));
        assert!(is_client_secret(&"a".repeat(255)));
        for secret in ["", "a b", "ä", "a/b", "a\n", &"a".repeat(256)] {
            assert!(!is_client_secret(secret), "{secret:?}");
        }
    }

    #[test]
    fn a_mail_leads_only_to_hosts_that_the_operator_named() {
        let hosts = ["app.test".to_owned(), "other.test:8443".to_owned()];
        let leads = |link: &str| acceptable_link(link, &hosts).is_some();
        for link in ["https://app.test", "https://APP.test/#/x", "https://other.test:8443/?a=b"] {
            assert!(leads(link), "{link}");
        }
        for link in [
            "http://app.test/",
            "https://evil.test",
            "https://app.test.evil.test",
            "https://app.test@evil.test/",
            "https://evil.test/app.test",
            "javascript:alert(1)",
            "https://app.test\\@evil.test",
            "https://app.test/\r\nX: y",
            "//app.test",
            "",
        ] {
            assert!(!leads(link), "{link}");
        }
    }
}
