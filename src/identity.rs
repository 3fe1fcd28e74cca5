//! What makes this region this region: its name and its keys, kept in the store.
//!
//! The key of a policy server is another one: whoever has it can recommend events and nothing else,
//! and a room can do without it.

use anyhow::{Context as _, bail};
use events::SigningKey;
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};
use stdx::Rng;
use storage::{Batch, First, Store, Table, Versioned};

#[derive(Serialize, Deserialize)]
struct IdentityRecord {
    server_name: String,
    /// The seed of the key that signs events.
    signing_key: [u8; 32],
    /// Names that key: `ed25519:<version>`.
    key_version: String,
}

impl Versioned for IdentityRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

struct Identities;

impl Table for Identities {
    const NAME: &'static str = "identity";
    type Partition = u32;
    type Sort = ();
    type Value = IdentityRecord;
}

#[derive(Serialize, Deserialize)]
struct PolicyKeyRecord {
    seed: [u8; 32],
}

impl Versioned for PolicyKeyRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

struct PolicyKeys;

impl Table for PolicyKeys {
    const NAME: &'static str = "policy_key";
    type Partition = u32;
    type Sort = ();
    type Value = PolicyKeyRecord;
}

/// The name and the signing key of a region.
pub(crate) struct Identity {
    pub(crate) server_name: OwnedServerName,
    pub(crate) signing_key: SigningKey,
}

/// Loads the identity, or makes one for a new store. A store that belongs to another name is
/// refused: the name is part of every user id and event in it.
pub(crate) async fn load_or_create(
    store: &Store,
    rng: &Rng,
    server_name: OwnedServerName,
) -> anyhow::Result<Identity> {
    let record = match store.get::<Identities>(0, ()).await? {
        Some(record) => record,
        None => {
            let record = IdentityRecord {
                server_name: server_name.to_string(),
                signing_key: rng.bytes(),
                key_version: rng.alphanumeric(6),
            };
            let mut batch = Batch::new();
            batch.if_absent::<Identities>(0, ()).put::<Identities>(0, (), &record);
            store.commit(batch).await.context("cannot store the signing key")?;
            record
        }
    };
    if record.server_name != server_name.as_str() {
        bail!(
            "the data belongs to `{}`, but `server_name` is `{server_name}`: set it back, or choose another `data_dir`",
            record.server_name
        );
    }
    let signing_key = SigningKey::from_seed(&record.signing_key, &record.key_version)
        .context("the stored signing key is damaged")?;
    Ok(Identity { server_name, signing_key })
}

/// Loads the key by which this region recommends events as a policy server, or makes one. "The Key
/// ID ... is *always* `ed25519:policy_server`."
pub(crate) async fn policy_key(store: &Store, rng: &Rng) -> anyhow::Result<SigningKey> {
    let record = match store.get::<PolicyKeys>(0, ()).await? {
        Some(record) => record,
        None => {
            let record = PolicyKeyRecord { seed: rng.bytes() };
            let mut batch = Batch::new();
            batch.if_absent::<PolicyKeys>(0, ()).put::<PolicyKeys>(0, (), &record);
            store.commit(batch).await.context("cannot store the policy key")?;
            record
        }
    };
    SigningKey::from_seed(&record.seed, "policy_server").context("the policy key is damaged")
}
