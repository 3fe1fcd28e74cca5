//! Hazard C3: what was said before somebody's time, or after it, by every way of asking, on the
//! server that has the room and on one that has it from there.

use http::Method;
use serde_json::json;

use super::{Scene, kept_out::all_outlets};
use crate::user::{User, segment};

/// What may be seen of `m0` before the invite, `m1` while invited, `m2` while joined and `m3`
/// afterwards: by who has left, and by who has come back and heard `m4`.
const TABLE: [(&str, [bool; 4], [bool; 5]); 4] = [
    ("world_readable", [true, true, true, true], [true, true, true, true, true]),
    ("shared", [true, true, true, false], [true, true, true, true, true]),
    ("invited", [false, true, true, false], [false, true, true, false, true]),
    ("joined", [false, false, true, false], [false, false, true, false, true]),
];

/// How a message is to be recognised.
fn word(number: usize) -> String {
    format!("the {number}th secret")
}

async fn say(scene: &Scene, number: usize) -> String {
    scene.ada().say(&scene.room, &format!("m{number}"), &word(number)).await
}

/// `/event` and `/context` find what may be seen, and nothing that may not is in any answer.
async fn sees(
    user: &User<'_>,
    room: &str,
    said: &[String],
    may: &[bool],
    is_local: bool,
    case: &str,
) {
    for (number, (event, may)) in said.iter().zip(may).enumerate() {
        let case = format!("{case}: m{number}");
        if !may {
            let outlets = all_outlets(user, room, event).await;
            assert!(!outlets.contains(&word(number)), "{case}: {outlets}");
        }
        // What another server has never fetched is not there.
        if *may && !is_local {
            continue;
        }
        for what in ["event", "context"] {
            let path = format!("/v3/rooms/{}/{what}/{}", segment(room), segment(event));
            let answer = user.call(Method::GET, &path, String::new()).await;
            assert_eq!(answer.status == 200, *may, "{case}: {path}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn nothing_of_another_time_is_to_be_had_in_any_way() {
    for (visibility, left, back) in TABLE {
        for is_local in [true, false] {
            let case = format!("{visibility}, local: {is_local}");
            let scene = Scene::new("11").await;
            let ada = scene.ada();
            let server = if is_local { &scene.us } else { &scene.third };
            let viewer = server.user("viewer").await;
            let setting = json!({ "history_visibility": visibility }).to_string();
            ada.set_state(&scene.room, "m.room.history_visibility", &setting).await.ok();
            let room = segment(&scene.room);
            let mut said = vec![say(&scene, 0).await];
            let invite = json!({ "user_id": viewer.id });
            ada.post(&format!("/v3/rooms/{room}/invite"), invite).await.ok();
            said.push(say(&scene, 1).await);
            let join = format!("/v3/join/{room}?via={}", scene.us_name());
            viewer.post(&join, json!({})).await.ok();
            let since = viewer.token_now().await;
            said.push(say(&scene, 2).await);
            scene.until_told(&viewer, &since, &said[2]).await;
            viewer.post(&format!("/v3/rooms/{room}/leave"), json!({})).await.ok();
            scene.until_gone(&viewer.id).await;
            said.push(say(&scene, 3).await);
            let since = scene.carl().token_now().await;
            let next = ada.say(&scene.room, "next", "no secret").await;
            scene.until_told(&scene.carl(), &since, &next).await;
            sees(&viewer, &scene.room, &said, &left, is_local, &format!("{case}, left")).await;
            viewer.post(&join, json!({})).await.ok();
            let since = viewer.token_now().await;
            said.push(say(&scene, 4).await);
            scene.until_told(&viewer, &since, &said[4]).await;
            sees(&viewer, &scene.room, &said, &back, is_local, &format!("{case}, back")).await;
        }
    }
}
