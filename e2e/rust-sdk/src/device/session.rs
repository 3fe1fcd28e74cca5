//! The client, its store and its sync.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use matrix_sdk::{
    Client, SessionMeta, SessionTokens,
    authentication::matrix::MatrixSession,
    encryption::{
        BackupDownloadStrategy, EncryptionSettings,
        verification::{SasVerification, VerificationRequest},
    },
    reqwest::Certificate,
    ruma::{
        OwnedRoomId, TransactionId, api::client::to_device::send_event_to_device::v3::Request,
        events::ToDeviceEventType, serde::Raw, to_device::DeviceIdOrAllDevices,
    },
    sliding_sync::VersionBuilder,
};
use matrix_sdk_ui::{
    Timeline,
    room_list_service::State as ListState,
    sync_service::{State as SyncState, SyncService},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{command::Session, eventually, verification::Macs};

const PASSWORD: &str = "correct horse battery staple";
const BETWEEN_NUDGES: Duration = Duration::from_millis(300);

pub(crate) struct Home {
    pub(crate) store: PathBuf,
    /// The servers' certificates are of an authority that lives as long as the scenario.
    pub(crate) authority: PathBuf,
}

pub(crate) struct Device {
    home: Home,
    client: Option<Client>,
    sync: Option<Arc<SyncService>>,
    pub(crate) request: Option<VerificationRequest>,
    pub(crate) sas: Option<SasVerification>,
    pub(crate) macs: Macs,
    pub(crate) timelines: BTreeMap<OwnedRoomId, Arc<Timeline>>,
}

impl Device {
    pub(crate) fn new(home: Home) -> Self {
        let timelines = BTreeMap::new();
        let macs = Macs::default();
        Self { home, client: None, sync: None, request: None, sas: None, macs, timelines }
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        self.client.as_ref().context("nobody is logged in")
    }

    pub(crate) fn sync_service(&self) -> Result<&Arc<SyncService>> {
        self.sync.as_ref().context("the sync has not been started")
    }

    async fn build(&self, server: &str) -> Result<Client> {
        let certificate = Certificate::from_pem(&fs::read(&self.home.authority)?)?;
        let settings = EncryptionSettings {
            // As Element X: what cannot be read is looked for in the backup.
            backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
            ..Default::default()
        };
        let client = Client::builder()
            .homeserver_url(server)
            .respect_login_well_known(false)
            .add_root_certificates(vec![certificate])
            .sqlite_store(&self.home.store, None)
            .with_encryption_settings(settings)
            // Fails on a server that does not say that it has sliding sync.
            .sliding_sync_version_builder(VersionBuilder::DiscoverNative)
            .build()
            .await?;
        Ok(client)
    }

    pub(crate) async fn log_in(&mut self, server: &str, name: &str) -> Result<Value> {
        let client = self.build(server).await?;
        let login = client.matrix_auth().login_username(name, PASSWORD);
        let session = login.initial_device_display_name("rust-sdk").send().await?;
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        client.event_cache().subscribe()?;
        self.watch_macs(&client);
        self.client = Some(client);
        Ok(json!({
            "user": session.user_id,
            "device": session.device_id,
            "token": session.access_token,
        }))
    }

    pub(crate) async fn resume(&mut self, session: Session) -> Result<()> {
        let client = self.build(&session.server).await?;
        client
            .restore_session(MatrixSession {
                meta: SessionMeta { user_id: session.user, device_id: session.device },
                tokens: SessionTokens { access_token: session.token, refresh_token: None },
            })
            .await?;
        client.event_cache().subscribe()?;
        self.client = Some(client);
        Ok(())
    }

    /// The room list and the encryption, each on its connection; returns once both have been answered.
    pub(crate) async fn start_sync(&mut self) -> Result<()> {
        let service = Arc::new(SyncService::builder(self.client()?.clone()).build().await?);
        service.start().await;
        let states = (service.state(), service.room_list_service().state());
        self.sync = Some(service);
        eventually("an answered sync", async || {
            if let SyncState::Error(error) = states.0.get() {
                bail!("the sync ended: {error}");
            }
            Ok((states.1.get() == ListState::Running).then_some(()))
        })
        .await
    }

    pub(crate) async fn log_out(&mut self) -> Result<()> {
        self.stop().await;
        Ok(self.client()?.logout().await?)
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(service) = self.sync.take() {
            service.stop().await;
        }
    }
}

/// The SDK answers what came in a room with the next request of its encryption connection, which may be a long poll away. A
/// message from the device to itself ends the poll.
pub(crate) struct Nudge(Instant);

impl Default for Nudge {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Nudge {
    /// Not more often than is of use, for who asks again and again.
    pub(crate) async fn repeat(&mut self, client: &Client) -> Result<()> {
        if self.0.elapsed() < BETWEEN_NUDGES {
            return Ok(());
        }
        self.0 = Instant::now();
        Self::give(client).await
    }

    pub(crate) async fn give(client: &Client) -> Result<()> {
        let (user, device) = client.user_id().zip(client.device_id()).context("logged out")?;
        let content = Raw::new(&json!({}))?.cast_unchecked();
        let to = BTreeMap::from([(DeviceIdOrAllDevices::DeviceId(device.to_owned()), content)]);
        let messages = BTreeMap::from([(user.to_owned(), to)]);
        let request = Request::new_raw(ToDeviceEventType::Dummy, TransactionId::new(), messages);
        client.send(request).await?;
        Ok(())
    }
}
