//! What other servers find on the listener: their API beside that of clients, or nothing of it.

use http::Method;

use crate::server::Server;

const ENDPOINTS: [(&str, &str); 3] = [
    ("/_matrix/federation/v1/version", ""),
    ("/_matrix/key/v2/server", ""),
    ("/_matrix/federation/v1/publicRooms", "M_UNAUTHORIZED"),
];

#[tokio::test]
async fn other_servers_are_answered() {
    let server = Server::start().await;
    for (path, errcode) in ENDPOINTS {
        let answer = server.send(Method::GET, path, None, "").await;
        match errcode {
            "" => drop(answer.ok()),
            errcode => drop(answer.refused(path, 401, errcode)),
        }
        let answer = server.send(Method::DELETE, path, None, "").await;
        answer.refused(path, 405, "M_UNRECOGNIZED");
    }
    // A client's token is no signature.
    let ada = server.user("ada").await;
    let path = "/_matrix/federation/v1/publicRooms";
    let answer = server.send(Method::GET, path, Some(&ada.token), "").await;
    answer.refused(path, 401, "M_UNAUTHORIZED");
    for path in [
        "/_matrix/federation/v1/none",
        "/_matrix/federation/v3/version",
        "/_matrix/federation/v1/version/",
        "/_matrix/federation/v1//version",
        "/_matrix/key/v2/none",
    ] {
        let answer = server.send(Method::GET, path, None, "").await;
        answer.refused(path, 404, "M_UNRECOGNIZED");
    }
}

#[tokio::test]
async fn a_region_that_does_not_federate_has_nothing_for_other_servers() {
    let server = Server::with("[federation]\nenabled = false\n").await;
    for (path, _) in ENDPOINTS {
        let answer = server.send(Method::GET, path, None, "").await;
        answer.refused(path, 404, "M_UNRECOGNIZED");
    }
    server.get("/versions").await.ok();
}
