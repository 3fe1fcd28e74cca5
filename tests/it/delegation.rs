//! `/.well-known/matrix/server`: where a region sends other servers.

use http::{Method, header};
use serde_json::json;

use crate::server::{Answer, Server};

async fn asked(server: &Server) -> Answer {
    server.send(Method::GET, "/.well-known/matrix/server", None, "").await
}

#[tokio::test]
async fn other_servers_are_sent_where_the_configuration_says() {
    for name in ["matrix.x.test:443", "matrix.x.test", "[2001:db8::1]:8448"] {
        let server = Server::with(&format!("[federation]\ndelegate_to = \"{name}\"\n")).await;
        let answer = asked(&server).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer.ok(), json!({ "m.server": name }));
    }
}

/// Others then go on to SRV records and port 8448.
#[tokio::test]
async fn nobody_is_sent_anywhere_unless_the_configuration_says_so() {
    let apart = "[federation]\nenabled = false\ndelegate_to = \"matrix.x.test:443\"\n";
    for sections in ["", apart] {
        let server = Server::with(sections).await;
        asked(&server).await.refused(sections, 404, "M_UNRECOGNIZED");
    }
}
