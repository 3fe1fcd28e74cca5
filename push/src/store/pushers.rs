//! Pushers: rows in the user's partition, and the ways to find them from elsewhere.

use accounts::SessionId;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Position, Range, ReadError, Store, Table, Versioned};

use crate::{
    Kind, Pusher,
    pusher::{Activation, Tie},
};

/// The index of users is spread over this many partitions.
const INDEX_PARTITIONS: u32 = 64;
const PAGE: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct PusherRecord {
    id: u64,
    kind: String,
    app_display_name: String,
    device_display_name: String,
    profile_tag: Option<String>,
    lang: String,
    /// JSON.
    data: String,
    enabled: bool,
    device_id: OwnedDeviceId,
    tie: TieRecord,
    activation: Option<ActivationRecord>,
    set_ts: u64,
    since: Position,
}

impl Versioned for PusherRecord {
    const VERSION: u8 = 2;
    type Previous = PusherRecordV1;
}

#[derive(Debug, Serialize, Deserialize)]
enum TieRecord {
    Session(u64),
    Address { added_at: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
struct ActivationRecord {
    done: bool,
    ack_token: String,
    expires_at: u64,
}

/// When there were pushers over HTTP only.
#[derive(Debug, Serialize, Deserialize)]
struct PusherRecordV1 {
    id: u64,
    kind: String,
    app_display_name: String,
    device_display_name: String,
    profile_tag: Option<String>,
    lang: String,
    data: String,
    enabled: bool,
    device_id: OwnedDeviceId,
    session: u64,
    set_ts: u64,
    since: Position,
}

impl Versioned for PusherRecordV1 {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl From<PusherRecordV1> for PusherRecord {
    fn from(old: PusherRecordV1) -> Self {
        Self {
            id: old.id,
            kind: old.kind,
            app_display_name: old.app_display_name,
            device_display_name: old.device_display_name,
            profile_tag: old.profile_tag,
            lang: old.lang,
            data: old.data,
            enabled: old.enabled,
            device_id: old.device_id,
            tie: TieRecord::Session(old.session),
            activation: None,
            set_ts: old.set_ts,
            since: old.since,
        }
    }
}

struct Pushers;

impl Table for Pushers {
    const NAME: &'static str = "pushers";
    /// User.
    type Partition = String;
    /// App and key.
    type Sort = (String, String);
    type Value = PusherRecord;
}

/// Who else has a pusher with an app and key.
struct PusherOwners;

impl Table for PusherOwners {
    const NAME: &'static str = "pusher_owners";
    /// App and key.
    type Partition = (String, String);
    /// User.
    type Sort = String;
    type Value = ();
}

/// Users who have, or had, pushers.
struct PusherUsers;

impl Table for PusherUsers {
    const NAME: &'static str = "pusher_users";
    type Partition = u32;
    type Sort = String;
    type Value = ();
}

fn index_partition(user: &UserId) -> u32 {
    let mix = |sum: u32, byte: u8| sum.wrapping_mul(31).wrapping_add(u32::from(byte));
    user.as_bytes().iter().copied().fold(0, mix) % INDEX_PARTITIONS
}

impl PusherRecord {
    fn new(pusher: &Pusher) -> Self {
        let data = serde_json::to_string(&pusher.data).expect("a map of JSON values is JSON");
        Self {
            id: pusher.id,
            kind: pusher.kind.as_str().to_owned(),
            app_display_name: pusher.app_display_name.clone(),
            device_display_name: pusher.device_display_name.clone(),
            profile_tag: pusher.profile_tag.clone(),
            lang: pusher.lang.clone(),
            data,
            enabled: pusher.enabled,
            device_id: pusher.device_id.clone(),
            tie: TieRecord::new(pusher.tie),
            activation: pusher.activation.clone().map(ActivationRecord::new),
            set_ts: pusher.set_ts,
            since: pusher.since,
        }
    }

    /// `None` if a later build knew a kind that this one does not.
    fn into_pusher(self, user_id: OwnedUserId, app_id: String, pushkey: String) -> Option<Pusher> {
        Some(Pusher {
            id: self.id,
            user_id,
            app_id,
            pushkey,
            kind: Kind::parse(&self.kind)?,
            app_display_name: self.app_display_name,
            device_display_name: self.device_display_name,
            profile_tag: self.profile_tag,
            lang: self.lang,
            data: serde_json::from_str(&self.data).unwrap_or_default(),
            enabled: self.enabled,
            device_id: self.device_id,
            tie: self.tie.into_tie(),
            activation: self.activation.map(ActivationRecord::into_activation),
            set_ts: self.set_ts,
            since: self.since,
        })
    }
}

impl TieRecord {
    fn new(tie: Tie) -> Self {
        match tie {
            Tie::Session(session) => Self::Session(session.to_u64()),
            Tie::Address { added_at } => Self::Address { added_at },
        }
    }

    fn into_tie(self) -> Tie {
        match self {
            Self::Session(session) => Tie::Session(SessionId::from_u64(session)),
            Self::Address { added_at } => Tie::Address { added_at },
        }
    }
}

impl ActivationRecord {
    fn new(activation: Activation) -> Self {
        let Activation { done, ack_token, expires_at } = activation;
        Self { done, ack_token, expires_at }
    }

    fn into_activation(self) -> Activation {
        let Self { done, ack_token, expires_at } = self;
        Activation { done, ack_token, expires_at }
    }
}

/// The named operations on pushers.
#[derive(Clone)]
pub(crate) struct PusherStore(pub(crate) Store);

impl PusherStore {
    /// Durable on return.
    pub(crate) async fn replace(
        &self,
        removed: &[Pusher],
        set: Option<&Pusher>,
    ) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        for Pusher { user_id, app_id, pushkey, .. } in removed {
            batch.derive_delete::<Pushers>(user_id, (app_id, pushkey));
            batch.derive_delete::<PusherOwners>((app_id, pushkey), user_id);
        }
        if let Some(pusher) = set {
            let Pusher { user_id, app_id, pushkey, .. } = pusher;
            batch.put::<Pushers>(user_id, (app_id, pushkey), &PusherRecord::new(pusher));
            batch.derive_put::<PusherOwners>((app_id, pushkey), user_id, &());
            batch.derive_put::<PusherUsers>(index_partition(user_id), user_id, &());
        }
        self.0.commit(batch).await.map(drop)
    }

    pub(crate) async fn owners(
        &self,
        app_id: &str,
        pushkey: &str,
    ) -> Result<Vec<OwnedUserId>, ReadError> {
        let rows = self.0.scan::<PusherOwners>((&app_id, &pushkey), Range::all().limit(PAGE));
        Ok(rows.await?.into_iter().filter_map(|row| UserId::parse(row.sort).ok()).collect())
    }

    /// Every pusher there is, for the registry in memory.
    pub(crate) async fn all(&self, mut each: impl FnMut(Pusher)) -> Result<(), ReadError> {
        for partition in 0..INDEX_PARTITIONS {
            let mut range = Range::all().limit(PAGE);
            loop {
                let users = self.0.scan::<PusherUsers>(partition, range).await?;
                let Some(last) = users.last().map(|row| row.sort.clone()) else { break };
                for user in users.into_iter().filter_map(|row| UserId::parse(row.sort).ok()) {
                    for row in self.0.scan::<Pushers>(&user, Range::all()).await? {
                        let (app_id, pushkey) = row.sort;
                        let pusher = row.value.into_pusher(user.clone(), app_id, pushkey);
                        pusher.into_iter().for_each(&mut each);
                    }
                }
                range = Range::after(&last).limit(PAGE);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_user_id;
    use storage::Record as _;

    use super::{PusherRecord, PusherRecordV1};
    use crate::{Kind, pusher::Tie};

    #[test]
    fn pushers_of_before_there_were_mails_are_read() {
        let old = PusherRecordV1 {
            id: 7,
            kind: "http".to_owned(),
            app_display_name: "App".to_owned(),
            device_display_name: "Phone".to_owned(),
            profile_tag: None,
            lang: "en".to_owned(),
            data: r#"{"url":"https://push.example/"}"#.to_owned(),
            enabled: true,
            device_id: "PHONE".into(),
            session: 5,
            set_ts: 3,
            since: 4,
        };
        let read = PusherRecord::from_bytes(&old.to_bytes().into()).expect("readable");
        let user = owned_user_id!("@ada:x.test");
        let pusher = read.into_pusher(user, "app".to_owned(), "key".to_owned());
        let pusher = pusher.expect("a kind that is known");
        assert_eq!((pusher.id, pusher.kind, pusher.since), (7, Kind::Http, 4));
        assert_eq!(pusher.url(), "https://push.example/");
        assert!(matches!(pusher.tie, Tie::Session(session) if session.to_u64() == 5));
        assert!(pusher.is_on() && pusher.activated().is_none());
    }
}
