//! The tables of this crate. Nothing else here names one.

mod mails;
mod outbox;
mod pushers;
mod secrets;

pub use self::outbox::DeadLetter;
pub(crate) use self::{
    mails::{MailStore, Mailed, Throttle},
    outbox::{Item, NoticeRecord, OutboxStore},
    pushers::PusherStore,
    secrets::load_secrets,
};
