//! `HEAD`, which is answered on health routes and pages only.

use super::prelude::*;

cases! { head {
    head_of_an_api_route_is_404 ["errors"] "HEAD is 404 on the routes of the API, without a body.";
    head_of_a_health_route ["health"] "HEAD is answered on the health routes, without a body."
        = |target| assert_head_like_get(target, &["/health/live", "/health/ready"]);
    head_of_a_page ["pages"] "HEAD is answered on pages and static files, without a body."
        = |target| assert_head_like_get(target, &["/", "/docs", "/openapi.json"]);
} }

fn head_of_an_api_route_is_404(target: &Target) -> Outcome {
    let user = target.user_token()?;
    for path in ["/meetings", "/callConfig", "/auth/joinmember?roomName=r1"] {
        target.client.request("HEAD", path).token(&user).send()?.assert_empty(404)?;
    }
    Ok(())
}

/// Asserts that HEAD has the status and type of GET on each path that exists.
fn assert_head_like_get(target: &Target, paths: &[&str]) -> Outcome {
    let mut tried = false;
    for path in paths {
        let get = target.get(path).send()?;
        if get.status == 200 {
            tried = true;
            let head = target.client.request("HEAD", path).send()?;
            head.assert_empty(200)?;
            let types = (head.header("Content-Type"), get.header("Content-Type"));
            check(types.0 == types.1, || format!("HEAD {path}: Content-Type {types:?}"))?;
        }
    }
    if tried { Ok(()) } else { Err(not_tried("the deployment has no such routes")) }
}
