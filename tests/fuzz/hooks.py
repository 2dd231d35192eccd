"""Formats that a JSON schema cannot express, and checks of the contract for every response.

Based on the contract, not on the server's code.
"""

import itertools
import json
import os
import re
import unicodedata
from urllib.parse import unquote_to_bytes

import schemathesis
from hypothesis import strategies as st

ROOMS = ["testRoom", "quietRoom", "endedRoom"]
CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))


def is_misleading(name):
    """Whether a name is not one path segment, as it is or after decoding it any number of times."""
    data = name.encode()
    while True:
        text = data.decode("utf-8", "replace")
        folded = unicodedata.normalize("NFKC", text)
        if folded.split(";")[0] in (".", "..", "*") or re.search(r"[\x00-\x1f\x7f-\x9f/\\]", folded):
            return True
        again = unquote_to_bytes(data)
        if again == data:
            return False
        data = again


def is_room(name):
    return 1 <= len(name.encode()) <= 255 and name.strip(" ") != "" and not is_misleading(name)


def is_line(text):
    return 1 <= len(text.encode()) <= 255 and text.strip() != "" and not re.search("[\u202a-\u202e\u2066-\u2069]", text)


names = st.text(CHARACTERS, min_size=1, max_size=255)
schemathesis.openapi.format("room-name", st.sampled_from(ROOMS) | names.filter(is_room))
schemathesis.openapi.format("line", st.sampled_from(["member", "owner", "Ann"]) | names.filter(is_line))
schemathesis.openapi.format("password", st.text(CHARACTERS, min_size=1, max_size=200))


@schemathesis.hook
def before_load_schema(ctx, raw_schema):
    # It describes the text of the whole stream, and would be compared with each event.
    stream = raw_schema["paths"]["/callCatchUp/{roomName}/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    del stream["schema"]["type"]


# Refresh tokens cannot be generated: every fourth request uses a real one, which is rotated.
refresh = {"token": os.environ["FUZZ_REFRESH_TOKEN"], "turn": itertools.count()}


def is_refresh(case):
    return case.operation.label == "POST /auth/refresh" and case.meta and case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(ctx, case, kwargs):
    if is_refresh(case) and isinstance(case.body, dict) and next(refresh["turn"]) % 4 == 0:
        case.body["refreshToken"] = refresh["token"]
    # The server accepts whole numbers as 5 only; to JSON Schema, 5.0 is an integer too.
    if case.operation.label == "POST /auth/invitations" and isinstance(case.body, dict):
        for name in ("expiresIn", "uses"):
            if isinstance(case.body.get(name), float) and case.body[name].is_integer():
                case.body[name] = int(case.body[name])


@schemathesis.hook
def after_call(ctx, case, response):
    if is_refresh(case) and response.status_code == 200:
        refresh["token"] = response.json()["data"]["refreshToken"]


def is_wrong_method(case):
    data = case.meta.phase.data if case.meta else None
    return getattr(getattr(data, "scenario", None), "name", "") == "UNSPECIFIED_HTTP_METHOD"


@schemathesis.check
def wrong_method_is_404(ctx, response, case):
    if is_wrong_method(case):
        method = response.request.method
        assert response.status_code == 404, f"{method} got {response.status_code}, not 404"
        if method != "HEAD":
            assert response.json()["error"] == {"code": 404, "message": "Not found"}


@schemathesis.check
def response_follows_the_contract(ctx, response, case):
    (request_id,) = response.headers.get("x-request-id", [""])
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id), f"X-Request-Id: {request_id!r}"
    status = response.status_code
    if status < 400 or response.request.method == "HEAD":
        return
    assert response.headers.get("content-type") == ["application/json"]
    failure = json.loads(response.content)
    assert set(failure) == {"data", "error"} and failure["data"] is None, failure
    assert set(failure["error"]) == {"code", "message"} and failure["error"]["code"] == status, failure
    challenges = response.headers.get("www-authenticate")
    assert (challenges in (["Bearer"], ['Bearer error="invalid_token"'])) == (status == 401), challenges
    assert ("retry-after" in response.headers) == (status in (429, 503))
    # No internal details, and no input.
    sentence = failure["error"]["message"]
    assert len(sentence) < 120 and not re.search(r"\.rs|panicked|serde|sqlx|actix|line \d|127\.0\.0\.1", sentence), sentence
