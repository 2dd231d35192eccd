//! The conformance suite: a black-box test of the contract for any server.
//!
//! By default it runs against the embedded server, with `APP_TEST_BASE_URL` against that deployment. `docs/CONFORMANCE.md`
//! lists the variables. A case is a `#[test]` in the module of its documentation page.

#![expect(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot continue has failed; a test binary exports nothing and uses a part of the shared support"
)]

mod cases;
mod express;
mod faulty;
#[path = "../suite/support/mod.rs"]
mod support;
mod target;

use target::Target;

/// The verdict of a case that did not fail.
pub enum Verdict {
    /// The target conforms.
    Passed,
    /// The target cannot be tested; names what is missing.
    Skipped(&'static str),
}

/// A failure names the actual and the expected result.
pub type Outcome = Result<Verdict, String>;

/// One case: its name and its test function.
pub type Case = (&'static str, fn(&Target) -> Outcome);

/// Defines the list of cases and a `#[test]` for each, in a module for each page.
macro_rules! pages {
    ($($page:ident { $($case:ident,)* })*) => {
        /// Every case.
        pub const CASES: &[Case] = &[$($((concat!(stringify!($page), "::", stringify!($case)), cases::$page::$case),)*)*];

        $(mod $page {
            $(#[test]
            fn $case() {
                crate::run(concat!(stringify!($page), "::", stringify!($case)), crate::cases::$page::$case);
            })*
        })*
    };
}

pages! {
    call_catch_up {
        sample_response,
        room_in_the_query,
        no_token_is_401,
        an_invalid_token_is_401,
        an_unsigned_token_is_401,
        an_expired_token_is_401,
        no_room_is_400,
        two_rooms_are_400,
        an_unknown_room_is_404,
        a_wrong_method_is_404,
        a_failure_behind_is_500_and_says_nothing,
        a_hostile_room_name_is_400,
        an_odd_room_name_is_one_room,
    }
    errors {
        an_unknown_url_is_404,
        the_method_is_checked_before_the_token,
        the_token_is_checked_before_the_input,
        every_answer_has_a_request_id,
        head_is_404_without_a_body,
        a_body_over_the_limit_is_413,
    }
    login {
        sample_response,
        wrong_credentials_are_401,
        malformed_input_is_400,
    }
    refresh {
        a_refresh_token_is_exchanged,
        a_spent_refresh_token_ends_the_session,
        a_logged_out_session_is_over,
        an_access_token_is_no_refresh_token,
    }
    join_member {
        a_guest_sees_its_own_room,
        a_guest_sees_no_other_room,
        no_room_is_400,
        a_name_that_means_every_room_is_400,
    }
    proconf_token {
        sample_response,
        a_guest_is_no_owner,
        malformed_input_is_400,
    }
    call_config {
        sample_response,
    }
    call_status {
        sample_response,
        room_in_the_path,
        no_room_is_400,
    }
    call_summary {
        sample_response,
    }
    meetings {
        sample_response,
        a_guest_is_403,
    }
}

/// Runs one case as a test; a waived one is printed and skipped.
fn run(name: &str, case: fn(&Target) -> Outcome) {
    let target = Target::configured();
    if target.waives(name) {
        println!("waived: {name}");
        return;
    }
    match case(&target) {
        Ok(Verdict::Passed) => {}
        Ok(Verdict::Skipped(missing)) => println!("skipped: {name}: {missing}"),
        Err(failure) => panic!("{name}: {failure}"),
    }
}

/// Returns the names of the cases that fail on `target`, and prints their failures.
fn failing(target: &Target) -> Vec<&'static str> {
    let failed = |&(name, case): &Case| match case(target) {
        Ok(_) => None,
        Err(failure) => {
            println!("{name}: {failure}");
            Some(name)
        }
    };
    CASES.iter().filter_map(failed).collect()
}

#[test]
fn case_is_waived_by_its_full_name() {
    let target = Target { waived: vec!["login::sample_response".to_owned()], ..Target::embedded() };
    assert!(
        target.waives("login::sample_response")
            && !target.waives("login::sample")
            && !target.waives("call_config::sample_response")
    );
}
