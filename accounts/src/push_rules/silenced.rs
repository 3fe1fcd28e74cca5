//! MSC3890: account data by which a device that notifies by itself can be silenced from another.

use ruma::{DeviceId, UserId};

use crate::{AccountDataError, Accounts, StoreError};

const PREFIXES: [&str; 2] =
    ["m.local_notification_settings", "org.matrix.msc3890.local_notification_settings"];

impl Accounts {
    /// "When devices are removed servers should delete" the settings of that device.
    pub async fn forget_notification_settings(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<(), StoreError> {
        for prefix in PREFIXES {
            let event_type = format!("{prefix}.{device_id}");
            // No other error comes of deleting what is not the server's own.
            if let Err(AccountDataError::Store(error)) =
                self.delete_account_data(user_id, None, &event_type).await
            {
                return Err(error);
            }
        }
        Ok(())
    }
}
