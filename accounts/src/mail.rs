//! Mails to users: what they say, and the port to whatever sends them.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{Accounts, EmailPurpose, once::ShortLived};

/// Mails that are on their way at a time. More are refused: a mail server that hangs must not
/// gather requests.
pub(crate) const SENDING_MAX: usize = 64;
/// What one address is sent, whoever asks for it.
const MAILS_PER_ADDRESS: u32 = 6;
const WINDOW: Duration = Duration::from_secs(60 * 60);
const ADDRESSES_KEPT: usize = 100_000;

/// A text for one reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// An address of ASCII characters, without a name.
    pub to: String,
    pub subject: String,
    /// Plain text; lines end with `\n`.
    pub text: String,
    /// The same for readers of HTML.
    pub html: Option<String>,
    /// What tells the mail from others, of letters and digits: a mail that is sent twice, by accident,
    /// has it twice. Else it is drawn.
    pub id: Option<String>,
    /// A URL where a POST ends mails such as this (RFC 8058).
    pub unsubscribe: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SendMailError {
    #[error("this server sends no mail")]
    NotOffered,
    #[error("{0}")]
    NotSent(String),
}

/// Hands mails to a mail server.
pub trait Mailer: Send + Sync {
    /// Done when the mail server has taken it. Bounded in time; an error says for the log why there
    /// is no mail.
    fn send(&self, mail: Mail) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// How many mails each address was sent of late.
pub(crate) struct MailCounts(ShortLived<u32>);

impl MailCounts {
    pub(crate) fn new() -> Self {
        Self(ShortLived::new(WINDOW, ADDRESSES_KEPT))
    }

    /// Counts one more, or says how long to wait.
    pub(crate) fn count(&self, address: &str, now: u64) -> Result<(), Duration> {
        let counted = self.0.with(address, now, |sent| {
            *sent = sent.saturating_add(1);
            *sent
        });
        match counted {
            None => self.0.insert(address, 1, now),
            Some(sent) if sent > MAILS_PER_ADDRESS => return Err(WINDOW),
            Some(_) => {}
        }
        Ok(())
    }
}

impl Accounts {
    /// Says who sends mails. Only the first call counts; without one no address can be validated.
    pub fn set_mailer(&self, mailer: Arc<dyn Mailer>) {
        let _first_counts = self.inner.mailer.set(mailer);
    }

    pub fn sends_mail(&self) -> bool {
        self.inner.mailer.get().is_some()
    }

    /// Sends a mail that nobody waits for. How many are under way, and how often one reader is
    /// written to, is the caller's care: what users ask for must not wait for these.
    pub async fn send_mail(&self, mail: Mail) -> Result<(), SendMailError> {
        let mailer = self.inner.mailer.get().ok_or(SendMailError::NotOffered)?;
        mailer.send(mail).await.map_err(SendMailError::NotSent)
    }
}

/// What a mail is for. The text of one for an address that is of no use says so, and nothing else
/// tells the two apart for whoever asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Matter<'a> {
    Confirm { purpose: EmailPurpose, link: &'a str },
    AlreadyRegistered,
    NoAccount,
}

impl Mail {
    pub(crate) fn about(matter: Matter<'_>, to: &str, server: &str) -> Self {
        let (subject, text) = match matter {
            Matter::Confirm { purpose: EmailPurpose::ResetPassword, link } => (
                format!("Reset your password on {server}"),
                format!(
                    "Somebody asked to reset the password of your account on {server}.\n\n\
                     If it was you, follow this link and confirm, then go on where you asked:\n\n\
                     {link}\n\n\
                     If it was not you, do nothing: your password stays as it is.\n"
                ),
            ),
            Matter::Confirm { link, .. } => (
                format!("Confirm your email address for {server}"),
                format!(
                    "Somebody gave this email address for an account on {server}.\n\n\
                     If it was you, follow this link to confirm that it is yours:\n\n\
                     {link}\n\n\
                     If it was not you, do nothing.\n"
                ),
            ),
            Matter::AlreadyRegistered => (
                format!("You have an account on {server}"),
                format!(
                    "Somebody tried to register on {server} with this email address, which is that \
                     of an account there.\n\n\
                     If it was you, log in with the account that you have, or reset its password.\n\
                     If it was not you, do nothing.\n"
                ),
            ),
            Matter::NoAccount => (
                format!("There is no account with this address on {server}"),
                format!(
                    "Somebody asked to reset a password on {server} with this email address, but no \
                     account there has it.\n\n\
                     If it was you, try another address, or register.\n\
                     If it was not you, do nothing.\n"
                ),
            ),
        };
        Self { to: to.to_owned(), subject, text, ..Self::default() }
    }
}
