"""P6 and P7: memory, and the time from the start to the first response."""

import contextlib
import resource
import socket
import subprocess
import threading
import time
from statistics import median

import machine
from growth import make_accounts
from load import wrk
from report import Target


def idle(farm, token, scale):
    """Resident memory after the first response, and of each idle connection."""
    server = farm.ours("ours-idle")
    server.get("/callCatchUp/r1", f"Bearer {token}")
    empty = machine.memory_kib(server.process.pid)
    found = [Target("P6", "memory, idle", f"{empty / 1024:.1f} MB", "≤ 20 MB", empty <= 20 * 1024, "resident, after one response")]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = (f"GET /callCatchUp/r1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
    with contextlib.ExitStack() as connections:
        for _ in range(scale.idle_connections):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(request)
            received = b""
            while len(received) < 2048 or not received.endswith(b'"}'):
                received += connection.recv(65536)
        each = (machine.memory_kib(server.process.pid) - empty) / scale.idle_connections
        found.append(Target("P6", f"memory of an idle connection, {scale.idle_connections:,} of them", f"{each:.1f} KiB",
                         "≤ 20 KiB", each <= 20, "each had one response before"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    farm.stop(server)
    return found


def mixed(farm, token, scale):
    """Growth of resident memory over a long mixed run, from the second third to the last."""
    server = farm.ours("ours-mixed")
    samples = []
    load = threading.Thread(target=wrk, args=([farm.load_core], server.port, "mixed.lua", [token, "5"], 50,
                                              scale.mixed_seconds))
    load.start()
    while load.is_alive():
        load.join(scale.mixed_seconds / 60)
        samples.append(machine.memory_kib(server.process.pid) / 1024)
        server.truncate_log()
    farm.stop(server)
    third = len(samples) // 3
    middle, end = median(samples[third:2 * third]), median(samples[2 * third:])
    return [Target("P6", f"memory over {scale.mixed_seconds / 60:g} minutes of mixed requests", f"{middle:.1f} → {end:.1f} MB",
                "flat: ≤ 5 % and 1 MB more in the last third than in the second", end <= middle * 1.05 + 1,
                f"from {samples[0]:.1f} to {samples[-1]:.1f} MB; the cache has at most 64 MB of it")]


def first_response(farm, token, scale):
    """From the start of the process to the last byte of a catch-up, with an existing database."""
    url = make_accounts(farm, "start", scale.start_accounts)
    times = []
    for attempt in range(scale.starts):
        server = farm.ours(f"ours-start-{attempt}", start=False, APP_DATABASE__URL=url)
        started = time.perf_counter()
        server.start(wait=False)
        try:
            server.wait(pause=0.001)
            assert server.get("/callCatchUp/r1", f"Bearer {token}")[0] == 200
            times.append((time.perf_counter() - started) * 1000)
        finally:
            server.stop()
    typical = median(times)
    return [Target("P7", f"start to first response, {scale.start_accounts:,} accounts", f"{typical:.0f} ms", "≤ 100 ms",
                typical <= 100, f"median of {len(times)}, {min(times):.0f} to {max(times):.0f} ms")]
