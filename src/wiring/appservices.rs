//! The wiring of application services.

use std::sync::Arc;

use accounts::{Accounts, NewUser, RegisterError};
use anyhow::Context as _;
use appservice::Appservices;
use rooms::Rooms;
use stdx::SharedClock;

use crate::{appservice_client::AppserviceClient, config::Config};

/// Reads the registrations, and makes the users that they speak as.
pub(super) async fn open(
    config: &Config,
    clock: &SharedClock,
    accounts: &Accounts,
    rooms: &Rooms,
) -> anyhow::Result<Appservices> {
    let client = AppserviceClient::new(&config.federation()?.certificate_authorities)?;
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
    Ok(appservices)
}
