"""Uses the Python client that OpenAPI Generator makes from docs/openapi.json, against the server at $BASE."""

import os

from openapi_client import ApiClient, ApiException, CallsApi, Configuration, GuestsApi, ServerApi, SessionsApi
from openapi_client.models import LoginRequest, RefreshTokenRequest


def apis(token=None):
    client = ApiClient(Configuration(host=os.environ["BASE"], access_token=token))
    return SessionsApi(client), GuestsApi(client), CallsApi(client), ServerApi(client)


def failure(status, call, *arguments, **named):
    """Returns the exception of a call that must fail with this status."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == status, f"{error.status}, not {status}: {error.body}"
        return error
    raise AssertionError(f"no {status}")


sessions, guests, _, server = apis()
assert server.ready().data.status == "ready"
credentials = LoginRequest(email=os.environ["EMAIL"], password=os.environ["PASSWORD"])
session = sessions.login(credentials).data
assert session.token_type == "Bearer" and session.user.email == os.environ["EMAIL"]
renewed = sessions.refresh(RefreshTokenRequest(refreshToken=session.refresh_token)).data
assert renewed.refresh_token != session.refresh_token

_, _, calls, _ = apis(renewed.token)
for room in ["r1", "Q&A #1", "100%", "a+b", "Grüße ✓", "a?b=c"]:
    assert calls.call_catch_up(room).data == room, room
    assert calls.call_catch_up_in_query(room).data == room, room
headers = {name.lower(): value for name, value in calls.call_catch_up_with_http_info("r1").headers.items()}
unchanged = calls.call_catch_up_without_preload_content("r1", if_none_match=headers["etag"])
assert unchanged.status == 304, unchanged.status
assert calls.call_status("r1").data.transcript_status is True
assert calls.call_config().data.features.audio_call is True
assert calls.meetings().data == [], "meetings"

wrong = LoginRequest(email=os.environ["EMAIL"], password="a wrong password, and a long one")
error = failure(401, sessions.login, wrong)
assert error.data.error.code == 401 and error.data.error.message == "Unauthorized", error.data
failure(401, apis("not a token")[2].call_config)
failure(400, calls.call_catch_up, "*")
failure(404, calls.call_catch_up, os.environ["UNKNOWN_ROOM"])
guest = guests.join_member("r1").data
failure(403, apis(guest)[2].call_catch_up, "another room")
failure(500, calls.call_catch_up, os.environ["FAILING_ROOM"])
print("the generated client works")
