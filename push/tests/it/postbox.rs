//! A mail server that does what a test says.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use accounts::{Mail, Mailer};
use tokio::sync::watch;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Takes,
    Fails,
    /// Takes it, and says so when this changes.
    TakesLate,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Postbox {
    delivery: Arc<watch::Sender<Delivery>>,
    taken: Arc<watch::Sender<Vec<Mail>>>,
    /// Each try, taken or not.
    tried: Arc<watch::Sender<Vec<Mail>>>,
}

impl Postbox {
    pub(crate) fn new() -> Self {
        Self {
            delivery: Arc::new(watch::channel(Delivery::Takes).0),
            taken: Arc::new(watch::channel(Vec::new()).0),
            tried: Arc::new(watch::channel(Vec::new()).0),
        }
    }

    pub(crate) fn becomes(&self, delivery: Delivery) {
        self.delivery.send_replace(delivery);
    }

    /// The mails that were taken, once there are so many; forgotten by this.
    pub(crate) async fn takes(&self, count: usize) -> Vec<Mail> {
        wait(&self.taken, count).await;
        self.taken.send_replace(Vec::new())
    }

    pub(crate) fn taken(&self) -> Vec<Mail> {
        self.taken.borrow().clone()
    }

    /// The mails that were tried, once there are so many; forgotten by this.
    pub(crate) async fn is_tried(&self, count: usize) -> Vec<Mail> {
        wait(&self.tried, count).await;
        self.tried.send_replace(Vec::new())
    }
}

async fn wait(mails: &watch::Sender<Vec<Mail>>, count: usize) {
    let mut seen = mails.subscribe();
    let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|mails| mails.len() >= count)).await;
    let is_enough = waited.is_ok();
    drop(waited);
    assert!(is_enough, "{count} are expected, there are {:#?}", mails.borrow());
}

impl Mailer for Postbox {
    fn send(&self, mail: Mail) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            self.tried.send_modify(|tried| tried.push(mail.clone()));
            let mut delivery = self.delivery.subscribe();
            if *delivery.borrow() == Delivery::Fails {
                return Err("the mail server is full".to_owned());
            }
            self.taken.send_modify(|taken| taken.push(mail));
            let says_so = delivery.wait_for(|delivery| *delivery != Delivery::TakesLate).await;
            says_so.map(drop).map_err(|closed| closed.to_string())
        })
    }
}
