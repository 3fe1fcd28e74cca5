//! What a preset means.

use crate::content::Content;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    PrivateChat,
    TrustedPrivateChat,
    PublicChat,
}

impl Preset {
    /// The state events of the preset, in order.
    pub(super) fn state(self) -> [(&'static str, Content); 3] {
        let (join_rule, guest_access) = match self {
            Self::PrivateChat | Self::TrustedPrivateChat => ("invite", "can_join"),
            Self::PublicChat => ("public", "forbidden"),
        };
        [
            ("m.room.join_rules", one("join_rule", join_rule)),
            ("m.room.history_visibility", one("history_visibility", "shared")),
            ("m.room.guest_access", one("guest_access", guest_access)),
        ]
    }
}

fn one(key: &str, value: &str) -> Content {
    let mut content = Content::new();
    content.set(key, value);
    content
}
