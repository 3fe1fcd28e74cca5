//! Captchas: the port to whoever tells people from programs.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::Accounts;

/// Checks that are under way at a time. More are refused: a service that hangs must not gather
/// requests.
pub(crate) const CHECKING_MAX: usize = 64;
/// The longest response that is passed on, in bytes; real ones have about two thousand.
const RESPONSE_BYTES_MAX: usize = 16 << 10;

/// Asks the service of the captcha.
pub trait CaptchaVerifier: Send + Sync {
    /// Whether a person solved it. Bounded in time; an error says for the log why that is not known.
    fn verify<'a>(
        &'a self,
        response: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>>;
}

pub(crate) enum CaptchaError {
    Busy,
    NoAnswer,
}

impl Accounts {
    /// Says who checks captchas. Only the first call counts; without one no response is accepted.
    pub fn set_captcha_verifier(&self, verifier: Arc<dyn CaptchaVerifier>) {
        let _first_counts = self.inner.captcha.set(verifier);
    }

    pub(crate) fn has_captcha(&self) -> bool {
        self.inner.captcha.get().is_some()
    }

    pub(crate) async fn verify_captcha(&self, response: &str) -> Result<bool, CaptchaError> {
        let Some(verifier) = self.inner.captcha.get() else { return Ok(false) };
        if response.is_empty() || response.len() > RESPONSE_BYTES_MAX {
            return Ok(false);
        }
        let Ok(_permit) = self.inner.captchas_checking.try_acquire() else {
            return Err(CaptchaError::Busy);
        };
        verifier.verify(response).await.map_err(|error| {
            tracing::warn!(%error, "a captcha cannot be checked");
            CaptchaError::NoAnswer
        })
    }
}
