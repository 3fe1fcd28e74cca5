//! The tables of this crate. Nothing else here names one.

mod pushers;

pub(crate) use self::pushers::PusherStore;
