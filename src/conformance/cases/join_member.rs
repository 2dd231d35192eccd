//! `GET /auth/joinmember`, and what guests may do.

use super::prelude::*;

cases! { join_member {
    guest_sees_its_own_room ["guests rooms"] "A guest token is for its room.";
    guest_sees_no_other_room ["guests rooms"] "A request of a guest for another room gets 403 `Forbidden`.";
    guest_token_has_its_claims ["guests"] "A guest token has the claims kind guest, roomName and userId.";
    missing_room_is_400 ["guests rooms errors"] "A missing or blank room is 400 `Room name required in query param.`.";
    wildcard_room_is_400 ["guests rooms"]
        "The name `*`, which Jitsi reads as every room, is refused, also encoded or as a look-alike.";
    unusual_room_name_is_taken_literally ["guests rooms"] "A room name is one percent-decoded string, taken literally.";
    plus_in_the_query_is_a_space ["guests rooms"] "A `+` is a space in a query.";
    long_room_name_is_400 ["guests rooms"] "A room name has 1 to 255 bytes.";
} }

/// Returns the room in the token that a guest gets for `query`.
fn room_of_guest(target: &Target, query: &str) -> Result<String, Failure> {
    let token = target.get(&format!("/auth/joinmember?roomName={query}")).success()?;
    Ok(string(member(&claims::claims(string(&token)?)?, "roomName")?)?.to_owned())
}

fn guest_sees_its_own_room(target: &Target) -> Outcome {
    let room = target.room()?;
    let guest = target.guest_token(target.room_name()?)?;
    target.get(&format!("/callCatchUp/{room}")).token(&guest).success()?;
    target.get(&format!("/callStatus?roomName={room}")).token(&guest).success().map(drop)
}

fn guest_sees_no_other_room(target: &Target) -> Outcome {
    let (guest, room) = (target.guest_token(OTHER_ROOM)?, target.any_room());
    for route in ["callCatchUp", "callStatus", "callSummary"] {
        for path in [format!("/{route}/{room}"), format!("/{route}?roomName={room}")] {
            target.get(&path).token(&guest).assert_error(403, "Forbidden")?;
        }
    }
    Ok(())
}

fn guest_token_has_its_claims(target: &Target) -> Outcome {
    let claims = claims::claims(&target.guest_token(OTHER_ROOM)?)?;
    let is_guest = member(&claims, "kind")? == "guest" && member(&claims, "roomName")? == OTHER_ROOM;
    check(is_guest, || format!("kind or roomName is wrong in {claims}"))?;
    string(member(&claims, "userId")?)?;
    let has_times = member(&claims, "iat")?.is_i64() && member(&claims, "exp")?.is_i64();
    check(has_times, || format!("iat or exp is no integer in {claims}"))
}

fn missing_room_is_400(target: &Target) -> Outcome {
    for query in ["", "?roomName=", "?roomName=%20"] {
        target.get(&format!("/auth/joinmember{query}")).assert_error(400, "Room name required in query param.")?;
    }
    Ok(())
}

fn wildcard_room_is_400(target: &Target) -> Outcome {
    for name in ["*", "%2A", "%252A", "%EF%BC%8A"] {
        target.get(&format!("/auth/joinmember?roomName={name}")).assert_bad_request()?;
    }
    Ok(())
}

fn unusual_room_name_is_taken_literally(target: &Target) -> Outcome {
    target.guest_token(OTHER_ROOM)?;
    for name in ["a b", "a+b", "a?b", "a#b", "a;b", "a&b", "100%", "комната", "🎥", "roomName"] {
        let room = room_of_guest(target, &encode(name))?;
        check(room == name, || format!("a guest token for {name:?} has the room {room:?}"))?;
    }
    Ok(())
}

fn plus_in_the_query_is_a_space(target: &Target) -> Outcome {
    target.guest_token(OTHER_ROOM)?;
    let room = room_of_guest(target, "a+b")?;
    check(room == "a b", || format!("a guest token for a+b has the room {room:?}"))
}

fn long_room_name_is_400(target: &Target) -> Outcome {
    target.guest_token(&"r".repeat(255))?;
    for name in ["r".repeat(256), "é".repeat(128)] {
        target.get(&format!("/auth/joinmember?roomName={}", encode(&name))).assert_bad_request()?;
    }
    Ok(())
}
