"""Uses the client of docs/clients/python.md with tokens of an identity provider. Exits with 0 if all are accepted."""

import os
from pathlib import Path

from proconf import Proconf

# The first one has expired when it is used.
tokens = ["not.a.token", Path("provider_token").read_text()]
proconf = Proconf(os.environ["BASE"])
paths = []
proconf._http.event_hooks["request"] = [lambda request: paths.append(request.url.path)]
proconf.use_tokens(lambda: tokens.pop(0))
assert proconf.catch_up("testRoom").text.startswith("Ann opened the call")
assert next(proconf.follow("testRoom"))
proconf.sign_out()
assert not any(path.startswith("/auth/") for path in paths), "no refresh and no logout"
print("accepted")
