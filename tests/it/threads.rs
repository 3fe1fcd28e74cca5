//! Which threads a user wants to hear of.

use http::Method;
use serde_json::json;

use crate::{
    server::{Answer, Server},
    user::{User, event_id, message_path, segment},
};

async fn reply(user: &User<'_>, room: &str, root: &str, txn: &str) -> String {
    let content = json!({
        "msgtype": "m.text", "body": txn,
        "m.relates_to": { "rel_type": "m.thread", "event_id": root },
    });
    event_id(&user.put(&message_path(room, txn), content).await.ok())
}

struct Thread<'t, 's> {
    user: &'t User<'s>,
    path: String,
}

impl<'t, 's> Thread<'t, 's> {
    fn new(user: &'t User<'s>, room: &str, root: &str) -> Self {
        let (room, root) = (segment(room), segment(root));
        let path = format!("/unstable/io.element.msc4306/rooms/{room}/thread/{root}/subscription");
        Self { user, path }
    }

    async fn subscribe(&self) {
        self.user.put(&self.path, json!({})).await.ok();
    }

    async fn subscribe_for(&self, cause: &str) -> Answer {
        self.user.put(&self.path, json!({ "automatic": cause })).await
    }

    async fn unsubscribe(&self) {
        self.user.call(Method::DELETE, &self.path, String::new()).await.ok();
    }

    /// Whether the subscription is automatic, if there is one.
    async fn subscription(&self) -> Option<bool> {
        let answer = self.user.get(&self.path).await;
        if answer.status == 404 {
            answer.refused("none", 404, "M_NOT_FOUND");
            return None;
        }
        answer.ok()["automatic"].as_bool()
    }
}

#[tokio::test]
async fn what_a_user_does_wins_over_what_a_client_does_for_them() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let root = ada.say(&room, "root", "root").await;
    let first = reply(&bob, &room, &root, "1").await;
    let thread = Thread::new(&ada, &room, &root);
    assert_eq!(thread.subscription().await, None);
    thread.subscribe_for(&first).await.ok();
    assert_eq!(thread.subscription().await, Some(true));
    thread.subscribe().await;
    assert_eq!(thread.subscription().await, Some(false), "by hand");
    thread.subscribe_for(&first).await.ok();
    assert_eq!(thread.subscription().await, Some(false), "still by hand");
    assert_eq!(Thread::new(&bob, &room, &root).subscription().await, None, "ada's is not bob's");
    thread.unsubscribe().await;
    thread.unsubscribe().await;
    assert_eq!(thread.subscription().await, None);
}

#[tokio::test]
async fn an_event_from_before_an_unsubscription_does_not_subscribe_again() {
    const CONFLICT: &str = "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION";
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let root = ada.say(&room, "root", "root").await;
    let before = reply(&ada, &room, &root, "before").await;
    let thread = Thread::new(&ada, &room, &root);
    thread.subscribe_for(&before).await.ok();
    thread.unsubscribe().await;
    thread.subscribe_for(&before).await.refused("seen already", 409, CONFLICT);
    let after = reply(&ada, &room, &root, "after").await;
    thread.subscribe_for(&after).await.ok();
    thread.subscribe_for(&before).await.ok();
    assert_eq!(thread.subscription().await, Some(true));
    thread.unsubscribe().await;
    thread.subscribe_for(&after).await.refused("seen by now", 409, CONFLICT);
    thread.subscribe().await;
    assert_eq!(thread.subscription().await, Some(false), "by hand, always");
}

#[tokio::test]
async fn only_threads_that_can_be_seen_are_followed_and_for_events_in_them() {
    const ELSEWHERE: &str = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD";
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.create_room(json!({})).await;
    let root = ada.say(&room, "root", "root").await;
    let other = ada.say(&room, "other", "other").await;
    let in_other = reply(&ada, &room, &other, "1").await;
    let thread = Thread::new(&ada, &room, &root);
    for event in [&*other, &in_other, "$nothing:x.test"] {
        thread.subscribe_for(event).await.refused(event, 400, ELSEWHERE);
    }
    thread.subscribe_for(&root).await.ok();
    thread.subscribe_for("junk").await.refused("no id", 400, "M_BAD_JSON");
    let not_bobs = Thread::new(&bob, &room, &root);
    bob.put(&not_bobs.path, json!({})).await.refused("not in the room", 404, "M_NOT_FOUND");
    let nothing = Thread::new(&ada, &room, "$nothing:x.test");
    ada.put(&nothing.path, json!({})).await.refused("no event", 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn messages_are_filtered_by_their_relations() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.room_with(&[]).await;
    let root = ada.say(&room, "root", "root").await;
    let threaded = reply(&ada, &room, &root, "1").await;
    let content =
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": root, "key": "x" } });
    let path = format!("/v3/rooms/{}/send/m.reaction/2", segment(&room));
    let reaction = event_id(&ada.put(&path, content).await.ok());
    let ask = async |filter: &str| {
        let path = format!(
            "/v3/rooms/{}/messages?dir=b&limit=3&filter={}",
            segment(&room),
            segment(filter)
        );
        ada.get(&path).await
    };
    for (filter, expected) in [
        (r#"{"org.matrix.msc3874.rel_types":["m.thread"]}"#, vec![&threaded]),
        (r#"{"rel_types":["m.thread","m.annotation"]}"#, vec![&reaction, &threaded]),
        (r#"{"rel_types":["m.thread"],"not_rel_types":["m.thread"]}"#, vec![]),
        (
            r#"{"org.matrix.msc3874.not_rel_types":["m.thread","m.annotation"],"types":["m.room.message"]}"#,
            vec![&root],
        ),
        (r#"{"types":["m.room.message"]}"#, vec![&threaded, &root]),
    ] {
        let page = ask(filter).await.ok();
        let found: Vec<_> =
            page["chunk"].as_array().expect("a list").iter().map(event_id).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
    }
    let wrong = r#"{"org.matrix.msc3874.rel_types":5}"#;
    ask(wrong).await.refused(wrong, 400, "M_INVALID_PARAM");
}
