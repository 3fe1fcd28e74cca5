//! Backups of room keys: versions, which copy of a session stays, and what goes.

use std::collections::BTreeMap;

use devices::{BackupError, BackupScope, BackupSessions};
use ruma::{UserId, room_id, user_id};
use serde_json::{json, value::RawValue};

use crate::{Server, raw};

fn session(verified: bool, index: u64, forwarded: u64, data: &str) -> Box<RawValue> {
    raw(&json!({
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": { "ciphertext": data },
    })
    .to_string())
}

fn one(session: Box<RawValue>) -> BackupSessions {
    let of_room = BTreeMap::from([("s".to_owned(), session)]);
    BackupSessions::from([(room_id!("!r:example.org").to_owned(), of_room)])
}

impl Server {
    async fn new_backup(&self, user: &UserId) -> u64 {
        self.devices.create_backup(user, "m.test", &raw("{}")).await.expect("created")
    }
}

#[tokio::test]
async fn versions_are_numbered_and_the_newest_that_is_left_is_current() {
    let mut server = Server::new();
    let ada = user_id!("@ada:example.org");
    let current = async |server: &Server| server.devices.backup(ada, None).await;
    assert!(matches!(current(&server).await, Err(BackupError::NotFound)));
    assert_eq!((server.new_backup(ada).await, server.new_backup(ada).await), (1, 2));
    server.reopen();
    assert_eq!(current(&server).await.expect("there").version, 2);
    let refused = server.devices.back_up_sessions(ada, 1, &one(session(true, 0, 0, "a"))).await;
    assert!(matches!(refused, Err(BackupError::WrongVersion { current: 2 })));
    let other = server.devices.update_backup(ada, 2, "m.other", &raw("{}")).await;
    assert!(matches!(other, Err(BackupError::Invalid(_))));
    server.devices.update_backup(ada, 2, "m.test", &raw(r#"{"x":1}"#)).await.expect("updated");
    assert_eq!(current(&server).await.expect("there").auth_data.get(), r#"{"x":1}"#);
    server.devices.update_backup(ada, 2, "m.test", &raw(r#""opaque""#)).await.expect("updated");
    assert_eq!(current(&server).await.expect("there").auth_data.get(), r#""opaque""#);
    let list = server.devices.update_backup(ada, 2, "m.test", &raw("[]")).await;
    assert!(matches!(list, Err(BackupError::Malformed(_))));
    server.devices.delete_backup(ada, 2).await.expect("deleted");
    assert_eq!(current(&server).await.expect("there").version, 1);
    assert!(matches!(server.devices.delete_backup(ada, 2).await, Err(BackupError::NotFound)));
    assert_eq!(server.new_backup(ada).await, 3, "a number is not used again");
}

#[tokio::test]
async fn the_best_copy_of_a_session_stays() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    let version = server.new_backup(ada).await;
    // (verified, first index, forwarded), whether it takes the place of those before.
    let cases = [
        ((false, 5, 5), true),
        ((false, 5, 5), false),
        ((false, 6, 0), false),
        ((false, 5, 4), true),
        ((false, 4, 9), true),
        ((true, 9, 9), true),
        ((false, 0, 0), false),
    ];
    let mut etag = 0;
    for (n, ((verified, index, forwarded), wins)) in cases.into_iter().enumerate() {
        let sessions = one(session(verified, index, forwarded, &n.to_string()));
        let contents = server.devices.back_up_sessions(ada, version, &sessions).await;
        let contents = contents.expect("stored");
        assert_eq!((contents.count, contents.etag > etag), (1, wins), "case {n}");
        etag = contents.etag;
        let all = server.devices.backed_up_sessions(ada, version, BackupScope::All).await;
        let all = all.expect("read");
        let there = all[room_id!("!r:example.org")]["s"].get().contains(&format!("\"{n}\""));
        assert_eq!(there, wins, "case {n}");
    }
    let odd = [
        r#"{"first_message_index":-1,"forwarded_count":0,"is_verified":true,"session_data":{}}"#,
        "{}",
        "[]",
    ];
    for odd in odd {
        let refused = server.devices.back_up_sessions(ada, version, &one(raw(odd))).await;
        assert!(matches!(refused, Err(BackupError::Malformed(_))), "{odd}");
    }
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_nothing_else() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    let version = server.new_backup(ada).await;
    let rooms = [room_id!("!a:example.org"), room_id!("!b:example.org")];
    let of_room: BTreeMap<_, _> =
        (0..1200).map(|n| (n.to_string(), session(true, 0, 0, "x"))).collect();
    let sessions: BackupSessions =
        rooms.iter().map(|room| ((*room).to_owned(), of_room.clone())).collect();
    server.devices.back_up_sessions(ada, version, &sessions).await.expect("stored");
    let count = async |scope| {
        let found = server.devices.backed_up_sessions(ada, version, scope).await.expect("read");
        found.values().map(BTreeMap::len).sum::<usize>()
    };
    let (a, b) = (rooms[0].as_str(), rooms[1].as_str());
    let left = server.devices.delete_backed_up_sessions(ada, version, BackupScope::Session(a, "7"));
    assert_eq!(left.await.expect("deleted").count, 2399);
    assert_eq!(count(BackupScope::Session(a, "7")).await, 0);
    assert_eq!(count(BackupScope::Session(b, "7")).await, 1);
    let left = server.devices.delete_backed_up_sessions(ada, version, BackupScope::Room(a)).await;
    assert_eq!(left.expect("deleted").count, 1200);
    assert_eq!((count(BackupScope::Room(a)).await, count(BackupScope::All).await), (0, 1200));
    server.devices.delete_backup(ada, version).await.expect("deleted");
    let gone = server.devices.backed_up_sessions(ada, version, BackupScope::All).await;
    assert!(matches!(gone, Err(BackupError::NotFound)));
}
