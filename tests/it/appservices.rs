//! Application services: what their token lets them do, and what it does not.

mod acting;
mod bridge;
mod namespaces;
mod networks;
mod queries;
mod restart;
mod transactions;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    server::{Answer, Server},
    user::User,
};

pub(crate) const AS_TOKEN: &str = "as-token";

/// A region with the registrations, each of which is YAML. The directory is to be kept.
pub(crate) async fn region_with(registrations: &[&str], sections: &str) -> (Server, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut paths = Vec::new();
    for (number, yaml) in registrations.iter().enumerate() {
        let path = dir.path().join(format!("{number}.yaml"));
        std::fs::write(&path, yaml).expect("it is written");
        paths.push(path.to_str().expect("it is text").to_owned());
    }
    let sections = format!("[appservices]\nregistrations = {paths:?}\n{sections}");
    (Server::with(&sections).await, dir)
}

/// The registration of a bridge that is nowhere.
pub(crate) fn bridge() -> String {
    registration("bridge", AS_TOKEN, "null", "_bridge_")
}

pub(crate) fn registration(id: &str, as_token: &str, url: &str, prefix: &str) -> String {
    format!(
        "id: {id}\nurl: {url}\nas_token: {as_token}\nhs_token: hs-{id}\nsender_localpart: {id}-bot\n\
         rate_limited: false\n\
         namespaces:\n  users:\n    - {{exclusive: true, regex: '@{prefix}.*'}}\n  \
         aliases:\n    - {{exclusive: true, regex: '#{prefix}.*'}}\n"
    )
}

/// Whoever holds the token of an application service.
pub(crate) fn holder<'s>(server: &'s Server, token: &str) -> User<'s> {
    let mut user = User::new(server, &Value::Null);
    token.clone_into(&mut user.token);
    user
}

pub(crate) async fn ghost(bridge: &User<'_>, name: &str) -> Answer {
    let body = json!({ "type": "m.login.application_service", "username": name });
    bridge.call(Method::POST, "/v3/register", body.to_string()).await
}
