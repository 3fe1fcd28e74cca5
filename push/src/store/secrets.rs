//! What only this server knows: drawn once, and kept.

use serde::{Deserialize, Serialize};
use stdx::Rng;
use storage::{Batch, First, Store, Table, Versioned};

use crate::{OpenError, web_push::Vapid};

#[derive(Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// Apps have subscribed with its public half: another one would end their subscriptions.
    pub(crate) vapid: [u8; 32],
    /// Signs the links in mails.
    pub(crate) tickets: [u8; 32],
}

impl Versioned for Secrets {
    const VERSION: u8 = 1;
    type Previous = First;
}

struct PushSecrets;

impl Table for PushSecrets {
    const NAME: &'static str = "push_secrets";
    type Partition = u32;
    type Sort = ();
    type Value = Secrets;
}

pub(crate) async fn load_secrets(store: &Store, rng: &Rng) -> Result<Secrets, OpenError> {
    if let Some(secrets) = store.get::<PushSecrets>(0, ()).await? {
        return Ok(secrets);
    }
    let secrets = Secrets { vapid: Vapid::draw_private_key(rng), tickets: rng.bytes() };
    let mut batch = Batch::new();
    batch.if_absent::<PushSecrets>(0, ()).put::<PushSecrets>(0, (), &secrets);
    store.commit(batch).await?;
    Ok(secrets)
}
