//! What other servers can do to us: whole regions behind the routes that everybody can reach, and
//! servers that keep to no rules. Effects are looked for where users would see them, here and on a
//! third server.

mod contents;
mod denied;
mod handshakes;
mod headers;
mod hostile;
mod json;
mod notices;
mod policy;
mod reads;
mod region;
mod signatures;
mod third_party;
mod transactions;

use std::{collections::BTreeMap, sync::Arc};

use events::RoomVersion;
use rooms::{CreateRoom, JoinRequest, MembershipChange, Preset, Profile};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use self::{hostile::Hostile, region::Region};
use crate::net::Net;

/// A public room of ada on `us.test`, in which carl of `third.test` and mallory of `evil.test` are.
struct Scene {
    net: Arc<Net>,
    us: Region,
    third: Region,
    evil: Hostile,
    ada: OwnedUserId,
    carl: OwnedUserId,
    mallory: OwnedUserId,
    room: OwnedRoomId,
}

impl Scene {
    async fn new(version: &str) -> Self {
        let scene = Self::without_mallory(version).await;
        let joined = scene.evil.join(&scene.us, &scene.room, &scene.mallory).await;
        assert_eq!(joined.status, 200, "{}", joined.body);
        scene.third.has_member(&scene.room, &scene.mallory).await;
        scene
    }

    async fn without_mallory(version: &str) -> Self {
        let net = Arc::new(Net::new());
        let us = Region::start(&net, "us.test:1").await;
        let third = Region::start(&net, "third.test:1").await;
        let evil = Hostile::start(&net, "evil.test:1").await;
        let (ada, carl) = (us.user("ada").await, third.user("carl").await);
        let mallory = evil.user("mallory");
        let room = us.room(&ada, version, Preset::PublicChat).await;
        third.join(&carl, &room, &us).await;
        us.has_member(&room, &carl).await;
        Self { net, us, third, evil, ada, carl, mallory, room }
    }

    /// What a refused request must leave as it was, for users here and on the third server.
    async fn seen(&self) -> [Seen; 2] {
        [self.us.seen(&self.room, &self.ada).await, self.third.seen(&self.room, &self.carl).await]
    }

    /// Honest traffic flows on, both ways, and nothing else has arrived meanwhile.
    async fn assert_nothing_but_honest_traffic(&self, before: &[Seen; 2], case: &str) {
        let said = self.us.say(&self.ada, &self.room, "still here").await;
        self.third.has_event(&self.room, &said).await;
        let answer = self.third.say(&self.carl, &self.room, "me too").await;
        self.us.has_event(&self.room, &answer).await;
        let after = self.seen().await;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.state, after.state, "{case}");
            let mut expected = before.timeline.clone();
            expected.extend([said.clone(), answer.clone()]);
            assert_eq!(expected, after.timeline, "{case}");
        }
    }
}

/// A room as a user sees it.
#[derive(Debug)]
struct Seen {
    state: BTreeMap<(String, String), OwnedEventId>,
    /// The oldest first.
    timeline: Vec<OwnedEventId>,
}

fn version(version: &str) -> &'static RoomVersion {
    RoomVersion::parse(version).expect("a room version")
}

fn join_request<'a>(user: &'a UserId, room: &'a RoomId) -> JoinRequest<'a> {
    JoinRequest {
        room_id: room,
        user,
        profile: Profile::default(),
        guest: false,
        reason: None,
        via: Vec::new(),
        extra: None,
    }
}

fn change<'a>(sender: &'a UserId, room: &'a RoomId, target: &'a UserId) -> MembershipChange<'a> {
    MembershipChange { room_id: room, sender, target, reason: None }
}

fn create_room<'a>(creator: &'a UserId, version: &'a str, preset: Preset) -> CreateRoom<'a> {
    CreateRoom { preset: Some(preset), room_version: Some(version), ..CreateRoom::new(creator) }
}
