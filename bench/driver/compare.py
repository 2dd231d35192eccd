"""P1 to P3: a catch-up from the cache and passed through; ours and the peers in turn, in several rounds."""

import json

from load import Run
from report import cpu, p99, rate, ratio_target

# So many that no room is requested again while it is cached.
DISTINCT = 100_000_000
LABELS = {"actix-fixed-jwt": "actix with a fixed body behind a JWT check", "nginx": "nginx as a plain proxy",
          "express-object": "Express with its key made once", "express-string": "Express with its secret as a string",
          "actix-naive": "the naive actix server", "axum-reqwest": "axum + reqwest"}
# These respond from memory and get requests for one room; the others for distinct rooms.
FROM_MEMORY = {"ours", "ours, no log", "actix-fixed", "actix-fixed-jwt", "nginx-cache"}
CHECKS_NO_TOKEN = {"actix-fixed", "nginx", "nginx-cache"}
# The order of a round: each peer that has a target is next to ours, most of them between two runs of ours.
CIRCUIT = ("ours", "actix-fixed-jwt", "ours", "nginx", "ours, cache off", "actix-naive", "ours, cache off", "axum-reqwest",
           "ours, cache off", "express-object", "ours", "express-string")
# By then connections to Admin Control are reused, and everything that is created once exists.
WARM_SECONDS = 2
# At most this share of the runs is repeated because the machine was too noisy.
REPEATED = 0.25


def start(farm, judged):
    """Starts ours in several configurations, and the peers; by label. With `judged` only those that have a target."""
    stale_only = {"APP_CATCH_UP__FRESH_FOR": "0s"}
    # The peers cache nothing either.
    cache_off = {**stale_only, "APP_CATCH_UP__STALE_IF_ERROR": "0s"}
    servers = {"ours": farm.ours("ours"), "ours, cache off": farm.ours("ours-cache-off", **cache_off),
               "ours, stale only": farm.ours("ours-stale-only", **stale_only)}
    if not judged:
        servers["ours, no log"] = farm.ours("ours-no-log", RUST_LOG="off")
        servers["ours, cache off, no log"] = farm.ours("ours-cache-off-no-log", RUST_LOG="off", **cache_off)
    servers.update((peer.name, peer) for peer in farm.peers(set(LABELS) if judged else None))
    return servers


def check(farm, servers, token):
    """Checks that every server sends the right response, and those that check tokens reject a wrong one."""
    expected = farm.fake_admin_control.get("/api/call-catchup/r7")[1]
    for label, server in servers.items():
        status, body = server.get("/callCatchUp/r7", f"Bearer {token}")
        right = len(body) == len(expected) if label.startswith("actix-fixed") else json.loads(body) == json.loads(expected)
        if label.startswith(("ours", "nginx")):
            right = body == expected
        if status != 200 or not right:
            raise SystemExit(f"{label} sends a wrong response: {status} {body[:200]}")
        if label not in CHECKS_NO_TOKEN:
            for wrong in (None, f"Bearer {token[:-2]}", "Bearer x.y.z"):
                if (status := server.get("/callCatchUp/r7", wrong)[0]) != 401:
                    raise SystemExit(f"{label} responds {status} to a wrong token")


def measure(farm, loader, servers, scale):
    runs: list[Run] = []
    order = [label for label in CIRCUIT if label in servers]
    order += [label for label in servers if label not in order]
    spare = int(scale.rounds * len(scale.connections) * len(order) * REPEATED)

    def run(label):
        rooms = 1 if label in FROM_MEMORY else DISTINCT
        runs.append(loader.rooms(label, servers[label], rooms=rooms, connections=connections, seconds=scale.seconds,
                                 round=round, warm=min(WARM_SECONDS, scale.seconds)))
        return runs[-1]

    for round in range(scale.rounds):
        for connections in scale.connections:
            for label in order:
                if run(label).noisy and spare > 0:
                    spare -= 1
                    run(label)
        print(f"  round {round + 1} of {scale.rounds}", flush=True)
    return runs


def targets(runs, scale):
    found = []
    hit, passed = "a catch-up from the cache", "passed through"
    for connections in scale.connections:
        target = lambda row, what, one, other, figure, limit, at_most=True: found.append(
            ratio_target(row, what, runs, one, other, connections, figure, limit, at_most, LABELS))
        target("P1", f"{hit}: CPU", "ours", "actix-fixed-jwt", cpu, 1.15)
        target("P1", f"{hit}: CPU", "ours", "nginx", cpu, 1.2)
        target("P1", f"{hit}: requests/s", "ours", "express-object", rate, 32, False)
        target("P1", f"{hit}: requests/s", "ours", "express-string", rate, 85, False)
        target("P2", f"{passed}: CPU", "ours, cache off", "actix-naive", cpu, 0.95)
        target("P2", f"{passed}: CPU", "ours, cache off", "axum-reqwest", cpu, 1.0)
        target("P2", f"{passed}: CPU", "ours, cache off", "nginx", cpu, 2.7)
        target("P2", f"{passed}: requests/s", "ours, cache off", "express-object", rate, 13, False)
        target("P3", f"{hit}: p99", "ours", "actix-fixed-jwt", p99, 1.5)
        target("P3", f"{passed}: p99", "ours, cache off", "actix-naive", p99, 1.5)
    return sorted(found, key=lambda target: target.row)
