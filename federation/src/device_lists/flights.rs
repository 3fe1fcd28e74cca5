//! Fetching whole lists: one task per user, some per server at the same time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use devices::{
    StoreError,
    keys::{DeviceList, KeysError},
};
use parking_lot::Mutex;
use rooms::ports::RemoteError;
use ruma::{OwnedServerName, OwnedUserId, UserId};
use tokio::sync::{Semaphore, watch};

use super::{DeviceLists, TIME_MAX};

/// Requests to one server at the same time.
const AT_ONCE: usize = 4;
/// Users of one server whose lists are being fetched or wait for it. The lists of more stay as they
/// are, outdated, until it is tried again.
const OF_SERVER_MAX: usize = 1000;
/// How often lists that are still outdated are looked for.
const AGAIN: Duration = Duration::from_secs(30);
/// Of those, read at a time.
const PAGE: usize = 200;

pub(super) type Fetched = Result<Arc<DeviceList>, RemoteError>;

/// Why a list is not kept.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Devices(#[from] StoreError),
}

#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<OwnedServerName, OfServer>>);

struct OfServer {
    permits: Arc<Semaphore>,
    by_user: HashMap<OwnedUserId, Flight>,
}

struct Flight {
    /// There is news that the answer under way may not have.
    again: bool,
    result: watch::Sender<Option<Fetched>>,
}

impl DeviceLists {
    /// The list, which is followed from now on.
    pub(super) async fn fetch(&self, user: &UserId, time: Duration) -> Fetched {
        let failure = |reason: &str| {
            let (server, reason) = (user.server_name().to_owned(), reason.to_owned());
            Err(RemoteError::Unreachable { server, reason })
        };
        let Some(mut result) = self.board(user, false) else {
            return failure("too much is asked of it already");
        };
        match tokio::time::timeout(time, result.wait_for(Option::is_some)).await {
            Ok(Ok(fetched)) => fetched.clone().unwrap_or_else(|| failure("it was not asked")),
            Ok(Err(_)) => failure("this server stops"),
            Err(_) => failure("no answer in time"),
        }
    }

    /// The same for whoever does not wait, and knows that there is news.
    pub(crate) fn fetch_later(&self, user: &UserId) {
        let _nobody_waits = self.board(user, true);
    }

    /// `None` if there is no room.
    fn board(&self, user: &UserId, has_news: bool) -> Option<watch::Receiver<Option<Fetched>>> {
        let (receiver, permits) = {
            let mut flights = self.inner.flights.0.lock();
            let new =
                || OfServer { permits: Arc::new(Semaphore::new(AT_ONCE)), by_user: HashMap::new() };
            let of_server = flights.entry(user.server_name().to_owned()).or_insert_with(new);
            if let Some(flight) = of_server.by_user.get_mut(user) {
                flight.again |= has_news;
                return Some(flight.result.subscribe());
            }
            if of_server.by_user.len() >= OF_SERVER_MAX {
                return None;
            }
            let (result, receiver) = watch::channel(None);
            of_server.by_user.insert(user.to_owned(), Flight { again: false, result });
            (receiver, Arc::clone(&of_server.permits))
        };
        let (this, user) = (self.clone(), user.to_owned());
        self.inner.tasks.spawn_until_stopped("device list", async move {
            this.fly(&user, &permits).await;
        });
        Some(receiver)
    }

    async fn fly(&self, user: &UserId, permits: &Semaphore) {
        loop {
            let fetched = {
                // It is never closed.
                let _permit = permits.acquire().await;
                self.fetch_once(user).await
            };
            if let Err(error) = &fetched {
                tracing::info!(%error, %user, "a list of devices cannot be fetched");
            }
            if let Some(result) = self.land(user, fetched.is_ok()) {
                result.send_replace(Some(fetched));
                return;
            }
        }
    }

    /// `None` if it must start again.
    fn land(&self, user: &UserId, is_good: bool) -> Option<watch::Sender<Option<Fetched>>> {
        let mut flights = self.inner.flights.0.lock();
        let of_server = flights.get_mut(user.server_name())?;
        let flight = of_server.by_user.get_mut(user)?;
        // Who does not answer is not asked over and over.
        if std::mem::take(&mut flight.again) && is_good {
            return None;
        }
        let flight = of_server.by_user.remove(user)?;
        if of_server.by_user.is_empty() {
            flights.remove(user.server_name());
        }
        Some(flight.result)
    }

    async fn fetch_once(&self, user: &UserId) -> Fetched {
        let server = user.server_name();
        let list = self.ask(server, self.inner.remote.user_devices(user, TIME_MAX)).await?;
        let list = Arc::new(list);
        if let Err(error) = self.keep(&list).await {
            match error {
                Problem::Keys(KeysError::Store(_)) | Problem::Rooms(_) | Problem::Devices(_) => {
                    tracing::error!(%error, %user, "a list of devices cannot be kept");
                }
                Problem::Keys(error) => {
                    let (server, reason) = (server.to_owned(), error.to_string());
                    return Err(RemoteError::Malformed { server, reason });
                }
            }
        }
        Ok(list)
    }

    /// Follows the user, if somebody tells of changes.
    async fn keep(&self, list: &DeviceList) -> Result<(), Problem> {
        let user = &list.user_id;
        if self.shares_room(user, None).await? {
            self.inner.devices.keep_remote_list(list.clone()).await?;
            // They may have parted meanwhile, and the list been forgotten before it was kept.
            if !self.shares_room(user, None).await? {
                self.inner.devices.forget_remote_list(user).await?;
            }
        }
        Ok(())
    }

    /// Lists whose server did not answer when there was news.
    pub(super) async fn fetch_outdated(self) {
        loop {
            let mut after: Option<OwnedUserId> = None;
            loop {
                let lists = &self.inner.devices;
                let page = match lists.outdated_remote_lists(after.as_deref(), PAGE).await {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::error!(%error, "outdated lists of devices cannot be read");
                        break;
                    }
                };
                for user in &page {
                    if !self.inner.pauses.is_on(user.server_name()) {
                        let _nobody_waits = self.board(user, false);
                    }
                }
                let is_last = page.len() < PAGE;
                after = page.into_iter().next_back();
                if is_last || after.is_none() {
                    break;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
