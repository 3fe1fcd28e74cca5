//! One attempt to hand a notification over, and what the answer says.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    GatewayAnswer, Kind, Push, Pusher, WebPushMessage, gateways::State as GatewayState,
    notice::Notice, store::NoticeRecord, web_push,
};

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// There is nobody at the other end any more.
    Rejected,
    /// This one will never be taken.
    Refused(String),
    Failed {
        reason: String,
        /// What the other end wants to have waited at least.
        retry_after: Option<Duration>,
    },
}

fn failed(answer: &GatewayAnswer) -> Verdict {
    let reason = format!("status {}", answer.status);
    Verdict::Failed { reason, retry_after: answer.retry_after }
}

/// Of a push gateway.
fn judge(answer: &GatewayAnswer, pushkey: &str) -> Verdict {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        rejected: Vec<String>,
    }
    if !(200..=299).contains(&answer.status) {
        return failed(answer);
    }
    // Whatever else it says, it took it.
    let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
    match body.rejected.iter().any(|key| key == pushkey) {
        true => Verdict::Rejected,
        false => Verdict::Taken,
    }
}

/// Of a push service. "The homeserver deletes the registration if it receives a 404, 410 or 403 from the
/// push server on push" (MSC4174).
fn judge_web_push(answer: &GatewayAnswer) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Taken,
        403 | 404 | 410 => Verdict::Rejected,
        413 => Verdict::Refused("status 413".to_owned()),
        _ => failed(answer),
    }
}

impl Push {
    /// To a push gateway or a push service.
    pub(crate) async fn attempt(
        &self,
        pusher: &Pusher,
        gateway: &GatewayState,
        record: &NoticeRecord,
        notice: Notice,
    ) -> Verdict {
        if pusher.kind == Kind::WebPush {
            let topic = web_push::topic(pusher, record.event_id.as_deref());
            let message =
                self.inner.web_push_message(pusher, &notice.body, notice.is_urgent, topic);
            return match message {
                Some(message) => self.push_message(pusher, gateway, message).await,
                None => Verdict::Refused("it cannot be encrypted".to_owned()),
            };
        }
        let _slot = gateway.slots.acquire().await;
        let answer = self.inner.gateway.post(pusher.url(), notice.body).await;
        heard(gateway, answer, |answer| judge(answer, &pusher.pushkey))
    }

    pub(crate) async fn push_message(
        &self,
        pusher: &Pusher,
        gateway: &GatewayState,
        message: WebPushMessage,
    ) -> Verdict {
        let _slot = gateway.slots.acquire().await;
        let answer = self.inner.gateway.push(pusher.url(), message).await;
        heard(gateway, answer, judge_web_push)
    }
}

fn heard(
    gateway: &GatewayState,
    answer: Result<GatewayAnswer, String>,
    judge: impl FnOnce(&GatewayAnswer) -> Verdict,
) -> Verdict {
    let verdict = match &answer {
        Ok(answer) => judge(answer),
        Err(error) => Verdict::Failed { reason: error.clone(), retry_after: None },
    };
    if matches!(verdict, Verdict::Failed { .. }) {
        metrics::counter!("meridian_push_failures_total").increment(1);
        gateway.failed();
    } else {
        metrics::counter!("meridian_push_sent_total").increment(1);
        gateway.answered();
    }
    verdict
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{GatewayAnswer, Verdict, judge, judge_web_push};

    fn answer(status: u16, body: &'static str) -> GatewayAnswer {
        GatewayAnswer { status, body: body.into(), retry_after: None }
    }

    fn failed(status: u16) -> Verdict {
        Verdict::Failed { reason: format!("status {status}"), retry_after: None }
    }

    #[test]
    fn an_answer_counts_by_its_status_and_the_keys_it_rejects() {
        let judged = |status, body| judge(&answer(status, body), "key");
        for body in ["", "{}", r#"{"rejected":[]}"#, r#"{"rejected":["other"]}"#, "nonsense"] {
            assert_eq!(judged(200, body), Verdict::Taken, "{body}");
        }
        assert_eq!(judged(200, r#"{"rejected":["other","key"]}"#), Verdict::Rejected);
        for status in [302, 400, 404, 429, 500, 502] {
            assert_eq!(judged(status, r#"{"rejected":["key"]}"#), failed(status));
        }
    }

    #[test]
    fn a_push_service_says_by_its_status_who_is_gone() {
        let judged = |status| judge_web_push(&answer(status, r#"{"rejected":["key"]}"#));
        for status in [200, 201, 202, 204] {
            assert_eq!(judged(status), Verdict::Taken, "{status}");
        }
        for status in [403, 404, 410] {
            assert_eq!(judged(status), Verdict::Rejected, "{status}");
        }
        assert_eq!(judged(413), Verdict::Refused("status 413".to_owned()));
        for status in [302, 400, 401, 429, 500, 503] {
            assert_eq!(judged(status), failed(status));
        }
        let busy = GatewayAnswer { retry_after: Some(Duration::from_secs(7)), ..answer(429, "") };
        let Verdict::Failed { retry_after, .. } = judge_web_push(&busy) else { panic!("{busy:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }
}
