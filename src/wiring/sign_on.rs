//! The wiring of single sign-on and captchas: over HTTP to whoever the operator names.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use accounts::CaptchaVerifier;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;
use sso::{Answer, Ask, AskFuture, Http, Pieces, Sso};
use tokio::sync::Semaphore;

use super::peers::Local;
use crate::{
    config::{Captcha, Config},
    operator_client::{BoxError, OperatorClient},
};

/// Somebody waits in front of a browser.
const PATIENCE: Duration = Duration::from_secs(15);
const FORM: &str = "application/x-www-form-urlencoded";

/// Requests that are on their way at a time. More are refused: a provider that hangs must not gather
/// requests.
const ASKED_MAX: usize = 64;

struct Outbound {
    client: OperatorClient,
    asked: Semaphore,
}

impl Outbound {
    async fn ask_now(&self, ask: Ask) -> Result<Answer, BoxError> {
        let _permit = self.asked.try_acquire().map_err(|_| "too many are being asked")?;
        let mut request = Request::builder().uri(ask.url).header(header::ACCEPT, "*/*");
        if let Some(authorization) = ask.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = match ask.form {
            Some(form) => request
                .method(http::Method::POST)
                .header(header::CONTENT_TYPE, FORM)
                .body(Full::new(Bytes::from(form)))?,
            None => request.body(Full::default())?,
        };
        let (status, body) = self.client.send(request).await?;
        Ok(Answer { status, body })
    }
}

impl Http for Outbound {
    fn ask(&self, ask: Ask) -> AskFuture<'_> {
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, self.ask_now(ask)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_elapsed) => Err("no answer in time".to_owned()),
            }
        })
    }
}

/// Asks a service that speaks as reCAPTCHA does.
struct SiteVerify {
    http: Arc<Outbound>,
    captcha: Captcha,
}

impl SiteVerify {
    async fn ask(&self, response: &str) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Verdict {
            success: bool,
        }
        let fields = [("secret", self.captcha.private_key.as_str()), ("response", response)];
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = self.captcha.verify_url.clone();
        let answer = self.http.ask(Ask { url, authorization: None, form: Some(form) }).await?;
        if answer.status != 200 {
            return Err(format!("it answered {}", answer.status));
        }
        let verdict: Verdict =
            serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        Ok(verdict.success)
    }
}

impl CaptchaVerifier for SiteVerify {
    fn verify<'a>(
        &'a self,
        response: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>> {
        Box::pin(self.ask(response))
    }
}

pub(super) fn open(config: &Config, local: &Local) -> anyhow::Result<Sso> {
    let client = OperatorClient::new(&config.federation()?.certificate_authorities)?;
    let http = Arc::new(Outbound { client, asked: Semaphore::new(ASKED_MAX) });
    if let Some(captcha) = config.captcha()? {
        let verifier = SiteVerify { http: http.clone(), captcha };
        local.accounts.set_captcha_verifier(Arc::new(verifier));
    }
    let pieces = Pieces {
        accounts: local.accounts.clone(),
        clock: local.clock.clone(),
        rng: local.rng.clone(),
        http,
    };
    Sso::new(config.sso()?, pieces).context("[login]")
}
