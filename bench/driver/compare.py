"""P1 to P3: a catch-up from the window and passed through, ours beside the peers, in turn, round after round."""

import json

from load import Run
from report import cpu, p99, rate, ratio_bar

# So many that no room comes twice while it is kept.
DISTINCT = 100_000_000
LABELS = {"actix-fixed-jwt": "actix with a fixed body behind a JWT check", "nginx": "nginx as a plain proxy",
          "express-object": "Express with its key made once", "express-string": "Express with its secret as a string",
          "actix-naive": "the naive actix server", "axum-reqwest": "axum + reqwest"}
# Their answers come from memory, so they are asked for one room; the others for distinct ones.
FROM_MEMORY = {"ours", "ours, no log", "actix-fixed", "actix-fixed-jwt", "nginx-cache"}
CHECKS_NO_TOKEN = {"actix-fixed", "nginx", "nginx-cache"}
# The order of a round: each peer that a bar is held against lies beside ours, most of them between two runs of it.
CIRCUIT = ("ours", "actix-fixed-jwt", "ours", "nginx", "ours, window off", "actix-naive", "ours, window off", "axum-reqwest",
           "ours, window off", "express-object", "ours", "express-string")
# Connections to Admin Control have proven themselves by then, and all that is made once has been made.
WARM_SECONDS = 2
# As many runs as this share of all are repeated where the machine was too noisy.
REPEATED = 0.25


def start(farm, judged):
    """Ours in its forms, and the peers; by label. With `judged` only those that a bar speaks of."""
    for_failures = {"APP_CATCH_UP__FRESH_FOR": "0s"}
    # The peers keep nothing either.
    window_off = {**for_failures, "APP_CATCH_UP__STALE_IF_ERROR": "0s"}
    servers = {"ours": farm.ours("ours"), "ours, window off": farm.ours("ours-window-off", **window_off),
               "ours, kept for failures": farm.ours("ours-kept-for-failures", **for_failures)}
    if not judged:
        servers["ours, no log"] = farm.ours("ours-no-log", RUST_LOG="off")
        servers["ours, window off, no log"] = farm.ours("ours-window-off-no-log", RUST_LOG="off", **window_off)
    servers.update((peer.name, peer) for peer in farm.peers(set(LABELS) if judged else None))
    return servers


def check(farm, servers, token):
    """Every server answers the right bytes, and those that check tokens refuse a wrong one."""
    expected = farm.stand_in.get("/api/call-catchup/r7")[1]
    for label, server in servers.items():
        status, body = server.get("/callCatchUp/r7", f"Bearer {token}")
        right = len(body) == len(expected) if label.startswith("actix-fixed") else json.loads(body) == json.loads(expected)
        if label.startswith(("ours", "nginx")):
            right = body == expected
        if status != 200 or not right:
            raise SystemExit(f"{label} answers wrong: {status} {body[:200]}")
        if label not in CHECKS_NO_TOKEN:
            for wrong in (None, f"Bearer {token[:-2]}", "Bearer x.y.z"):
                if (status := server.get("/callCatchUp/r7", wrong)[0]) != 401:
                    raise SystemExit(f"{label} answers {status} to a wrong token")


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


def bars(runs, scale):
    found = []
    hit, passed = "a catch-up from the window", "passed through"
    for connections in scale.connections:
        bar = lambda row, what, one, other, figure, limit, at_most=True: found.append(
            ratio_bar(row, what, runs, one, other, connections, figure, limit, at_most, LABELS))
        bar("P1", f"{hit}: CPU", "ours", "actix-fixed-jwt", cpu, 1.15)
        bar("P1", f"{hit}: CPU", "ours", "nginx", cpu, 1.2)
        bar("P1", f"{hit}: requests/s", "ours", "express-object", rate, 32, False)
        bar("P1", f"{hit}: requests/s", "ours", "express-string", rate, 85, False)
        bar("P2", f"{passed}: CPU", "ours, window off", "actix-naive", cpu, 0.95)
        bar("P2", f"{passed}: CPU", "ours, window off", "axum-reqwest", cpu, 1.0)
        bar("P2", f"{passed}: CPU", "ours, window off", "nginx", cpu, 2.7)
        bar("P2", f"{passed}: requests/s", "ours, window off", "express-object", rate, 13, False)
        bar("P3", f"{hit}: p99", "ours", "actix-fixed-jwt", p99, 1.5)
        bar("P3", f"{passed}: p99", "ours, window off", "actix-naive", p99, 1.5)
    return sorted(found, key=lambda bar: bar.row)
