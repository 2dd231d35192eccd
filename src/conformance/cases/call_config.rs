//! `GET /callConfig`.

use super::prelude::*;

cases! { call_config {
    sample_response [] "The configuration is an object with the object features.";
    guest_gets_it_too ["guests"] "Users and guests get the configuration."
        = |target| target.get("/callConfig").token(&target.guest_token(OTHER_ROOM)?).success().map(drop);
} }

fn sample_response(target: &Target) -> Outcome {
    let data = target.get_as_user("/callConfig")?.success()?;
    check(member(&data, "features")?.is_object(), || format!("features is no object in {data}"))
}
