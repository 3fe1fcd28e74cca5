//! Accounts: who may use this server, how they prove it, and what they keep here.
//!
//! Users and passwords, sessions and their tokens, user-interactive authentication, profiles,
//! account data, push rules, tags and filters. Devices and rooms are other crates' business: a
//! workflow that spans them (deactivation leaves rooms, logout deletes a device) lives above.
//!
//! Start reading at `accounts.rs`, then `sessions.rs`; `store.rs` is the only file that names
//! tables.

mod account_data;
mod accounts;
mod captcha;
mod config;
mod email_address;
mod email_validation;
mod external_identities;
mod filters;
mod identity_servers;
mod invite_permission;
mod jwt_login;
mod login_tokens;
mod mail;
mod moderation;
mod once;
mod openid;
mod passwords;
mod profiles;
mod push_rules;
mod registration_tokens;
mod registrations;
mod remote_profiles;
mod replaced_rooms;
mod reports;
mod sessions;
mod shared_secret;
mod store;
pub mod stream;
mod tags;
mod thread_subscriptions;
mod threepids;
mod tokens;
mod turn;
mod uia;
mod user_source;
mod username;
mod users;

pub use account_data::{AccountDataError, AccountDataEvent};
pub use accounts::{Accounts, OpenError};
pub use captcha::CaptchaVerifier;
pub use config::{Config, JwtKey, JwtLogin, Secret};
pub use email_validation::{
    ConfirmedEmail, EmailPurpose, EmailTokenError, EmailTokenRequest, ValidatedEmail,
};
pub use external_identities::{ExternalIdentity, LinkError};
pub use filters::FilterError;
pub use identity_servers::{
    IdentityAnswer, IdentityAuth, IdentityError, IdentityFuture, IdentityRequest, IdentityServer,
    IdentityServers, KeptInvite, NewThreepidInvite,
};
pub use invite_permission::{InvitePermission, InviteVerdict};
pub use jsonwebtoken::Algorithm as JwtAlgorithm;
pub use jwt_login::{JwtIdentity, JwtLoginError};
pub use mail::{Mail, Mailer, SendMailError};
pub use moderation::Restriction;
pub use once::ShortLived;
pub use passwords::PasswordError;
pub use profiles::{Profile, ProfileError};
pub use push_rules::{
    CONTAINS_DISPLAY_NAME, CONTAINS_USER_NAME, PushRulesError, ROOM_NOTIF, push_rule_id,
    push_rules_to_json, shown_push_rule_id,
};
pub use registration_tokens::{NewRegistrationToken, RegistrationToken, RegistrationTokenError};
pub use remote_profiles::{ProfileFields, RemoteProfiles};
pub use reports::{Report, ReportError, Reported};
pub use sessions::{
    ActAs, ActAsError, Appservice, EndSessions, NewSession, RefreshError, Session, SessionError,
    SessionId, TokenError, Tokens,
};
pub use shared_secret::{SharedSecretError, SharedSecretRequest};
pub use store::StoreError;
pub use thread_subscriptions::{Subscription, ThreadSubscriptionChange, ThreadSubscriptionError};
pub use threepids::{AddThreepidError, Threepid};
pub use turn::{Turn, TurnCredentials};
pub use uia::{
    Confirmation, Stage, Uia, UiaAsked, UiaDone, UiaError, UiaFlow, UiaInfo, UiaOutcome, UiaRequest,
};
pub use user_source::{UserFuture, UserSource};
pub use username::UsernameError;
pub use users::{NewUser, RegisterError, User};
