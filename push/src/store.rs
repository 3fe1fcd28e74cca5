//! The tables of this crate. Nothing else here names one.

mod outbox;
mod pushers;

pub use self::outbox::DeadLetter;
pub(crate) use self::{
    outbox::{Item, NoticeRecord, OutboxStore},
    pushers::PusherStore,
};
