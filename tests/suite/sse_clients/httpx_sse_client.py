"""Prints the events of the stream at $URL, as httpx-sse parses them: one JSON array each."""

import json
import os
import time

import httpx
from httpx_sse import connect_sse

headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
name = None
with httpx.Client(timeout=60) as client:
    while name != "ended":
        try:
            with connect_sse(client, "GET", os.environ["URL"], headers=headers) as source:
                for event in source.iter_sse():
                    name = event.event
                    print(json.dumps([name, event.id, event.data]), flush=True)
                    if event.id:
                        headers["Last-Event-ID"] = event.id
        except httpx.TransportError:
            time.sleep(0.1)
