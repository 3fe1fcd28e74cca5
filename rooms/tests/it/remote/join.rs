//! Joins through other servers that mean well.

use ruma::events::room::member::MembershipState;

use super::{VERSIONS, join_via, public_room};
use crate::wire::Wire;

const JOIN: Option<MembershipState> = Some(MembershipState::Join);

#[tokio::test]
async fn a_room_of_any_version_is_joined_through_a_server_that_is_in_it() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap_or_else(|error| {
            panic!("version {version}: {error}");
        });
        for world in [&one, &two] {
            assert_eq!(world.membership(&bob, &room).await, JOIN, "version {version}");
            assert_eq!(world.membership(&ada, &room).await, JOIN, "version {version}");
        }
        let views = (
            one.rooms.room(&room).await.unwrap().unwrap(),
            two.rooms.room(&room).await.unwrap().unwrap(),
        );
        assert_eq!(views.0.state, views.1.state, "version {version}");
        assert_eq!(views.0.servers, views.1.servers, "version {version}");
        assert_eq!((views.1.joined_members, views.1.version.as_str()), (2, version));

        let hello = two.send(&bob, &room, "hello").await.unwrap();
        let reply = one.send(&ada, &room, "reply").await.unwrap();
        wire.deliver(&[&one, &two]).await;
        for world in [&one, &two] {
            let viewer = if world.server == "one.test" { &ada } else { &bob };
            for event in [&hello, &reply] {
                world.rooms.event(viewer, &room, event).await.expect("both see both");
            }
        }
    }
}
