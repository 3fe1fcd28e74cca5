//! Rooms: a direct one and a group, invites, joins, and what the SDK makes of them.

use anyhow::{Result, bail, ensure};
use matrix_sdk::{
    RoomMemberships, RoomState,
    ruma::{
        OwnedRoomId, RoomId,
        api::client::room::create_room::v3::{Request, RoomPreset},
        assign, int,
    },
};

use crate::{World, person::Person, steps::ScenarioOver};

impl World {
    pub(crate) async fn make_rooms(&mut self) -> Result<(), ScenarioOver> {
        let Self { step, alice, bob, carol, .. } = self;
        let direct = step
            .essential("create a direct room; the other is invited", open_direct(alice, bob))
            .await?;
        step.essential("accept the direct invite", accept_direct(alice, bob, &direct)).await?;
        let group = step
            .essential("create a group room; two are invited", open_group(alice, bob, carol))
            .await?;
        step.essential("accept the group invites; all see three members", async {
            for person in [&*bob, &*carol] {
                person.room(&group)?.join().await?;
            }
            for person in [alice, bob, carol] {
                person
                    .until("three members", async |person: &Person| {
                        let room = person.client.get_room(&group)?;
                        (room.state() == RoomState::Joined && room.joined_members_count() == 3)
                            .then_some(())
                    })
                    .await?;
                let members = person.room(&group)?.members(RoomMemberships::JOIN).await?;
                ensure!(members.len() == 3, "{} lists {} members", person.name, members.len());
            }
            Ok(())
        })
        .await?;
        self.direct = Some(direct);
        self.group = Some(group);
        Ok(())
    }
}

/// The SDK creates the room with `is_direct` and `trusted_private_chat`, and writes `m.direct`.
async fn open_direct(alice: &Person, bob: &mut Person) -> Result<OwnedRoomId> {
    let direct = alice.client.create_dm(bob.id()).await?.room_id().to_owned();
    bob.until("the invite", async |bob: &Person| invited(bob, &direct)).await?;
    let room = bob.room(&direct)?;
    let invite = room.invite_details().await?;
    ensure!(
        invite.inviter.is_some_and(|inviter| inviter.user_id() == alice.id()),
        "the invite has no inviter"
    );
    ensure!(room.compute_is_dm().await?, "the invite does not say that the room is direct");
    Ok(direct)
}

async fn accept_direct(alice: &mut Person, bob: &mut Person, direct: &RoomId) -> Result<()> {
    bob.room(direct)?.join().await?;
    let bob_id = bob.id().to_owned();
    alice
        .until("bob's join", async |alice: &Person| {
            let joined = |event: &&serde_json::Value| {
                event["type"] == "m.room.member"
                    && event["state_key"] == bob_id.as_str()
                    && event["content"]["membership"] == "join"
            };
            alice.events(direct).any(|event| joined(&event)).then_some(())
        })
        .await?;
    alice
        .until("the room among the direct ones", async |alice: &Person| {
            alice.client.get_dm_room(&bob_id).filter(|room| room.room_id() == direct).map(|_| ())
        })
        .await?;
    bob.until("the joined room", async |bob: &Person| {
        bob.client.get_room(direct).filter(|room| room.state() == RoomState::Joined).map(|_| ())
    })
    .await?;
    let level = alice.room(direct)?.get_user_power_level(&bob_id).await?;
    ensure!(level >= int!(100), "a trusted private chat leaves the other at {level:?}");
    Ok(())
}

async fn open_group(
    alice: &mut Person,
    bob: &mut Person,
    carol: &mut Person,
) -> Result<OwnedRoomId> {
    let request = assign!(Request::new(), {
        name: Some("The lighthouse".to_owned()),
        topic: Some("Keepers only".to_owned()),
        preset: Some(RoomPreset::PrivateChat),
        invite: vec![bob.id().to_owned()],
    });
    let room = alice.client.create_room(request).await?;
    room.invite_user_by_id(carol.id()).await?;
    let group = room.room_id().to_owned();
    for person in [bob, carol] {
        person.until("the invite", async |person: &Person| invited(person, &group)).await?;
        let name = person.room(&group)?.name();
        if name.as_deref() != Some("The lighthouse") {
            bail!("the invite shows the name {name:?}");
        }
    }
    Ok(group)
}

fn invited(person: &Person, room: &RoomId) -> Option<()> {
    person.client.get_room(room).filter(|room| room.state() == RoomState::Invited).map(|_| ())
}
