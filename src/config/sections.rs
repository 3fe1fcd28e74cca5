//! The sections of `meridian.toml` and how they become the crates' own configuration.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use ruma::OwnedServerName;

use super::{
    clients::{Support, Turn},
    gateways::Gateways,
    policy_server::PolicyServer,
    section::section,
    sign_on::{CaptchaSection, Cas, Oidc},
};
use crate::mail;

section! {
    /// Meridian's configuration. Every line that starts with `#=` shows a default; take away the
    /// `#= ` to change it. The same keys can be set by the environment: MERIDIAN_LISTEN, or
    /// MERIDIAN_STORAGE__ENGINE for `engine` under `[storage]`.
    pub struct Config {
        /// The name of this region: the part after the colon in every user's id. It cannot be
        /// changed once there are users.
        server_name: String = "localhost".to_owned(),
        /// The address to listen on. Put a reverse proxy or `[tls]` in front of anything but
        /// loopback.
        listen: String = "127.0.0.1:8008".to_owned(),
        /// Where all data is kept.
        data_dir: PathBuf = PathBuf::from("data"),
        /// The address under which clients reach this region, for `/.well-known/matrix/client`.
        /// Left out, nothing is advertised.
        public_url: Option<String> = None,
    }
    sections {
        storage: Storage,
        tls: Tls,
        federation: Federation,
        policy_server: PolicyServer,
        registration: Registration,
        login: Login,
        captcha: CaptchaSection,
        mail: Mail,
        rooms: Rooms,
        media: Media,
        presence: Presence,
        appservices: Appservices,
        push: Push,
        search: Search,
        turn: Turn,
        support: Support,
        http: Http,
        gateways: Gateways,
        rate_limits: RateLimits,
        logging: Logging,
    }
}

section! {
    /// How data is kept.
    pub struct Storage {
        /// "fjall" (the default), "sled", or "memory", which forgets everything at the end.
        engine: String = "fjall".to_owned(),
        /// Below this much free disk space (MiB) changes are refused and reads go on. 0 switches
        /// the check off.
        low_water_mib: u64 = 512,
        /// A file of this size (MiB) is kept to be given up when the disk is full, so that the
        /// store can still be opened.
        ballast_mib: u64 = 64,
    }
}

section! {
    /// TLS 1.2 and 1.3. Without it the listening address speaks plain HTTP.
    pub struct Tls {
        /// An address for TLS, such as "0.0.0.0:8448"; `listen` then stays without. Left out, it is
        /// `listen` that speaks TLS.
        listen: Option<String> = None,
        /// The certificate chain, a PEM file.
        certificate: Option<PathBuf> = None,
        /// Its private key, a PEM file.
        private_key: Option<PathBuf> = None,
    }
}

section! {
    /// Who may create an account.
    pub struct Registration {
        /// Whether anybody may register through a client.
        enabled: bool = true,
        /// Ask for a registration token (see `meridian token create`).
        require_token: bool = false,
        /// Ask for an email address that is confirmed by a mail; see `[mail]`.
        require_email: bool = false,
        /// Ask for a captcha to be solved; see `[captcha]`.
        require_captcha: bool = false,
        /// Whether guests may register.
        guests: bool = false,
        /// For tools that register users with a secret at `/_synapse/admin/v1/register`.
        shared_secret: Option<String> = None,
        /// A link to the terms that a new user has to accept.
        terms_url: Option<String> = None,
    }
}

section! {
    /// Other servers.
    pub struct Federation {
        /// Whether this region talks to other servers. Its name then has to lead here: by DNS, or
        /// by `/.well-known/matrix/server` on the host of that name.
        enabled: bool = true,
        /// Where other servers are sent (`m.server`), such as "matrix.example.org:443", if
        /// `/.well-known/matrix/server` of the region's name leads to this process. Left out, it is
        /// not served.
        delegate_to: Option<String> = None,
        /// Certificates (PEM files) of authorities that are trusted besides the public ones.
        certificate_authorities: Vec<PathBuf> = Vec::new(),
        /// Networks that may be connected to although they are private, such as "10.0.0.0/8".
        allowed_addresses: Vec<String> = Vec::new(),
        /// Networks that are never connected to, besides private and special ones.
        denied_addresses: Vec<String> = Vec::new(),
        /// Servers that are asked for the keys of servers that do not answer.
        notaries: Vec<String> = Vec::new(),
        /// Seconds before a server that did not answer is tried again; doubled each time.
        retry_min_seconds: u64 = 10,
        /// The longest such pause, in seconds.
        retry_max_seconds: u64 = 3600,
        /// Seconds for which presence is gathered before another server is told.
        presence_seconds: u64 = 10,
    }
}

section! {
    /// How users log in, and for how long.
    pub struct Login {
        /// Log in with a password.
        password: bool = true,
        /// Minutes for which an access token is valid, for clients that can refresh it.
        access_token_minutes: u64 = 60,
        /// Clients, such as "https://app.example.org/", that get the token of who comes by single
        /// sign-on without a question. Whoever controls what is below these addresses can take
        /// over accounts.
        trusted_clients: Vec<String> = Vec::new(),
        /// OpenID Connect providers, each a [[login.oidc]]. See docs/single-sign-on.md.
        oidc: Vec<Oidc> = Vec::new(),
    }
    sections {
        jwt: Jwt,
        cas: Cas,
    }
}

section! {
    /// Log in with a JSON Web Token of another system (`org.matrix.login.jwt`).
    pub struct Jwt {
        /// Whether such tokens are accepted.
        enabled: bool = false,
        /// The shared secret (HS algorithms), or the public key as PEM text (the others).
        secret: Option<String> = None,
        /// "HS256", "HS384", "HS512", "RS256", "ES256" or "EdDSA".
        algorithm: String = "HS256".to_owned(),
        /// The claim that holds the user's local part.
        subject_claim: String = "sub".to_owned(),
        /// The claim that holds a display name for a new user.
        display_name_claim: Option<String> = None,
        /// Only tokens of this issuer are accepted.
        issuer: Option<String> = None,
        /// Only tokens for one of these audiences are accepted.
        audiences: Vec<String> = Vec::new(),
    }
}

section! {
    /// Mails by which users confirm their addresses and reset their passwords, and are told of
    /// what they have not read. They lead to `public_url`. Without a `host` none are sent.
    pub struct Mail {
        /// The mail server (SMTP).
        host: Option<String> = None,
        /// Its port: 587 for "starttls", 465 for "tls".
        port: u16 = 587,
        /// "starttls", "tls", or "none" for a mail server on this machine.
        security: String = "starttls".to_owned(),
        /// What to log in with there, if it asks for that.
        username: Option<String> = None,
        /// The password that goes with it.
        password: Option<String> = None,
        /// The sender, such as "Example <noreply@example.org>".
        from: Option<String> = None,
        /// Whether whoever asks for a mail is told that an account has the address, or that none
        /// has. Else only the mail says so.
        reveal_accounts: bool = false,
        /// Hosts of clients, such as "app.example.org", to which a link in a mail may lead on.
        next_link_hosts: Vec<String> = Vec::new(),
        /// Whether users may have mails about messages that they have not read. They switch them on
        /// in their client.
        notifications: bool = true,
        /// Minutes for which a message has to be unread before a mail tells of it.
        notification_delay_minutes: u64 = 10,
        /// The web client, such as "https://app.example.org", that those mails lead to. Else they
        /// lead to matrix.to, where the reader chooses one.
        client_url: Option<String> = None,
    }
}

section! {
    /// Rooms.
    pub struct Rooms {
        /// The version of rooms that are created without naming one.
        default_version: String = "12".to_owned(),
    }
}

section! {
    /// What users upload, and what is fetched for them from other servers. The files are in
    /// `media` below the data directory.
    pub struct Media {
        /// The largest upload, in MiB.
        upload_mib_max: u64 = 50,
        /// The largest content of another server that is fetched, in MiB.
        remote_mib_max: u64 = 100,
    }
}

section! {
    /// Who is online.
    pub struct Presence {
        /// Whether presence is tracked and shown.
        enabled: bool = true,
    }
}

section! {
    /// Notifications to the push gateways and push services that users' apps name. Which addresses
    /// and certificates are accepted is said under `[federation]`.
    pub struct Push {
        /// Whether gateways are told the content of events, if the app asks for more than ids, and
        /// mails show it. Of what is encrypted they show nothing in any case.
        content: bool = true,
        /// Whether apps may have notifications sent to a push service (Web Push), which cannot read
        /// them, and need no push gateway.
        web_push: bool = true,
        /// Whether the number on an app's icon is that of rooms with something unread; else it is
        /// that of unread events.
        count_rooms: bool = true,
        /// Seconds before a gateway that did not take a notification is tried again; doubled each
        /// time.
        retry_min_seconds: u64 = 1,
        /// The longest such pause, in seconds.
        retry_max_seconds: u64 = 900,
        /// Hours after which a notification is given up (see `meridian push dead`).
        give_up_hours: u64 = 24,
        /// Whether a message notifies whom it names in its text, by their name or localpart, and all
        /// of a room by `@room`. Meant for bridges and apps that are too old to say whom they
        /// mention; messages of others are not affected. Each such message is put to each user's
        /// name.
        legacy_mentions: bool = false,
    }
}

section! {
    /// Application services: bridges and bots.
    pub struct Appservices {
        /// Their registrations, YAML files as they generate them.
        registrations: Vec<PathBuf> = Vec::new(),
    }
}

section! {
    /// Searching what was said where it is not encrypted.
    pub struct Search {
        /// Whether messages, names and topics of rooms are indexed and found. What is said while
        /// this is off is not found later either.
        enabled: bool = true,
    }
}

section! {
    /// The HTTP edge.
    pub struct Http {
        /// The largest request body, in MiB.
        body_mib_max: usize = 12,
        /// Seconds that a request's header may take to arrive.
        header_timeout_seconds: u64 = 30,
        /// Seconds that a request's body may take to arrive.
        body_timeout_seconds: u64 = 60,
        /// Open connections; more wait to be accepted.
        connections_max: usize = 100_000,
        /// Accept `?access_token=` besides the `Authorization` header.
        query_tokens: bool = true,
        /// Networks of reverse proxies whose `X-Forwarded-For` is believed.
        trusted_proxies: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
        /// Serve the old WebSocket paths `/_matrix/client/unstable/stream` and
        /// `/_matrix/client/ws/r0` with a token in the query.
        legacy_websocket: bool = false,
        /// Seconds that open requests may take to end when the server stops.
        drain_seconds: u64 = 5,
    }
}

section! {
    /// How often one user or address may do what. Each rate is [per second, burst].
    pub struct RateLimits {
        /// Whether rates are limited at all.
        enabled: bool = true,
        /// Events sent, per user.
        message: (f64, u32) = (20.0, 200),
        /// Log-ins, per address.
        login: (f64, u32) = (5.0, 300),
        /// Failed log-ins, per account.
        failed_login: (f64, u32) = (0.2, 10),
        /// Registrations, per address.
        registration: (f64, u32) = (3.0, 300),
        /// Joins and knocks, per user.
        join: (f64, u32) = (5.0, 200),
        /// Invites, per user.
        invite: (f64, u32) = (5.0, 200),
        /// Rooms created or upgraded, per user.
        room_creation: (f64, u32) = (2.0, 200),
        /// Mails asked for, per address.
        mail: (f64, u32) = (0.05, 10),
        /// Everything else that is limited, per user or address.
        other: (f64, u32) = (100.0, 1000),
    }
}

section! {
    /// What is written to standard error.
    pub struct Logging {
        /// What to log, as in `info` or `info,rooms=debug`.
        filter: String = "info,fjall=warn,lsm_tree=warn,sled=warn,ruma_common=warn".to_owned(),
        /// "human" or "json".
        format: String = "human".to_owned(),
    }
}

impl Config {
    /// The annotated example, with every key and its default.
    pub(crate) fn example() -> String {
        let mut out = String::new();
        Self::write_example("", &mut out);
        out
    }

    /// Refuses what could not be used, naming the key.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        self.server_name()?;
        self.engine()?;
        self.support.validate()?;
        self.turn.to_config()?;
        let tls = &self.tls;
        ensure!(
            tls.certificate.is_some() == tls.private_key.is_some(),
            "[tls] needs both `certificate` and `private_key`"
        );
        let jwt = &self.login.jwt;
        ensure!(
            !jwt.enabled || jwt.secret.is_some(),
            "[login.jwt] needs a `secret` when it is enabled"
        );
        ensure!(
            events::RoomVersion::parse(&self.rooms.default_version).is_some(),
            "[rooms] `default_version`: there is no room version {}",
            self.rooms.default_version
        );
        ensure!(
            matches!(self.logging.format.as_str(), "human" | "json"),
            "[logging] `format` is \"human\" or \"json\", not {:?}",
            self.logging.format
        );
        self.accounts()?;
        self.mailer()?;
        self.sso()?;
        self.federation()?;
        self.delegate_to()?;
        self.policy_server.validate()?;
        self.appservices()?;
        self.client_api().map(drop)
    }

    pub(crate) fn server_name(&self) -> anyhow::Result<OwnedServerName> {
        OwnedServerName::try_from(self.server_name.as_str())
            .with_context(|| format!("`server_name`: {:?} is not a server name", self.server_name))
    }

    fn engine(&self) -> anyhow::Result<storage::EngineKind> {
        match self.storage.engine.as_str() {
            "fjall" => Ok(storage::EngineKind::Fjall),
            "sled" => Ok(storage::EngineKind::Sled),
            "memory" => Ok(storage::EngineKind::Memory),
            other => anyhow::bail!(
                "[storage] `engine` is \"fjall\", \"sled\" or \"memory\", not {other:?}"
            ),
        }
    }

    pub(crate) fn storage(&self) -> anyhow::Result<storage::Config> {
        let mut config = storage::Config::at(self.engine()?, self.data_dir.join("store"));
        config.low_water_bytes = self.storage.low_water_mib << 20;
        config.ballast_bytes = self.storage.ballast_mib << 20;
        Ok(config)
    }

    pub(crate) fn client_api(&self) -> anyhow::Result<client_api::Config> {
        let http = &self.http;
        let proxies = http.trusted_proxies.iter().map(|net| {
            net.parse().with_context(|| format!("[http] `trusted_proxies`: {net:?} is no network"))
        });
        let rate = |(per_second, burst)| client_api::Rate { per_second, burst };
        let rates = &self.rate_limits;
        Ok(client_api::Config {
            query_tokens: http.query_tokens,
            body_bytes_max: http.body_mib_max << 20,
            body_timeout: Duration::from_secs(http.body_timeout_seconds),
            registration: client_api::Registration {
                enabled: self.registration.enabled,
                require_token: self.registration.require_token,
                require_email: self.registration.require_email,
                require_captcha: self.registration.require_captcha,
                guests: self.registration.guests,
                terms_url: self.registration.terms_url.clone(),
            },
            password_login: self.login.password,
            search: self.search.enabled,
            captcha_public_key: self.captcha()?.map(|captcha| captcha.public_key),
            public_url: self.public_url.clone(),
            support: self.support.to_config(),
            rate_limits: client_api::RateLimits {
                enabled: rates.enabled,
                message: rate(rates.message),
                login: rate(rates.login),
                failed_login: rate(rates.failed_login),
                registration: rate(rates.registration),
                join: rate(rates.join),
                invite: rate(rates.invite),
                room_creation: rate(rates.room_creation),
                mail: rate(rates.mail),
                other: rate(rates.other),
            },
            trusted_proxies: client_api::TrustedProxies(proxies.collect::<anyhow::Result<_>>()?),
            legacy_websocket: http.legacy_websocket,
            ..client_api::Config::default()
        })
    }

    pub(crate) fn delegate_to(&self) -> anyhow::Result<Option<OwnedServerName>> {
        let parse = |name: &str| {
            OwnedServerName::try_from(name)
                .with_context(|| format!("[federation] `delegate_to`: {name:?} is no server name"))
        };
        self.federation.delegate_to.as_deref().map(parse).transpose()
    }

    pub(crate) fn federation(&self) -> anyhow::Result<federation::Config> {
        let section = &self.federation;
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| {
                format!("[federation] `certificate_authorities`: cannot read {}", path.display())
            })
        };
        let networks = |key: &str, nets: &[String]| {
            let parse = |net: &String| {
                net.parse().with_context(|| format!("[federation] `{key}`: {net:?} is no network"))
            };
            nets.iter().map(parse).collect::<anyhow::Result<_>>()
        };
        let notary = |name: &String| {
            OwnedServerName::try_from(name.as_str())
                .with_context(|| format!("[federation] `notaries`: {name:?} is no server name"))
        };
        let authorities = section.certificate_authorities.iter().map(read);
        Ok(federation::Config {
            certificate_authorities: authorities.collect::<anyhow::Result<_>>()?,
            allowed_addresses: networks("allowed_addresses", &section.allowed_addresses)?,
            denied_addresses: networks("denied_addresses", &section.denied_addresses)?,
            notaries: section.notaries.iter().map(notary).collect::<anyhow::Result<_>>()?,
            retry_min: Duration::from_secs(section.retry_min_seconds.max(1)),
            retry_max: Duration::from_secs(section.retry_max_seconds.max(1)),
            presence_interval: Duration::from_secs(section.presence_seconds),
            ..federation::Config::default()
        })
    }

    pub(crate) fn accounts(&self) -> anyhow::Result<accounts::Config> {
        Ok(accounts::Config {
            refreshable_access_token_lifetime: Duration::from_secs(
                self.login.access_token_minutes * 60,
            ),
            registration_shared_secret: self
                .registration
                .shared_secret
                .as_ref()
                .map(|secret| accounts::Secret::new(secret.as_bytes())),
            jwt: self.login.jwt.to_login()?,
            hide_email_owners: !self.mail.reveal_accounts,
            next_link_hosts: self.mail.next_link_hosts.clone(),
            identity_providers: self.sso()?.providers().map(|it| it.id.clone()).collect(),
            legacy_mentions: self.push.legacy_mentions,
            turn: self.turn.to_config()?,
            ..accounts::Config::default()
        })
    }

    pub(crate) fn appservices(&self) -> anyhow::Result<Vec<appservice::Registration>> {
        let server_name = self.server_name()?;
        let read = |path: &PathBuf| {
            let about = || format!("[appservices] `registrations`: {}", path.display());
            let text = std::fs::read_to_string(path).with_context(about)?;
            appservice::Registration::parse(&text, &server_name).with_context(about)
        };
        self.appservices.registrations.iter().map(read).collect()
    }

    /// `None` if no mails are sent.
    pub(crate) fn mailer(&self) -> anyhow::Result<Option<mail::Config>> {
        let section = &self.mail;
        let Some(host) = &section.host else {
            ensure!(
                !self.registration.require_email,
                "[registration] `require_email` needs [mail]"
            );
            return Ok(None);
        };
        ensure!(self.public_url.is_some(), "[mail] needs a `public_url` for its links to lead to");
        ensure!(
            section.username.is_some() == section.password.is_some(),
            "[mail] needs both `username` and `password`, or neither"
        );
        ensure!(
            section.client_url.as_ref().is_none_or(|url| url.starts_with("https://")),
            "[mail] `client_url` begins with https://"
        );
        let from = section.from.as_deref().context("[mail] needs a sender, `from`")?;
        let credentials = section.username.clone().zip(section.password.clone());
        Ok(Some(mail::Config {
            host: host.clone(),
            port: section.port,
            security: section.security.parse()?,
            credentials,
            from: from.parse().with_context(|| format!("[mail] `from`: {from:?}"))?,
        }))
    }

    pub(crate) fn presence(&self) -> presence::Config {
        presence::Config { enabled: self.presence.enabled, ..presence::Config::default() }
    }

    pub(crate) fn push(&self) -> push::Config {
        let section = &self.push;
        let contact = || format!("https://{}/", self.server_name);
        let contact = self.public_url.clone().unwrap_or_else(contact);
        push::Config {
            with_content: section.content,
            count_rooms: section.count_rooms,
            retry_min: Duration::from_secs(section.retry_min_seconds.max(1)),
            retry_max: Duration::from_secs(section.retry_max_seconds.max(1)),
            give_up: Duration::from_secs(section.give_up_hours.saturating_mul(60 * 60)),
            web_push_contact: section.web_push.then_some(contact),
            mail: self.push_mail(),
            ..push::Config::default()
        }
    }

    fn push_mail(&self) -> Option<push::MailConfig> {
        let section = &self.mail;
        let public_url = self.public_url.as_deref()?;
        (section.host.is_some() && section.notifications).then(|| push::MailConfig {
            brand: self.server_name.clone(),
            unsubscribe_url: client_api::unsubscribe_url(public_url),
            client_url: section.client_url.clone(),
            delay: Duration::from_secs(section.notification_delay_minutes.saturating_mul(60)),
            ..push::MailConfig::default()
        })
    }

    pub(crate) fn media(&self) -> media::Config {
        media::Config {
            upload_bytes_max: self.media.upload_mib_max << 20,
            remote_bytes_max: self.media.remote_mib_max << 20,
            ..media::Config::at(self.data_dir.join("media"))
        }
    }

    pub(crate) fn rooms(&self) -> rooms::Config {
        rooms::Config {
            default_room_version: self.rooms.default_version.clone(),
            ..rooms::Config::default()
        }
    }
}

impl Jwt {
    fn to_login(&self) -> anyhow::Result<Option<accounts::JwtLogin>> {
        if !self.enabled {
            return Ok(None);
        }
        let secret = self.secret.as_deref().unwrap_or_default();
        let algorithm = self.algorithm.parse().with_context(|| {
            format!("[login.jwt] `algorithm`: {:?} is not known", self.algorithm)
        })?;
        let key = if self.algorithm.starts_with("HS") {
            accounts::JwtKey::Secret(accounts::Secret::new(secret.as_bytes()))
        } else {
            accounts::JwtKey::PublicPem(secret.to_owned())
        };
        Ok(Some(accounts::JwtLogin {
            key,
            algorithm,
            subject_claim: self.subject_claim.clone(),
            display_name_claim: self.display_name_claim.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
        }))
    }
}
