"""P5: the cost by number of rooms and accounts. P6: memory. P7: start. P8: logins."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import threading
import time
from statistics import median

import machine
from load import wrk
from report import Target, cpu, ratio_target

PASSWORD = "four words in no order"
LOGIN_ACCOUNTS, LOGINS_AT_ONCE = 200, 8
IDLE_MB, CONNECTION_KIB, START_MS = 16, 8, 20


def make_accounts(farm, name, count):
    """Creates a database with that many accounts, with one session each; returns its URL. The server's command creates the
    first account and the others are copies of it: hashing a million passwords would take hours."""
    folder = farm.folder / f"database-{name}"
    folder.mkdir()
    url = f"sqlite://{folder}/app.db"
    command = [farm.binary, "user", "add", "--email", "user1@example.com", "--name", "User", "--password-stdin"]
    subprocess.run(command, env={"APP_DATABASE__URL": url}, cwd=folder, input=PASSWORD + "\n", text=True, check=True, capture_output=True)
    with contextlib.closing(sqlite3.connect(folder / "app.db")) as database, database:
        now = int(time.time() * 1000)
        numbers = "WITH RECURSIVE numbers(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        if count > 1:
            database.execute(f"{numbers} INSERT INTO users (id, email, name, password_hash, created_at) "
                             "SELECT 'user' || n, 'user' || n || '@example.com', name, password_hash, created_at "
                             "FROM numbers, users WHERE email = 'user1@example.com'", (2, count))
        database.execute("INSERT INTO sessions (id, user_id, created_at, expires_at) "
                         "SELECT 'session-' || id, id, ?, ? FROM users", (now, now + 30 * 24 * 3600 * 1000))
        database.execute("INSERT INTO refresh_tokens (hash, session_id, created_at) "
                         "SELECT 'hash-' || id, id, created_at FROM sessions")
    return url


def rooms_and_accounts(farm, loader, scale):
    """P5: CPU per hit with one cached room and with many; with one account and with many."""
    long_lived = {"APP_CATCH_UP__FRESH_FOR": "1h", "APP_CATCH_UP__MAX_BYTES": str(1 << 30)}
    small = farm.ours("ours-one-room", **long_lived)
    large = farm.ours("ours-many-rooms", **long_lived)
    one = farm.ours("ours-one-account", APP_DATABASE__URL=make_accounts(farm, "one", 1))
    many = farm.ours("ours-many-accounts", APP_DATABASE__URL=make_accounts(farm, "many", scale.accounts))
    calls = farm.calls()
    while farm.calls() - calls < scale.rooms:
        wrk([farm.load_core], large.port, ["rooms", loader.token, "cached", scale.rooms, 0], 16, 2)
    large.truncate_log()
    cells = [("1 room cached", small, "r", 1), (f"{scale.rooms:,} rooms cached, 1 requested", large, "cached", 1),
             (f"{scale.rooms:,} rooms cached, all requested", large, "cached", scale.rooms),
             ("1 account", one, "r", 1), (f"{scale.accounts:,} accounts", many, "r", 1)]
    runs = [loader.rooms(label, server, prefix, rooms, 64, scale.seconds, round)
            for round in range(scale.rounds) for label, server, prefix, rooms in cells]
    farm.stop(small, large, one, many)
    target = lambda cell, base: ratio_target("P5", f"CPU per hit, {cells[cell][0]}", runs, cells[cell][0], cells[base][0], 64, cpu, 1.1)
    return runs, [target(1, 0), target(2, 0), target(4, 3)]


def memory(farm, token, scale):
    """P6: resident memory after the first response, and of each idle connection."""
    server = farm.ours("ours-idle")
    server.get("/callCatchUp/r1", f"Bearer {token}")
    empty = machine.memory_kib(server.process.pid)
    request = (f"GET /callCatchUp/r1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
    with contextlib.ExitStack() as connections:
        for _ in range(scale.idle_connections):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(request)
            received = b""
            while len(received) < 2048 or not received.endswith(b'"}'):
                received += connection.recv(65536)
        each = (machine.memory_kib(server.process.pid) - empty) / scale.idle_connections
    farm.stop(server)
    return [Target("P6", "memory, idle", f"{empty / 1024:.1f} MB", f"≤ {IDLE_MB} MB", empty <= IDLE_MB * 1024, "resident, after one response"),
            Target("P6", f"memory of an idle connection, {scale.idle_connections:,} of them", f"{each:.1f} KiB",
                   f"≤ {CONNECTION_KIB} KiB", each <= CONNECTION_KIB, "each had one response before"), mixed(farm, token, scale)]


def mixed(farm, token, scale):
    """P6: growth of resident memory over a long mixed run, from the second third to the last."""
    server, samples = farm.ours("ours-mixed"), []
    load = threading.Thread(target=wrk, args=([farm.load_core], server.port, ["mixed", token, 5], 50, scale.mixed_seconds))
    load.start()
    while load.is_alive():
        load.join(scale.mixed_seconds / 60)
        samples.append(machine.memory_kib(server.process.pid) / 1024)
        server.truncate_log()
    farm.stop(server)
    third = len(samples) // 3
    middle, end = median(samples[third:2 * third]), median(samples[2 * third:])
    return Target("P6", f"memory over {scale.mixed_seconds / 60:g} minutes of mixed requests", f"{middle:.1f} → {end:.1f} MB",
                  "flat: ≤ 5 % and 1 MB more in the last third than in the second", end <= middle * 1.05 + 1,
                  f"from {samples[0]:.1f} to {samples[-1]:.1f} MB; the cache has at most 64 MB of it")


def first_response(farm, token, scale):
    """P7: from the start of the process to the last byte of a catch-up, with an existing database."""
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
    return [Target("P7", f"start to first response, {scale.start_accounts:,} accounts", f"{typical:.0f} ms", f"≤ {START_MS} ms",
                   typical <= START_MS, f"median of {len(times)}, {min(times):.0f} to {max(times):.0f} ms")]


def logins(farm, loader, scale):
    """P8: logins compared with argon2 alone on the same core, and their effect on other requests."""
    server = farm.ours("ours-logins", APP_DATABASE__URL=make_accounts(farm, "logins", LOGIN_ACCOUNTS))
    load = ["logins", PASSWORD, LOGIN_ACCOUNTS]
    argon = machine.pinned([farm.server_core], [farm.tools / "argon", scale.seconds])
    runs, alone, quiet, loaded = [], [], [], []
    for round in range(scale.rounds):
        output = subprocess.run(argon, check=True, capture_output=True, text=True).stdout
        alone.append(json.loads(output)["hashes_per_second"])
        runs.append(loader.run("ours, logins", server, load, LOGINS_AT_ONCE, scale.seconds, round))
        # Paced, so that the core is not saturated: at full load p99 would be the length of the queue.
        hits = lambda: loader.rooms("ours, paced", server, connections=16, seconds=scale.seconds, round=round, delay_ms=5)
        quiet.append(hits())
        storm = threading.Thread(target=wrk, args=([farm.load_core], server.port, load, LOGINS_AT_ONCE, scale.seconds + 3))
        storm.start()
        loaded.append(hits())
        storm.join()
    farm.stop(server)
    failed = sum(run.non_2xx + run.socket_errors for run in runs)
    rate, hashes = median(run.rate for run in runs), median(alone)
    calm, storm = (median(run.p99_us for run in some) / 1000 for some in (quiet, loaded))
    disturbed = sum(run.disturbed for run in quiet)
    return runs, [
        Target("P8", "logins/s on one core", f"{rate / hashes:.0%}", "≥ 90 % of argon2 alone", rate >= 0.9 * hashes if not failed else None,
               f"{rate:.1f} against {hashes:.1f}" + (f"; {failed} were rejected" if failed else "")),
        Target("P8", "p99 of paced catch-ups from the cache during a login storm", f"{storm / calm:.1f} ×", "≤ 2 × quiet",
               storm <= 2 * calm if 2 * disturbed < len(quiet) else None,
               f"{storm:.2f} against {calm:.2f} ms; all on one core; other work disturbed {disturbed} of {len(quiet)} quiet runs"),
    ]
