//! Whether those who are invited want to be ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#invite-permission

use accounts::{Accounts, InviteVerdict};
use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;

/// Refuses to invite a user of this server who blocks that.
pub(crate) async fn permit(
    accounts: &Accounts,
    inviter: &UserId,
    target: &UserId,
) -> Result<(), Error> {
    match accounts.invite_permission(target).await?.of(inviter) {
        InviteVerdict::Blocked => Err(Error::invite_blocked(target)),
        InviteVerdict::Allowed | InviteVerdict::Ignored => Ok(()),
    }
}

/// As [`permit`], if the state is an invite. What is wrong with it otherwise is not found here.
pub(crate) async fn permit_state(
    accounts: &Accounts,
    inviter: &UserId,
    event_type: &str,
    state_key: &str,
    content: &RawValue,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Member {
        membership: String,
    }
    if event_type != "m.room.member" {
        return Ok(());
    }
    let member = serde_json::from_str::<Member>(content.get());
    let is_invite = member.is_ok_and(|member| member.membership == "invite");
    match <&UserId>::try_from(state_key) {
        Ok(target) if is_invite => permit(accounts, inviter, target).await,
        _ => Ok(()),
    }
}
