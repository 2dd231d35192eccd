"""P5: the cost by number of rooms, accounts, bytes and cores."""

import contextlib
import sqlite3
import subprocess
import time

from load import wrk
from report import Target, cpu, pairs, rate, ratio_target

PASSWORD = "four words in no order"


def make_accounts(farm, name, count):
    """Creates a database with that many accounts, with one session each; returns its URL. The server's command creates the
    first account and the others are copies of it: hashing a million passwords would take hours."""
    folder = farm.folder / f"database-{name}"
    folder.mkdir()
    url = f"sqlite://{folder}/app.db"
    env = {"APP_DATABASE__URL": url, "APP_AUTH__JWT_SECRET": "b4TnYbL9sHd3gJfP6uE1oA5iKxQwVZ8qkW2vR7mX",
           "APP_ADMIN_CONTROL__BASE_URL": farm.admin_control}
    command = [farm.binary, "user", "add", "--email", "user1@example.com", "--name", "User", "--password-stdin"]
    subprocess.run(command, env=env, cwd=folder, input=PASSWORD + "\n", text=True, check=True, capture_output=True)
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


def fill_cache(farm, server, token, rooms):
    """Requests each room once, until Admin Control was called for each."""
    calls = farm.calls()
    while farm.calls() - calls < rooms:
        wrk([farm.load_core], server.port, "rooms.lua", [token, "cached", str(rooms)], 16, 2)
    server.truncate_log()


def rooms_and_accounts(farm, loader, token, scale):
    """CPU per hit with one cached room and with many; with one account and with many."""
    long_lived = {"APP_CATCH_UP__FRESH_FOR": "1h", "APP_CATCH_UP__MAX_BYTES": str(1 << 30)}
    small = farm.ours("ours-one-room", **long_lived)
    large = farm.ours("ours-many-rooms", **long_lived)
    one = farm.ours("ours-one-account", APP_DATABASE__URL=make_accounts(farm, "one", 1))
    many = farm.ours("ours-many-accounts", APP_DATABASE__URL=make_accounts(farm, "many", scale.accounts))
    fill_cache(farm, large, token, scale.rooms)
    cells = [("1 room cached", small, "r", 1), (f"{scale.rooms:,} rooms cached, 1 requested", large, "cached", 1),
             (f"{scale.rooms:,} rooms cached, all requested", large, "cached", scale.rooms),
             ("1 account", one, "r", 1), (f"{scale.accounts:,} accounts", many, "r", 1)]
    runs = [loader.rooms(label, server, prefix, rooms, 64, scale.seconds, round)
            for round in range(scale.rounds) for label, server, prefix, rooms in cells]
    farm.stop(small, large, one, many)
    target = lambda cell, base: ratio_target("P5", f"CPU per hit, {cells[cell][0]}", runs, cells[cell][0], cells[base][0], 64, cpu, 1.1)
    return runs, [target(1, 0), target(2, 0), target(4, 3)]


def one_megabyte(farm, loader, servers, scale):
    """1 MB passed through, compared with nginx."""
    cells = [(label, servers[label]) for label in ("ours, cache off", "nginx", "actix-naive") if label in servers]
    runs = [loader.rooms(f"{label}, 1 MB", server, "big", 100_000_000, 16, scale.seconds, round)
            for round in range(scale.rounds) for label, server in cells]
    return runs, [ratio_target("P5", "1 MB passed through: CPU", runs, "ours, cache off, 1 MB", "nginx, 1 MB", 16, cpu, 2.0)]


def cores(farm, loader, scale):
    """The same load on one core and on both, which server and load generator share; compared with the framework alone, which
    distributes requests over cores in the same way."""
    places = {"on 1 core": [farm.server_core], "on 2 cores": [farm.server_core, farm.load_core]}
    kinds = {"server and load": lambda name, cores: farm.ours(name, cores=cores),
             "actix-fixed-jwt and load": lambda name, cores: farm.rust(name, "actix_fixed", cores=cores, JWT="1")}
    cells = [(f"{kind} {place}", start(f"{kind}-{place}".replace(" ", "-"), cores), cores)
             for kind, start in kinds.items() for place, cores in places.items()]
    runs = [loader.rooms(label, server, connections=64, seconds=scale.seconds, round=round, cores=cores, threads=len(cores))
            for round in range(scale.rounds) for label, server, cores in cells]
    farm.stop(*(server for _, server, _ in cells))
    ours, framework = (ratio_target("P5", "cores 1 → 2: requests/s", runs, f"{kind} on 2 cores", f"{kind} on 1 core", 64, rate,
                                 1.8, at_most=False) for kind in kinds)
    found = pairs(runs, "server and load on 2 cores", "server and load on 1 core", 64)
    if found and ours.passed is None:
        # Here the load generator uses its part of the cores by design.
        ours = Target(ours.row, ours.what, ours.figure, ours.target, float(ours.figure) >= 1.8, ours.remark.split(";")[0])
    if found:
        share = sum(two.busy for two, _ in found) / len(found) / 2
        ours.remark += (f"; the server had {share:.0%} of both cores, wrk the rest; actix-fixed-jwt, which writes no log and has"
                        f" no cache: {framework.figure}")
    return runs, [ours]
