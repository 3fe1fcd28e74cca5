//! Who may invite a user: `m.invite_permission_config` of their account data ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#invite-permission

use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

const INVITE_PERMISSION_CONFIG: &str = "m.invite_permission_config";

/// What a user says of who may invite them. By default everybody may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvitePermission {
    blocks_all: bool,
}

impl InvitePermission {
    /// "A missing, invalid or unsupported value means that the user wants to receive invites as
    /// normal."
    fn parse(content: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Content {
            default_action: String,
        }
        let content = serde_json::from_str::<Content>(content.get());
        Self { blocks_all: content.is_ok_and(|content| content.default_action == "block") }
    }

    /// Whether nobody may.
    pub fn blocks_all(&self) -> bool {
        self.blocks_all
    }
}

impl Accounts {
    /// Of users of other servers nothing is known: those servers have a say themselves.
    pub async fn invite_permission(&self, user: &UserId) -> Result<InvitePermission, StoreError> {
        if !self.is_local(user) {
            return Ok(InvitePermission::default());
        }
        let content = self.account_data(user, None, INVITE_PERMISSION_CONFIG).await?;
        Ok(content.map(|content| InvitePermission::parse(&content)).unwrap_or_default())
    }
}
