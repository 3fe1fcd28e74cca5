//! Other networks: what application services say of them, put together ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#third-party-networks

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::{
    Appservices, Registration,
    call::{Request, segment},
    ports::Method,
};

/// What an application service may take to look something up.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long what is said of a protocol is taken to be so. Milliseconds.
const PROTOCOL_KEPT_MS: u64 = 60 * 60 * 1000;

/// What was said of protocols, by application service and name, and when. There are no more than the
/// registrations name.
pub(crate) type Protocols = Mutex<HashMap<(String, String), (u64, Value)>>;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub enum ThirdParty {
    User,
    Location,
}

impl ThirdParty {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Location => "location",
        }
    }
}

impl Appservices {
    /// All protocols that some application service says something of.
    pub async fn protocols(&self) -> Map<String, Value> {
        let mut names: Vec<&String> = self.all().flat_map(|service| &service.protocols).collect();
        names.sort_unstable();
        names.dedup();
        let found = join_all(names.into_iter().map(async |name| {
            let protocol = self.protocol(name).await?;
            Some((name.clone(), protocol))
        }));
        found.await.into_iter().flatten().collect()
    }

    /// One protocol, with the instances that all application services have of it.
    pub async fn protocol(&self, name: &str) -> Option<Value> {
        let services = self.all().filter(|service| offers(service, name));
        let said = join_all(services.map(|service| self.ask_for_protocol(service, name)));
        let mut whole: Option<Value> = None;
        for protocol in said.await.into_iter().flatten() {
            match &mut whole {
                None => whole = Some(protocol),
                Some(whole) => add_instances(whole, protocol),
            }
        }
        whole
    }

    async fn ask_for_protocol(&self, service: &Arc<Registration>, name: &str) -> Option<Value> {
        let key = (service.id.clone(), name.to_owned());
        let now = self.now_ms();
        let known = self.known_protocols().lock().get(&key).cloned();
        if let Some((at, protocol)) = known
            && now < at.saturating_add(PROTOCOL_KEPT_MS)
        {
            return Some(protocol);
        }
        let path = format!("/thirdparty/protocol/{}", segment(name));
        let mut protocol = self.look_up(service, &path).await?;
        protocol.as_object()?;
        name_instances(&mut protocol, &service.id);
        self.known_protocols().lock().insert(key, (now, protocol.clone()));
        Some(protocol)
    }

    /// Users or locations of one protocol, or of all, by fields that mean something to the
    /// application services.
    pub async fn third_parties(
        &self,
        what: ThirdParty,
        protocol: Option<&str>,
        fields: &[(String, String)],
    ) -> Vec<Value> {
        let mut path = format!("/thirdparty/{}", what.name());
        if let Some(protocol) = protocol {
            path.push('/');
            path.push_str(&segment(protocol));
        }
        for (number, (key, value)) in fields.iter().enumerate() {
            path.push(if number == 0 { '?' } else { '&' });
            path.push_str(&format!("{}={}", segment(key), segment(value)));
        }
        let services = self.all().filter(|service| match protocol {
            Some(protocol) => offers(service, protocol),
            None => !service.protocols.is_empty(),
        });
        let found = join_all(services.map(|service| self.look_up(service, &path))).await;
        let lists = found.into_iter().flatten();
        lists.flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect()
    }

    async fn look_up(&self, service: &Registration, path: &str) -> Option<Value> {
        let request = Request {
            method: Method::Get,
            path: &format!("/_matrix/app/v1{path}"),
            legacy_path: &format!("/_matrix/app/unstable{path}"),
            body: Bytes::new(),
            time: PATIENCE,
        };
        service.url.as_ref()?;
        match self.caller().call(service, &request).await {
            Ok(answer) if answer.status == 200 => serde_json::from_slice(&answer.body).ok(),
            Ok(_) => None,
            Err(error) => {
                tracing::info!(%error, service = service.id, "a look-up is not answered");
                None
            }
        }
    }
}

fn offers(service: &Registration, protocol: &str) -> bool {
    service.protocols.iter().any(|offered| offered == protocol)
}

/// `instance_id`, by which a client asks for the rooms of a network.
fn name_instances(protocol: &mut Value, service_id: &str) {
    let instances = protocol.get_mut("instances").and_then(Value::as_array_mut);
    for instance in instances.into_iter().flatten() {
        let network = instance.get("network_id").and_then(Value::as_str);
        if let Some(network) = network {
            let id = format!("{service_id}|{network}");
            instance["instance_id"] = json!(id);
        }
    }
}

fn add_instances(whole: &mut Value, more: Value) {
    let more = more.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
    match whole.get_mut("instances").and_then(Value::as_array_mut) {
        Some(instances) => instances.extend(more),
        None => whole["instances"] = Value::Array(more),
    }
}
