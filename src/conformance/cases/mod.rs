//! The cases, one module for each page or concern of the contract.

mod caching;
mod call_catch_up;
mod call_config;
mod call_status;
mod call_summary;
mod cors;
mod errors;
mod head;
mod join_member;
mod live;
mod login;
mod meetings;
mod proconf_token;
mod refresh;
mod request_id;
mod stream_ticket;
mod tokens;

use super::case::{Case, Outcome};
use super::target::Target;

/// What the cases use.
mod prelude {
    pub(super) use serde_json::{Value, json};

    pub(super) use super::{OTHER_ROOM, assert_one_room, assert_room_required};
    pub(super) use crate::conformance::case::{Failure, Outcome, cases, check, not_tried};
    pub(super) use crate::conformance::claims;
    pub(super) use crate::conformance::response::{Response, encode, member, string};
    pub(super) use crate::conformance::target::{FORBIDDEN_ROOM, Target, UNKNOWN_ROOM};
}

/// Returns every case in the order of the suite.
pub fn all_cases() -> impl Iterator<Item = &'static Case> {
    let modules: [&'static [Case]; 17] = [
        login::CASES,
        refresh::CASES,
        tokens::CASES,
        join_member::CASES,
        call_catch_up::CASES,
        caching::CASES,
        live::CASES,
        stream_ticket::CASES,
        call_status::CASES,
        call_summary::CASES,
        call_config::CASES,
        meetings::CASES,
        proconf_token::CASES,
        errors::CASES,
        request_id::CASES,
        head::CASES,
        cors::CASES,
    ];
    modules.into_iter().flatten()
}

/// A room that no guest of the suite is a guest of.
const OTHER_ROOM: &str = "conformance other room";

/// Asserts that a room route without a room is 400.
fn assert_room_required(target: &Target, route: &str) -> Outcome {
    for path in ["", "?roomName=", "?roomName=%20", "/%20"] {
        let request = target.get_as_user(&format!("{route}{path}"))?;
        request.assert_error(400, "Room name required in query param.")?;
    }
    Ok(())
}

/// Asserts that a room route with two different rooms is 400.
fn assert_one_room(target: &Target, route: &str) -> Outcome {
    let room = target.any_room();
    for path in [format!("{route}/{room}?roomName=another"), format!("{route}?roomName={room}&roomName=another")] {
        target.get_as_user(&path)?.assert_bad_request()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cases_have_unique_names_tags_and_a_sentence() {
        let names: BTreeSet<&str> = all_cases().map(|case| case.name).collect();
        assert_eq!(names.len(), all_cases().count());
        assert!(names.len() >= 70, "{}", names.len());
        for case in all_cases() {
            let (module, _) = case.name.split_once("::").unwrap();
            assert!(case.is_selected(&[module.to_owned()]) && !case.tags.ends_with(' '), "{}", case.name);
            assert!(case.sentence.ends_with('.') && case.sentence.len() > 20, "{}", case.name);
        }
    }
}
