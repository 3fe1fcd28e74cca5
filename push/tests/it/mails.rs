//! Digests by mail: when they come, what they say, and how they end.

use accounts::{Mail, Session};
use push::PusherError;
use ruma::{EventId, RoomId};
use serde_json::json;

use crate::{
    gateway::event_ids,
    postbox::Delivery,
    world::{World, mail_pusher},
};

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

fn readers(mails: &[Mail]) -> Vec<&str> {
    mails.iter().map(|mail| mail.to.as_str()).collect()
}

/// A user whose gateway is told of everything in some rooms: then the mails of others, of what was said
/// before, are noted down.
struct Witness(Session);

impl Witness {
    async fn of(world: &World, rooms: &[&RoomId]) -> Self {
        let witness = Self(world.pushed("witness").await);
        for room in rooms {
            witness.joins(world, room).await;
        }
        witness
    }

    async fn joins(&self, world: &World, room: &RoomId) {
        world.join(room, &self.0.user_id).await;
    }

    async fn hears(&self, world: &World, event: &EventId) {
        let mut heard = Vec::new();
        while event_ids(&heard).last() != Some(&event.as_str()) {
            heard.extend(world.gateway.takes(1).await);
        }
    }
}

#[tokio::test]
async fn what_is_unread_for_ten_minutes_comes_once_and_in_one_mail() {
    let world = World::new().await;
    let (ada, ben, eve) =
        (world.user("ada").await, world.mailed("ben").await, world.mailed("eve").await);
    let room = world.room(&ada.user_id, Some("Kitchen")).await;
    let other = world.room(&ada.user_id, Some("Cellar")).await;
    world.join(&room, &ben.user_id).await;
    world.join(&other, &eve.user_id).await;
    let witness = Witness::of(&world, &[&room, &other]).await;
    let one = world.say(&room, &ada, "one").await;
    witness.hears(&world, &one).await;
    world.clock.advance(5 * MINUTE_MS);
    world.say(&room, &ada, "two").await;
    let three = world.say(&other, &ada, "three").await;
    witness.hears(&world, &three).await;
    assert_eq!(world.postbox.taken(), []);
    world.clock.advance(5 * MINUTE_MS);
    let mails = world.postbox.takes(1).await;
    assert_eq!(readers(&mails), ["ben@mail.test"]);
    assert_eq!(mails[0].subject, "[x.test] 2 new messages in Kitchen");
    for part in ["> one", "> two", "https://matrix.to/#/", "https://x.test/end?ticket="] {
        assert!(mails[0].text.contains(part), "{part}: {}", mails[0].text);
    }
    world.clock.advance(5 * MINUTE_MS);
    let mails = world.postbox.takes(1).await;
    assert_eq!(readers(&mails), ["eve@mail.test"]);
    assert!(mails[0].text.contains("> three"), "{}", mails[0].text);
}

#[tokio::test]
async fn what_is_read_or_left_meanwhile_is_not_written_about() {
    let world = World::new().await;
    let (ada, ben, eve) =
        (world.user("ada").await, world.mailed("ben").await, world.mailed("eve").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let left = world.shared_room(&[&ada, &ben]).await;
    let of_eve = world.shared_room(&[&ada, &eve]).await;
    let witness = Witness::of(&world, &[&of_eve]).await;
    let read = world.say(&room, &ada, "was-read").await;
    world.say(&left, &ada, "was-left").await;
    let last = world.say(&of_eve, &ada, "for eve").await;
    witness.hears(&world, &last).await;
    world.read(&room, &ben, &read).await;
    world.rooms.leave(&left, &ben.user_id, None).await.expect("ben may leave");
    world.clock.advance(10 * MINUTE_MS);
    assert_eq!(readers(&world.postbox.takes(1).await), ["eve@mail.test"]);
    // What comes after that is.
    world.say(&room, &ada, "unread").await;
    let last = world.say(&of_eve, &ada, "for eve").await;
    witness.hears(&world, &last).await;
    world.clock.advance(HOUR_MS);
    let mails = world.postbox.takes(2).await;
    let to_ben = mails.iter().find(|mail| mail.to == "ben@mail.test").expect("a mail to ben");
    assert!(to_ben.text.contains("> unread") && !to_ben.text.contains("was-"), "{to_ben:?}");
}

#[tokio::test]
async fn a_room_is_written_about_less_and_less_often_until_it_is_calm() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    // Minutes from a message right after a mail to the next mail.
    for (number, wait) in [10, 10, 60, 360, 1440, 1440].into_iter().enumerate() {
        // Somebody is written to for the first time a moment before ben is.
        let eve = world.mailed(&format!("eve{number}")).await;
        let of_eve = world.shared_room(&[&ada, &eve]).await;
        witness.joins(&world, &of_eve).await;
        if wait == 10 {
            let event = world.say(&of_eve, &ada, "for eve").await;
            witness.hears(&world, &event).await;
            world.clock.advance(1);
        }
        let event = world.say(&room, &ada, "again").await;
        witness.hears(&world, &event).await;
        if wait > 10 {
            world.clock.advance((wait - 10) * MINUTE_MS - 1);
            let event = world.say(&of_eve, &ada, "for eve").await;
            witness.hears(&world, &event).await;
            world.clock.advance(1);
        }
        world.clock.advance(10 * MINUTE_MS - 1);
        let early = world.postbox.takes(1).await;
        assert_eq!(readers(&early), [format!("eve{number}@mail.test")], "{wait}");
        world.clock.advance(1);
        assert_eq!(readers(&world.postbox.takes(1).await), ["ben@mail.test"], "{wait}");
    }
    // A day of calm, and it is as in the beginning.
    world.clock.advance(DAY_MS);
    let event = world.say(&room, &ada, "after all").await;
    witness.hears(&world, &event).await;
    world.clock.advance(10 * MINUTE_MS);
    let mails = world.postbox.takes(1).await;
    assert!(mails[0].text.contains("> after all"), "{mails:?}");
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_a_mail() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    let before = world.say(&room, &ada, "before").await;
    witness.hears(&world, &before).await;
    let world = world.restart().await;
    world.clock.advance(10 * MINUTE_MS);
    let mails = world.postbox.takes(1).await;
    assert!(mails[0].text.contains("> before"), "{mails:?}");
    let world = world.restart().await;
    let after = world.say(&room, &ada, "after").await;
    witness.hears(&world, &after).await;
    world.clock.advance(HOUR_MS);
    let mails = world.postbox.takes(1).await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0].text.contains("> after") && !mails[0].text.contains("> before"), "{mails:?}");
}

#[tokio::test]
async fn a_mail_under_way_is_waited_for_at_the_end_and_not_written_again() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    world.postbox.becomes(Delivery::TakesLate);
    let hello = world.say(&room, &ada, "hello").await;
    witness.hears(&world, &hello).await;
    world.clock.advance(10 * MINUTE_MS);
    assert!(world.postbox.takes(1).await[0].text.contains("> hello"));
    let postbox = world.postbox.clone();
    let says_so = async {
        // Whoever would not wait is gone by then.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        postbox.becomes(Delivery::Takes);
    };
    let (world, ()) = tokio::join!(world.restart(), says_so);
    let more = world.say(&room, &ada, "more").await;
    witness.hears(&world, &more).await;
    world.clock.advance(HOUR_MS);
    let mails = world.postbox.takes(1).await;
    assert!(mails[0].text.contains("> more") && !mails[0].text.contains("> hello"), "{mails:?}");
}

#[tokio::test]
async fn a_mail_that_fails_is_tried_again_as_the_same_and_given_up_after_a_day() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    world.postbox.becomes(Delivery::Fails);
    let hello = world.say(&room, &ada, "hello").await;
    witness.hears(&world, &hello).await;
    world.clock.advance(10 * MINUTE_MS);
    let mut tried = world.postbox.is_tried(1).await;
    for _ in 0..2 {
        world.clock.advance(HOUR_MS);
        tried.extend(world.postbox.is_tried(1).await);
    }
    world.postbox.becomes(Delivery::Takes);
    world.clock.advance(HOUR_MS);
    let taken = world.postbox.takes(1).await;
    assert!(taken[0].id.is_some() && tried.iter().all(|mail| mail.id == taken[0].id), "{tried:?}");
    assert_eq!(world.push.dead_letters(10).await.expect("readable"), []);

    world.postbox.becomes(Delivery::Fails);
    let lost = world.say(&room, &ada, "lost").await;
    witness.hears(&world, &lost).await;
    let dead = loop {
        world.clock.advance(HOUR_MS);
        let dead = world.push.dead_letters(10).await.expect("readable");
        if !dead.is_empty() {
            break dead;
        }
        tokio::task::yield_now().await;
    };
    let [(_, letter)] = dead.as_slice() else { panic!("{dead:?}") };
    assert_eq!((letter.event_id.as_ref(), letter.gateway.as_str()), (Some(&lost), "mail"));
    assert!(letter.reason.contains("full"), "{letter:?}");
}

#[tokio::test]
async fn of_what_is_encrypted_a_mail_shows_nothing() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.room(&ada.user_id, Some("Vault")).await;
    world.join(&room, &ben.user_id).await;
    let witness = Witness::of(&world, &[&room]).await;
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    world.set_state(&room, &ada.user_id, "m.room.encryption", &encryption).await;
    let sealed = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "sealed-text" });
    world.event(&room, &ada.user_id, "m.room.encrypted", &sealed).await;
    let last = world.say(&room, &ada, "said in the clear by accident").await;
    witness.hears(&world, &last).await;
    world.clock.advance(10 * MINUTE_MS);
    let mail = world.postbox.takes(1).await.remove(0);
    let html = mail.html.clone().expect("HTML");
    for text in [&mail.text, &html, &mail.subject] {
        assert!(!text.contains("sealed") && !text.contains("accident"), "{text}");
    }
    assert!(mail.text.contains("Vault") && mail.text.contains("sent a message"), "{}", mail.text);
}

#[tokio::test]
async fn of_very_much_a_mail_shows_the_newest_and_the_rest_is_bounded() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.room(&ada.user_id, Some("Square")).await;
    world.join(&room, &ben.user_id).await;
    let witness = Witness::of(&world, &[&room]).await;
    for number in 0..599 {
        world.say(&room, &ada, &format!("number {number}")).await;
    }
    let last = world.say(&room, &ada, "the last").await;
    witness.hears(&world, &last).await;
    world.clock.advance(10 * MINUTE_MS);
    let mail = world.postbox.takes(1).await.remove(0);
    assert_eq!(mail.subject, "[x.test] 500 new messages in Square");
    for part in ["> number 595\n", "> number 598\n", "> the last\n", "and 495 more messages"] {
        assert!(mail.text.contains(part), "{part}: {}", mail.text);
    }
    assert_eq!(mail.text.matches("number").count(), 4, "{}", mail.text);
}

#[tokio::test]
async fn a_pusher_goes_with_its_address_and_not_with_its_session() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    let foreign = world.push.set_pusher(&ada, mail_pusher("ben@mail.test")).await;
    assert!(matches!(foreign, Err(PusherError::NotOwnAddress(_))), "{foreign:?}");
    let mut other_app = mail_pusher("ben@mail.test");
    other_app.app_id = "org.example.app".to_owned();
    let refused = world.push.set_pusher(&ben, other_app).await;
    assert!(matches!(refused, Err(PusherError::Invalid(_))), "{refused:?}");
    // The same address in other letters is the same pusher.
    world.set(&ben, mail_pusher("Ben@Mail.test")).await;
    assert_eq!(world.pushers(&ben).await, 1);

    world.accounts.end_session(ben.id).await.expect("ended");
    let hello = world.say(&room, &ada, "hello").await;
    witness.hears(&world, &hello).await;
    world.clock.advance(10 * MINUTE_MS);
    assert_eq!(readers(&world.postbox.takes(1).await), ["ben@mail.test"]);

    let removed = world.accounts.delete_threepid(&ben.user_id, "email", "ben@mail.test").await;
    assert!(removed.expect("writable"));
    assert_eq!(world.pushers(&ben).await, 0);
    world.clock.advance(1);
    world.has_address(&ben, "ben@mail.test").await;
    assert_eq!(world.pushers(&ben).await, 0, "the address is back, and nobody asked for mails");
}

#[tokio::test]
async fn a_ticket_ends_the_mails_of_its_pusher() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.mailed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let witness = Witness::of(&world, &[&room]).await;
    let hello = world.say(&room, &ada, "hello").await;
    witness.hears(&world, &hello).await;
    world.clock.advance(10 * MINUTE_MS);
    let mail = world.postbox.takes(1).await.remove(0);
    let unsubscribe = mail.unsubscribe.expect("a link");
    let ticket = unsubscribe.strip_prefix("https://x.test/end?ticket=").expect("a ticket");
    assert!(world.push.is_ticket(ticket) && !world.push.is_ticket("forged"));
    assert!(!world.push.unsubscribe("forged").await.expect("readable"));
    assert_eq!(world.pushers(&ben).await, 1);
    for _ in 0..2 {
        assert!(world.push.unsubscribe(ticket).await.expect("writable"));
        assert_eq!(world.pushers(&ben).await, 0);
    }
    // One that is set anew is another.
    world.set(&ben, mail_pusher("ben@mail.test")).await;
    assert!(world.push.unsubscribe(ticket).await.expect("writable"));
    assert_eq!(world.pushers(&ben).await, 1);
}
