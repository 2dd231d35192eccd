"""Prints the events of the stream at $URL, as sseclient parses them: one JSON array each. It reconnects by itself."""

import json
import os
import sys

from sseclient import SSEClient

# The library prints why it reconnects.
output, sys.stdout = sys.stdout, sys.stderr
for event in SSEClient(os.environ["URL"], headers={"Authorization": f"Bearer {os.environ['TOKEN']}"}):
    print(json.dumps([event.event, event.id or "", event.data]), file=output, flush=True)
    if event.event == "ended":
        break
