//! Restricted rooms: who may come in because they are in another room, and who vouches for them.

use std::collections::BTreeSet;

use events::{Level, PowerLevels};
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};
use serde::Deserialize;

use crate::{Error, draft::Draft, rooms::Inner, store::Members};

/// Members asked for one who may vouch, beyond those with a level of their own.
const CANDIDATES: usize = 100;
/// Conditions of a join rule that are looked at.
const CONDITIONS: usize = 100;

#[derive(Deserialize)]
struct JoinRules {
    join_rule: String,
    #[serde(default)]
    allow: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Inner {
    /// The local user to name in `join_authorised_via_users_server`; `None` if the join needs
    /// nobody's word.
    pub(crate) async fn vouching_user(
        &self,
        draft: &mut Draft<'_>,
        user: &UserId,
        local_joined: &BTreeSet<OwnedUserId>,
    ) -> Result<Option<OwnedUserId>, Error> {
        let Some(allow) = restricted_to(draft).await? else { return Ok(None) };
        // Whoever is in or invited needs nobody, and for a banned user nobody's word counts.
        if draft.membership(user).await? != MembershipState::Leave
            && draft.membership(user).await? != MembershipState::Knock
        {
            return Ok(None);
        }
        match self.is_in_any(user, &allow).await? {
            Some(true) => {}
            Some(false) => {
                return Err(Error::Forbidden(
                    "you are in none of the rooms from which this room may be joined".to_owned(),
                ));
            }
            None => return Err(Error::UnableToAuthoriseJoin),
        }
        let levels = draft.power_levels().await?;
        let named = named_users(draft).await?;
        named
            .into_iter()
            .filter(|user| local_joined.contains(user))
            .chain(local_joined.iter().take(CANDIDATES).cloned())
            .find(|user| may_invite(&levels, user))
            .map(Some)
            .ok_or(Error::UnableToGrantJoin)
    }

    /// `None` if the user is in none of those that this server is in, and it is not in all.
    async fn is_in_any(&self, user: &UserId, rooms: &[OwnedRoomId]) -> Result<Option<bool>, Error> {
        let mut all_known = true;
        for room in rooms {
            // What is known of a room that nobody here is in any more is out of date.
            let is_known = self.view(room).await?.is_some_and(|view| !view.local_joined.is_empty());
            let row = self.store.get::<Members>(room, user).await?;
            if is_known && row.is_some_and(|row| row.membership == MembershipState::Join) {
                return Ok(Some(true));
            }
            all_known &= is_known;
        }
        Ok(all_known.then_some(false))
    }
}

/// The rooms whose members may join; `None` if the room is not restricted.
async fn restricted_to(draft: &mut Draft<'_>) -> Result<Option<Vec<OwnedRoomId>>, Error> {
    let version = draft.version();
    let event = draft.state("m.room.join_rules", "").await?;
    let rules = event.and_then(|event| event.content_as::<JoinRules>().ok());
    let Some(rules) = rules else { return Ok(None) };
    let restricted = match rules.join_rule.as_str() {
        "restricted" => version.restricted_joins(),
        "knock_restricted" => version.knock_restricted_joins(),
        _ => false,
    };
    Ok(restricted.then(|| rules.allow.iter().take(CONDITIONS).filter_map(allowed_room).collect()))
}

fn allowed_room(condition: &serde_json::Map<String, serde_json::Value>) -> Option<OwnedRoomId> {
    let is_membership = condition.get("type")?.as_str()? == "m.room_membership";
    is_membership.then(|| condition.get("room_id")?.as_str()?.try_into().ok())?
}

/// Those to whom the room gives a level of their own: creators, and users named in the levels.
async fn named_users(draft: &mut Draft<'_>) -> Result<Vec<OwnedUserId>, Error> {
    #[derive(Deserialize)]
    struct Levels {
        users: serde_json::Map<String, serde_json::Value>,
    }
    let levels = draft.state("m.room.power_levels", "").await?;
    let named = levels.and_then(|event| event.content_as::<Levels>().ok());
    let create = draft.state("m.room.create", "").await?;
    let creator = create.map(|create| create.sender().to_owned());
    let named = named.into_iter().flat_map(|levels| levels.users.into_iter().map(|(user, _)| user));
    Ok(creator.into_iter().chain(named.filter_map(|user| UserId::parse(user).ok())).collect())
}

fn may_invite(levels: &PowerLevels, user: &UserId) -> bool {
    let level: Level = levels.for_user(user);
    level >= levels.invite()
}
