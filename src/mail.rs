//! Mails over SMTP.

use std::{
    future::Future,
    pin::Pin,
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use accounts::{Mail, Mailer};
use anyhow::Context as _;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{authentication::Credentials, extension::ClientId},
};
use ruma::OwnedServerName;
use stdx::{Rng, SharedClock};

/// Somebody waits for the answer. Each command of the protocol may take half of it.
const PATIENCE: Duration = Duration::from_secs(20);
const MESSAGE_ID_CHARS: usize = 24;

/// How the way to the mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    StartTls,
    Tls,
    None,
}

impl FromStr for Security {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "starttls" => Ok(Self::StartTls),
            "tls" => Ok(Self::Tls),
            "none" => Ok(Self::None),
            other => anyhow::bail!(
                "[mail] `security` is \"starttls\", \"tls\" or \"none\", not {other:?}"
            ),
        }
    }
}

/// The mail server, and who writes.
pub(crate) struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
    /// User name and password.
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) from: Mailbox,
}

pub(crate) struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    server_name: OwnedServerName,
    clock: SharedClock,
    rng: Rng,
}

impl SmtpMailer {
    pub(crate) fn new(
        config: Config,
        server_name: OwnedServerName,
        clock: SharedClock,
        rng: Rng,
    ) -> anyhow::Result<Self> {
        let Config { host, port, security, credentials, from } = config;
        let builder = match security {
            Security::StartTls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&host),
            Security::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(&host),
            Security::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)),
        };
        let mut builder = builder
            .context("[mail] `host`")?
            .port(port)
            .hello_name(ClientId::Domain(server_name.host().to_owned()))
            .timeout(Some(PATIENCE / 2));
        if let Some((username, password)) = credentials {
            builder = builder.credentials(Credentials::new(username, password));
        }
        Ok(Self { transport: builder.build(), from, server_name, clock, rng })
    }

    fn message(&self, mail: Mail) -> anyhow::Result<Message> {
        let id = mail.id.unwrap_or_else(|| self.rng.alphanumeric(MESSAGE_ID_CHARS));
        let date = UNIX_EPOCH + Duration::from_millis(self.clock.now_ms());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, mail.to.parse()?))
            .subject(mail.subject)
            .date(date)
            .message_id(Some(format!("<{id}@{}>", self.server_name.host())))
            .header(AutoSubmitted);
        if let Some(url) = mail.unsubscribe {
            builder = builder.header(ListUnsubscribe(url)).header(ListUnsubscribePost);
        }
        let message = match mail.html {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(mail.text, html)),
            None => builder.header(ContentType::TEXT_PLAIN).body(mail.text),
        };
        message.map_err(anyhow::Error::from)
    }

    async fn hand_over(&self, mail: Mail) -> Result<(), String> {
        let message = self.message(mail).map_err(|error| format!("{error:#}"))?;
        match tokio::time::timeout(PATIENCE, self.transport.send(message)).await {
            Ok(sent) => sent.map(drop).map_err(|error| error.to_string()),
            Err(_elapsed) => Err("the mail server does not answer in time".to_owned()),
        }
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, mail: Mail) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.hand_over(mail))
    }
}

/// Keeps automatic replies away (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

/// Where mail programs end mails such as this one for their user (RFC 8058).
#[derive(Clone)]
struct ListUnsubscribe(String);

#[derive(Clone)]
struct ListUnsubscribePost;

/// Mails are written here, not read.
fn not_read<T>() -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    Err("this header is not read".into())
}

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        not_read()
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        not_read()
    }

    /// On one line: programs that fold a URL back together are few.
    fn display(&self) -> HeaderValue {
        let value = format!("<{}>", self.0);
        HeaderValue::dangerous_new_pre_encoded(Self::name(), value.clone(), value)
    }
}

impl Header for ListUnsubscribePost {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe-Post")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        not_read()
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "List-Unsubscribe=One-Click".to_owned())
    }
}
