"""P4: many simultaneous clients of one room, whose catch-up takes 1.5 seconds to write. P9: many streams of one room."""

import json
import os
import subprocess
import time
from statistics import median

import machine
from report import Target

WRITING_MS = 1500
# A fetch goes on behind the stale responses.
BEHIND = 1.1
# An idle server has fewer open files.
IDLE_FILES = 200
STREAMS_MS, STREAMS_MB = 300, 120


def connect(farm, server, path, count, token, *streams):
    """Starts the client program, and waits until all clients are connected."""
    command = machine.pinned([farm.load_core], [farm.tools / "concurrent_clients", server.port, path, count, *streams])
    clients = subprocess.Popen(command, env={"TOKEN": token}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    if clients.stdout.readline() != "ready\n":
        raise RuntimeError(f"{count} clients could not connect to {server.name}")
    return clients


def burst(farm, server, room, count, token, before=None):
    """Sends all requests at once; returns the times, the number of right responses, and the number of calls."""
    # Two bursts would exceed the connection limit.
    while len(os.listdir(f"/proc/{server.process.pid}/fd")) >= IDLE_FILES:
        time.sleep(0.05)
    if before:
        # Before connecting: a connection without a request is closed after five seconds.
        before()
    clients = connect(farm, server, f"/callCatchUp/{room}", count, token)
    # Until the server, and not only the kernel, has accepted the connections.
    time.sleep(0.5)
    calls = farm.calls()
    result, _ = clients.communicate("go\n", timeout=120)
    return {**json.loads(result), "calls": farm.calls() - calls}


def make_stale(server, room, token, wait=1.1):
    """Requests the room once, and waits until its response, fresh for one second, is stale."""
    def before():
        assert server.get(f"/callCatchUp/{room}", f"Bearer {token}")[0] == 200
        time.sleep(wait)
    return before


def bursts(farm, token, scale):
    """P4: ours, cold and stale, in each size; nginx, with and without its lock, in the first size."""
    # By default, the 5,001st request in flight gets 503.
    ours = farm.ours("ours-burst", APP_CATCH_UP__FRESH_FOR="1s", APP_SERVER__MAX_IN_FLIGHT="12000")
    found, others = [], []
    for count, allowance in scale.bursts:
        for state in ("cold", "stale"):
            results = []
            for attempt in range(scale.burst_rounds):
                room = f"slow-{count}-{state}-{attempt}"
                results.append(burst(farm, ours, room, count, token, state == "stale" and make_stale(ours, room, token)))
            found.append(burst_target(count, state, results, allowance))
    farm.stop(ours)
    count = scale.bursts[0][0]
    # Its two figures differ by a few milliseconds only.
    found.append(just_stale(farm, token, count, 3 * scale.burst_rounds))
    for name, cache in (("nginx", False), ("nginx with proxy_cache_lock", True)) if farm.has_nginx else ():
        server = farm.nginx(f"burst-{cache}", "1s" if cache else None)
        for state in ("cold", "stale"):
            room = f"slow-{cache}-{state}"
            # nginx counts in whole seconds: one second may last two.
            result = burst(farm, server, room, count, token, state == "stale" and make_stale(server, room, token, wait=2.2))
            others.append(f"{name}, {state}: {result['calls']:,} calls, last response after {result['last_ms']:.0f} ms,"
                          f" {result['good']:,} of {count:,} right")
        farm.stop(server)
    return found, others


def burst_target(count, state, results, allowance):
    """The worst attempt counts."""
    last, calls, good = (pick(result[key] for result in results)
                         for pick, key in ((max, "last_ms"), (max, "calls"), (min, "good")))
    sent = max(result["sent_ms"] for result in results)
    return Target("P4", f"{count:,} clients of one room, {state}", f"{calls:,} {'call' if calls == 1 else 'calls'}, {last:.0f} ms",
                  f"1 call, ≤ {WRITING_MS + allowance:,} ms", calls == 1 and good == count and last <= WRITING_MS + allowance,
                  f"the worst of {len(results)}; {good:,} right; sending alone took {sent:.0f} ms")


def just_stale(farm, token, count, rounds):
    """A burst on an entry just gone stale, with STALE_AFTER=0s, beside one on a fresh entry, in turn."""
    servers = {state: farm.ours(f"ours-{state}", APP_CATCH_UP__FRESH_FOR=fresh_for, APP_CATCH_UP__STALE_AFTER="0s")
               for state, fresh_for in (("fresh", "60s"), ("stale", "1s"))}
    results = {state: [] for state in servers}
    for attempt in range(rounds):
        for state, server in servers.items():
            room = f"slow-behind-{state}-{attempt}"
            results[state].append(burst(farm, server, room, count, token, make_stale(server, room, token)))
    farm.stop(*servers.values())
    right = all(result["good"] == count and result["calls"] == (state == "stale")
                for state, every in results.items() for result in every)
    p99 = {state: median(result["p99_ms"] for result in every) for state, every in results.items()}
    return Target("P4", f"{count:,} clients of one room, just gone stale, STALE_AFTER=0s",
                  f"1 call, p99 {p99['stale']:.0f} ms; {p99['fresh']:.0f} ms with a fresh entry", f"1 call, ≤ {BEHIND} × fresh",
                  right and p99["stale"] <= BEHIND * p99["fresh"], f"medians of {rounds}" + ("" if right else "; wrong responses"))


def streams(farm, token, scale):
    """P9: from the first byte of Admin Control's new text to its last byte at the last subscriber; and memory."""
    server = farm.ours("ours-streams", APP_LIVE__POLL_INTERVAL="1s", APP_CATCH_UP__FRESH_FOR="100ms",
                       APP_SERVER__MAX_IN_FLIGHT="12000", APP_LIVE__MAX_PER_CALLER=str(scale.streams))
    clients = connect(farm, server, "/callCatchUp/live/live", scale.streams, token, "streams")

    def wait_for(version):
        clients.stdin.write(f"version {version}.\n")
        if version:
            assert farm.fake_admin_control.get("/update")[1] == str(version).encode()
        result = json.loads(clients.stdout.readline())
        if result["good"] != scale.streams:
            raise RuntimeError(f"{result['good']} of {scale.streams} subscribers got version {version}")
        return result["last_at_ms"] - json.loads(farm.fake_admin_control.get("/calls")[1])["version_sent_at_ms"]

    wait_for(0)
    took = [wait_for(version) for version in range(1, scale.updates + 1)]
    memory = machine.memory_kib(server.process.pid) / 1024
    clients.communicate(timeout=60)
    farm.stop(server)
    what = f"{scale.streams:,} streams of one room"
    return [Target("P9", f"{what}, from Admin Control's new text to the last", f"{median(took):.0f} ms", f"≤ {STREAMS_MS} ms",
                   median(took) <= STREAMS_MS, f"median of {len(took)}, {min(took):.0f} to {max(took):.0f} ms"),
            Target("P9", f"{what}, memory", f"{memory:.0f} MB", f"≤ {STREAMS_MB} MB", memory <= STREAMS_MB,
                   "resident, after the updates")]
