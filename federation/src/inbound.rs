//! What answers other servers, and what it needs for that.

use std::sync::Arc;

use accounts::Accounts;
use devices::Devices;
use events::RequestToSign;
use http::{HeaderMap, header};
use presence::Presence;
use rooms::Rooms;
use ruma::{OwnedServerName, ServerName};
use stdx::{SharedClock, Tasks};
use storage::Store;

use crate::{
    DeviceLists, KeyRing, Sender,
    admission::Admission,
    error::Error,
    transactions::Transactions,
    x_matrix::{Unusable, XMatrix},
};

/// Headers of one request that are looked at: there is one for each key of its server, and each can
/// cost a request of ours.
const HEADERS_MAX: usize = 4;

/// The pieces that the server-server API is made of.
pub struct Pieces {
    pub store: Store,
    pub clock: SharedClock,
    pub tasks: Tasks,
    pub rooms: Rooms,
    pub accounts: Accounts,
    pub devices: Devices,
    pub presence: Presence,
    pub keys: KeyRing,
    pub device_lists: DeviceLists,
    pub sender: Sender,
}

/// Handlers' way to the pieces. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: Tasks,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) devices: Devices,
    pub(crate) presence: Presence,
    pub(crate) keys: KeyRing,
    pub(crate) device_lists: DeviceLists,
    pub(crate) sender: Sender,
    pub(crate) transactions: Transactions,
    pub(crate) admission: Admission,
}

/// A request, as far as its signature covers it.
pub(crate) struct Claim<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) content: Option<&'a [u8]>,
}

impl Inbound {
    pub fn new(pieces: Pieces) -> Self {
        let Pieces { store, clock, tasks, rooms, accounts, devices, presence, .. } = pieces;
        let Pieces { keys, device_lists, sender, .. } = pieces;
        let transactions = Transactions::default();
        let inner = Inner {
            store,
            clock,
            tasks,
            rooms,
            accounts,
            devices,
            presence,
            keys,
            device_lists,
            sender,
            transactions,
            admission: Admission::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn server_name(&self) -> &ServerName {
        self.inner.rooms.server_name()
    }

    /// Who may have signed the request, before anything is read of it or asked of others.
    pub(crate) fn claimed(&self, headers: &HeaderMap) -> Result<Vec<XMatrix>, Error> {
        let mut problem = Error::unauthorized("Missing or malformed Authorization header");
        let mut claimed = Vec::new();
        let headers = headers.get_all(header::AUTHORIZATION).iter().take(HEADERS_MAX);
        for header in headers.filter_map(|value| value.to_str().ok()).map(XMatrix::parse) {
            match header {
                Ok(header) => match self.check_names(&header) {
                    Ok(()) => claimed.push(header),
                    Err(error) => problem = error,
                },
                Err(Unusable::Origin) => {
                    problem = Error::invalid_param("The request's origin is no server name");
                }
                Err(Unusable::Malformed) => {}
            }
        }
        if claimed.is_empty() { Err(problem) } else { Ok(claimed) }
    }

    /// Whose request it is, by its signature: section "Request Authentication".
    pub(crate) async fn authenticate(
        &self,
        claimed: Vec<XMatrix>,
        claim: &Claim<'_>,
    ) -> Result<OwnedServerName, Error> {
        let mut problem = Error::unauthorized("Missing or malformed Authorization header");
        for header in claimed {
            match self.check_signature(&header, claim).await {
                Ok(()) => {
                    self.inner.keys.heard_from(&header.origin);
                    self.inner.device_lists.heard_from(&header.origin);
                    self.inner.sender.heard_from(&header.origin);
                    return Ok(header.origin);
                }
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    fn check_names(&self, header: &XMatrix) -> Result<(), Error> {
        if header.destination.as_ref().is_some_and(|name| name != self.server_name()) {
            return Err(Error::unauthorized("The request is for another server"));
        }
        if header.origin == self.server_name() {
            return Err(Error::unauthorized("The request says that it is from this server"));
        }
        Ok(())
    }

    async fn check_signature(&self, header: &XMatrix, claim: &Claim<'_>) -> Result<(), Error> {
        let XMatrix { origin, destination, key, sig } = header;
        let known = self.inner.keys.request_key(origin, key).await;
        let known = known.ok_or_else(|| {
            Error::unauthorized(format!("The key {key} of {origin} is not known, or not any more"))
        })?;
        let request = RequestToSign {
            method: claim.method,
            uri: claim.uri,
            origin,
            destination: destination.as_deref(),
            content: claim.content,
        };
        events::verify_request(&request, &known, sig)
            .map_err(|error| Error::unauthorized(error.to_string()))
    }
}
