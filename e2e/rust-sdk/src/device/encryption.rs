//! Cross-signing, secret storage, the key backup, and who is trusted.

use anyhow::{Result, ensure};
use matrix_sdk::{
    encryption::{backups::BackupState, recovery::RecoveryState},
    ruma::{DeviceId, OwnedDeviceId, UserId},
};
use serde_json::{Value, json};

use crate::{
    eventually,
    session::{Device, Nudge},
};

impl Device {
    /// What Element X asks for after the first log-in.
    pub(crate) async fn set_up_encryption(&self) -> Result<Value> {
        let encryption = self.client()?.encryption();
        // The first keys of a user need no further authentication (MSC3967), so none is offered.
        encryption.bootstrap_cross_signing(None).await?;
        let recovery_key = encryption.recovery().enable().wait_for_backups_to_upload().await?;
        ensure!(
            encryption.cross_signing_status().await.is_some_and(|status| status.is_complete()),
            "cross-signing is not complete"
        );
        ensure!(encryption.backups().state() == BackupState::Enabled, "no key backup is active");
        Ok(json!({ "recoveryKey": recovery_key }))
    }

    /// What a new device does with the recovery key: signs itself, and may fetch all keys of the past.
    pub(crate) async fn recover(&self, recovery_key: &str) -> Result<()> {
        let encryption = self.client()?.encryption();
        encryption.recovery().recover(recovery_key).await?;
        eventually("everything recovered", async || {
            let recovered = encryption.recovery().state() == RecoveryState::Enabled
                && encryption.backups().state() == BackupState::Enabled;
            Ok(recovered.then_some(()))
        })
        .await
    }

    /// A request to verify of a device that is not known yet is ignored by the SDK: a person is slower than that.
    pub(crate) async fn until_knows(&self, user: &UserId, device: &DeviceId) -> Result<()> {
        let encryption = self.client()?.encryption();
        eventually("the device", async || {
            Ok(encryption.get_device(user, device).await?.map(|_| ()))
        })
        .await
    }

    /// Until the user is verified here, and each of these devices by the user's own signature.
    pub(crate) async fn until_trusts(
        &self,
        user: &UserId,
        devices: &[OwnedDeviceId],
    ) -> Result<()> {
        let encryption = self.client()?.encryption();
        let mut nudge = Nudge::default();
        eventually(&format!("trust in {user} with {devices:?}"), async || {
            nudge.repeat(self.client()?).await?;
            let identity = encryption.get_user_identity(user).await?;
            if !identity.is_some_and(|identity| identity.is_verified()) {
                return Ok(None);
            }
            for id in devices {
                let device = encryption.get_device(user, id).await?;
                if !device.is_some_and(|device| device.is_verified_with_cross_signing()) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }
}
