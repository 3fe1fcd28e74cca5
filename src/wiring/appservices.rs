//! The wiring of application services.

use std::sync::Arc;

use accounts::{NewUser, RegisterError};
use anyhow::Context as _;
use appservice::Appservices;

use super::peers::Local;
use crate::{config::Config, operator_client::OperatorClient};

/// Reads the registrations, makes the users that they speak as, and begins to tell them what happens.
pub(super) async fn open(config: &Config, local: &Local) -> anyhow::Result<Appservices> {
    let Local { accounts, rooms, clock, .. } = local;
    let client = OperatorClient::new(&config.federation()?.certificate_authorities)?;
    let appservices = Appservices::new(config.appservices()?, Arc::new(client), clock.clone());
    let appservices = appservices.context("[appservices]")?;
    for service in appservices.all() {
        let localpart = Some(service.sender.localpart());
        let sender = NewUser { localpart, by_appservice: true, ..NewUser::default() };
        match accounts.register(sender).await {
            Ok(_) | Err(RegisterError::UserInUse) => {}
            Err(error) => {
                let sender = &service.sender;
                return Err(error).with_context(|| format!("{sender} cannot be made"));
            }
        }
    }
    accounts.set_user_source(Arc::new(appservices.clone()));
    rooms.set_alias_source(Arc::new(appservices.clone()));
    let pieces = appservice::Pieces {
        appservices: appservices.clone(),
        store: local.store.clone(),
        clock: clock.clone(),
        rng: local.rng.clone(),
        rooms: rooms.clone(),
        presence: local.presence.clone(),
    };
    appservice::deliver(appservice::Config::default(), pieces, &local.tasks);
    Ok(appservices)
}
