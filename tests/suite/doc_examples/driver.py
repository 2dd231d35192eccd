"""Tests the client of docs/clients/python.md against the statements of its page. Exits with 0 if all are true."""

import json
import os
import threading
import urllib.request
from urllib.parse import quote

from proconf import ApiError, CatchUp, Proconf

BASE, SANDBOX, EMAIL, PASSWORD = (os.environ[name] for name in ("BASE", "SANDBOX", "EMAIL", "PASSWORD"))


def set_reply(path, reply):
    body = json.dumps(reply).encode()
    urllib.request.urlopen(urllib.request.Request(f"{SANDBOX}/replies/{path}", body, method="PUT")).close()


def fails(status, call, *arguments):
    try:
        call(*arguments)
    except ApiError as error:
        assert error.status == status and error.request_id, error
        return
    raise AssertionError(f"no {status}")


proconf = Proconf(BASE)
fails(401, proconf.catch_up, "testRoom")
fails(401, proconf.sign_in, EMAIL, "a wrong password")
proconf.sign_in(EMAIL, PASSWORD)

# The second response is a 304.
set_reply("call-catchup/testRoom", {"data": "One."})
assert proconf.catch_up("testRoom") == CatchUp("One.", True, 0)
assert proconf.catch_up("testRoom") == CatchUp("One.", False, 0)

for room in ["a b", "a+b", "Q&A #1: 100%", "a?b=c", "комната", "%41", "a;b", "x" * 255]:
    set_reply(f"call-catchup/{quote(room, safe='')}", {"data": f"of {room}"})
    assert proconf.catch_up(room).text == f"of {room}", room
    assert next(proconf.follow(room)) == f"of {room}", room
for room in ["", " ", "..", "a/b", "%2f", "\n", "x" * 256]:
    fails(400, proconf.catch_up, room)

# Ten threads that get a 401 share one renewal: a refresh token works once.
before, proconf._token = proconf._refresh_token, "expired"
renewals = []
refresh = proconf._renewal
proconf._renewal = lambda: (renewals.append(1), refresh())
threads = [threading.Thread(target=proconf.config) for _ in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(renewals) == 1 and proconf._refresh_token != before

assert proconf.status("testRoom").keys() == {"transcript_status", "recording_status"}
assert proconf.meetings()[0]["room_name"] == "endedRoom"
assert proconf.call_token("member", "testRoom", "Ann").count(".") == 2
fails(403, proconf.call_token, "king", "testRoom", "Ann")

# `watch` yields each text once, and survives failures.
seen = []
set_reply("call-catchup/testRoom", {"data": "1"})
for text in proconf.watch("testRoom", every=0.01):
    seen.append(text)
    if text == "1":
        set_reply("call-catchup/testRoom", {"status": 500, "times": 2})
    if len(seen) == 2 or text != "1":
        break
assert seen[0] == "1" and seen[1] != "1", seen

# `follow` yields each text whole, and ends with the meeting.
odd = "4: \u2028 \u2029 ü\n\ndata: {}\r\n🎥"
set_reply("call-catchup/testRoom", {"data": odd})
assert odd in (text for text in proconf.follow("testRoom"))
assert list(proconf.follow("endedRoom")) == []
fails(400, next, proconf.follow(" "))

# A guest has access to its own room only, and joins again when its token has expired.
guest = Proconf(BASE)
guest.join_as_guest("testRoom")
fails(403, guest.catch_up, "quietRoom")
guest._token = "expired"
assert guest.catch_up("testRoom").text == odd
proconf.sign_out()
fails(401, proconf.catch_up, "testRoom")
print("all statements are true")
