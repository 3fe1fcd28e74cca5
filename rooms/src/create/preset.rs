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
    pub(super) fn state(self) -> Vec<(&'static str, Content)> {
        let join_rule = match self {
            Self::PrivateChat | Self::TrustedPrivateChat => "invite",
            Self::PublicChat => "public",
        };
        let mut state = vec![
            ("m.room.join_rules", one("join_rule", join_rule)),
            ("m.room.history_visibility", one("history_visibility", "shared")),
        ];
        // Guests are forbidden to come in where nothing is said of them.
        if self != Self::PublicChat {
            state.push(("m.room.guest_access", one("guest_access", "can_join")));
        }
        state
    }
}

fn one(key: &str, value: &str) -> Content {
    let mut content = Content::new();
    content.set(key, value);
    content
}
