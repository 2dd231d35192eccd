"""Renews the token through a proxy at $BASE that loses the first response to /auth/refresh."""

import os

from proconf import Proconf

proconf = Proconf(os.environ["BASE"])
proconf.sign_in(os.environ["EMAIL"], os.environ["PASSWORD"])
proconf._token = "expired"
proconf.config()
# Its session lives on.
proconf.config()
print("renewed")
