//! Rule 5: `m.room.member`.

use std::sync::Arc;

use ruma::UserId;

use super::{
    AuthState, Create, Membership, PowerLevels, Verdict, forbidden, require,
    third_party::check_third_party_invite,
};
use crate::{
    Pdu, RoomVersion,
    canonical::{Object, Value},
};

struct Change<'a, S> {
    version: &'a RoomVersion,
    pdu: &'a Pdu,
    content: Object<'a>,
    target: &'a UserId,
    create: &'a Pdu,
    state: &'a S,
}

pub(crate) fn check_membership(
    version: &RoomVersion,
    pdu: &Pdu,
    create: &Pdu,
    state: &impl AuthState,
) -> Verdict {
    let target = pdu
        .state_key()
        .and_then(|key| <&UserId>::try_from(key).ok())
        .ok_or_else(|| forbidden("a membership event whose state key is no user id"))?;
    let content = pdu.content_object();
    let membership = content.get("membership").and_then(Value::as_str);
    let membership = membership.and_then(Membership::parse);
    check_authoriser(version, &content)?;
    let change = Change { version, pdu, content, target, create, state };
    match membership {
        Some(Membership::Join) => change.check_join(),
        Some(Membership::Invite) => change.check_invite(),
        Some(Membership::Leave) => change.check_leave(),
        Some(Membership::Ban) => change.check_ban(),
        Some(Membership::Knock) if version.knocking() => change.check_knock(),
        _ => Err(forbidden("unknown membership")),
    }
}

/// Rule 5.2: who is named in `join_authorised_via_users_server` must have had their server sign,
/// whatever the membership. That is checked with the signatures; what names nobody has none.
fn check_authoriser(version: &RoomVersion, content: &Object<'_>) -> Verdict {
    let Some(user) = content.get("join_authorised_via_users_server") else { return Ok(()) };
    let valid = user.as_str().is_some_and(|user| <&UserId>::try_from(user).is_ok());
    require(
        valid || !version.restricted_joins(),
        "`join_authorised_via_users_server` is not a user id",
    )
}

impl<S: AuthState> Change<'_, S> {
    fn sender(&self) -> &UserId {
        self.pdu.sender()
    }

    fn by_target(&self) -> bool {
        self.sender() == self.target
    }

    fn power_levels(&self) -> Arc<PowerLevels> {
        self.state.power_levels(self.version, self.create)
    }

    fn require_joined_sender(&self) -> Verdict {
        let joined = self.state.membership(self.sender()) == Membership::Join;
        require(joined, "the sender is not joined to the room")
    }

    /// The join rule; rooms without one are open to the invited only, as deployed servers have it.
    fn join_rule(&self) -> JoinRule {
        let Some(event) = self.state.get("m.room.join_rules", "") else {
            return JoinRule::Invite;
        };
        let content = event.content_object();
        JoinRule::parse(content.get("join_rule").and_then(Value::as_str).unwrap_or_default())
    }

    fn is_creators_first_join(&self) -> bool {
        *self.pdu.prev_events() == [self.create.event_id().clone()]
            && Create::read(self.version, self.create).creator().as_deref() == Some(self.target)
    }

    fn check_join(&self) -> Verdict {
        if self.is_creators_first_join() {
            return Ok(());
        }
        require(self.by_target(), "nobody joins for another user")?;
        let membership = self.state.membership(self.target);
        require(membership != Membership::Ban, "the user is banned")?;
        let welcome = matches!(membership, Membership::Invite | Membership::Join);
        match self.join_rule() {
            JoinRule::Public => Ok(()),
            JoinRule::Invite => require(welcome, "the user is not invited"),
            JoinRule::Knock if self.version.knocking() => {
                require(welcome, "the user is not invited")
            }
            JoinRule::Restricted if self.version.restricted_joins() => {
                if welcome {
                    Ok(())
                } else {
                    self.check_restricted_join()
                }
            }
            JoinRule::KnockRestricted if self.version.knock_restricted_joins() => {
                if welcome {
                    Ok(())
                } else {
                    self.check_restricted_join()
                }
            }
            _ => Err(forbidden("the room's join rule lets nobody in")),
        }
    }

    /// Rule 5.3.5.2. That the authorising user's server signed the event is checked with the
    /// signatures.
    fn check_restricted_join(&self) -> Verdict {
        let user = self
            .content
            .get("join_authorised_via_users_server")
            .and_then(Value::as_str)
            .and_then(|user| <&UserId>::try_from(user).ok())
            .ok_or_else(|| forbidden("the user is not invited, and nobody authorised the join"))?;
        require(
            self.state.membership(user) == Membership::Join,
            "the user who authorised the join is not joined to the room",
        )?;
        let levels = self.power_levels();
        require(
            levels.for_user(user) >= levels.invite(),
            "the power of the user who authorised the join does not allow to invite",
        )
    }

    fn check_invite(&self) -> Verdict {
        if let Some(invite) = self.content.get("third_party_invite") {
            return check_third_party_invite(self.pdu, self.target, invite, self.state);
        }
        self.require_joined_sender()?;
        let membership = self.state.membership(self.target);
        require(membership != Membership::Join, "the invited user is joined already")?;
        require(membership != Membership::Ban, "the invited user is banned")?;
        let levels = self.power_levels();
        require(
            levels.for_user(self.sender()) >= levels.invite(),
            "the sender's power does not allow to invite",
        )
    }

    fn check_leave(&self) -> Verdict {
        let membership = self.state.membership(self.target);
        if self.by_target() {
            let may_leave = match membership {
                Membership::Invite | Membership::Join => true,
                Membership::Knock => self.version.knocking(),
                Membership::Leave | Membership::Ban => false,
            };
            return require(may_leave, "the user is not in the room to leave it");
        }
        self.require_joined_sender()?;
        let levels = self.power_levels();
        let level = levels.for_user(self.sender());
        require(
            membership != Membership::Ban || level >= levels.ban(),
            "the sender's power does not allow to lift the ban",
        )?;
        require(
            level >= levels.kick() && levels.for_user(self.target) < level,
            "the sender's power does not allow to remove the user",
        )
    }

    fn check_ban(&self) -> Verdict {
        self.require_joined_sender()?;
        let levels = self.power_levels();
        let level = levels.for_user(self.sender());
        require(
            level >= levels.ban() && levels.for_user(self.target) < level,
            "the sender's power does not allow to ban the user",
        )
    }

    fn check_knock(&self) -> Verdict {
        let knockable = match self.join_rule() {
            JoinRule::Knock => true,
            JoinRule::KnockRestricted => self.version.knock_restricted_joins(),
            _ => false,
        };
        require(knockable, "the room's join rule does not allow to knock")?;
        require(self.by_target(), "nobody knocks for another user")?;
        require(
            matches!(self.state.membership(self.target), Membership::Leave | Membership::Knock),
            "the user is banned, invited or joined",
        )
    }
}

enum JoinRule {
    Public,
    Invite,
    Knock,
    Restricted,
    KnockRestricted,
    Other,
}

impl JoinRule {
    fn parse(text: &str) -> Self {
        match text {
            "public" => Self::Public,
            "invite" => Self::Invite,
            "knock" => Self::Knock,
            "restricted" => Self::Restricted,
            "knock_restricted" => Self::KnockRestricted,
            _ => Self::Other,
        }
    }
}
