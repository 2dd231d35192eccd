"""P1 to P3, P10 and the first row of P5: ours and the peers in turn, in several rounds."""

import json

from report import cpu, p99, rate, ratio_target

# So many that no room is requested again while it is cached.
DISTINCT = 100_000_000
# The peers cache nothing either.
CACHE_OFF = {"APP_CATCH_UP__FRESH_FOR": "0s", "APP_CATCH_UP__STALE_IF_ERROR": "0s"}
# These respond from memory and get requests for one room; the others for distinct rooms.
FROM_MEMORY = {"ours", "ours, no log", "actix-fixed", "actix-fixed-jwt", "nginx-cache"}
CHECKS_NO_TOKEN = {"actix-fixed", "nginx", "nginx-cache"}
# The order of a round: each peer that is compared is next to ours, most of them between two runs of ours.
CIRCUIT = ("ours", "actix-fixed-jwt", "ours", "nginx", "ours, cache off", "actix-naive", "ours, cache off", "axum-reqwest",
           "ours, cache off", "hyper-proxy", "ours, cache off", "actix-naive-log", "ours, https", "axum-reqwest, https", "ours, https",
           "express-object", "ours", "express-string")
HIT, PASSED = "a catch-up from the cache", "passed through"
# Row, measurement, the two labels, the figure, and the targets for 64 and 256 connections; None is a comparison.
COMPARED = (
    ("P1", f"{HIT}: CPU", "ours", "actix-fixed-jwt", cpu, (1.0, 1.05), "actix with a fixed body behind a JWT check"),
    ("P1", f"{HIT}: CPU", "ours", "nginx", cpu, (0.7, 0.7), "nginx as a plain proxy"),
    ("P1", f"{HIT}: requests/s", "ours", "express-object", rate, None, "Express with its key made once"),
    ("P1", f"{HIT}: requests/s", "ours", "express-string", rate, None, "Express with its secret as a string"),
    ("P2", f"{PASSED}: CPU", "ours, cache off", "actix-naive", cpu, (1.0, 1.0), "the naive actix server"),
    ("P2", f"{PASSED}: CPU", "ours, cache off", "actix-naive-log", cpu, None, "the naive actix server with an access log"),
    ("P2", f"{PASSED}: CPU", "ours, cache off", "axum-reqwest", cpu, (0.8, 0.8), "axum + reqwest"),
    ("P2", f"{PASSED}: CPU", "ours, cache off", "hyper-proxy", cpu, None, "hyper by hand, the limit of the stack"),
    ("P2", f"{PASSED}: CPU", "ours, cache off", "nginx", cpu, None, "nginx as a plain proxy"),
    ("P2", f"{PASSED}: requests/s", "ours, cache off", "express-object", rate, None, "Express with its key made once"),
    ("P2", f"{PASSED} over https: CPU", "ours, https", "axum-reqwest, https", cpu, (0.9, 0.9), "axum + reqwest over https"),
    ("P3", f"{HIT}: p99", "ours", "actix-fixed-jwt", p99, (1.0, 1.0), "actix with a fixed body behind a JWT check"),
    ("P3", f"{PASSED}: p99", "ours, cache off", "actix-naive", p99, (1.0, 1.0), "the naive actix server"),
)
# The peers of a judged run: those with a target, the limit, and the one with a log.
JUDGED = {row[3] for row in COMPARED if row[5]} | {"hyper-proxy", "actix-naive-log"}
# By then connections to Admin Control are reused, and everything that is created once exists.
WARM_SECONDS = 2
# At most this share of the runs is repeated because the machine was too noisy.
REPEATED = 0.25


def start(farm, judged):
    """Starts ours in several configurations, and the peers; by label."""
    servers = {"ours": farm.ours("ours"), "ours, cache off": farm.ours("ours-cache-off", **CACHE_OFF),
               "ours, https": farm.ours("ours-https", **CACHE_OFF, **farm.https("APP_ADMIN_CONTROL__BASE_URL"))}
    if not judged:
        servers["ours, stale only"] = farm.ours("ours-stale-only", APP_CATCH_UP__FRESH_FOR="0s")
        servers["ours, no log"] = farm.ours("ours-no-log", RUST_LOG="off")
        servers["ours, cache off, no log"] = farm.ours("ours-cache-off-no-log", RUST_LOG="off", **CACHE_OFF)
    servers.update((peer.name, peer) for peer in farm.peers(JUDGED if judged else None))
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


def measure(loader, servers, wanted, scale):
    """P1 to P3."""
    runs = []
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
    return runs, [ratio_target(row, what, runs, one, other, connections, figure, targets and targets[at], name)
                  for row, what, one, other, figure, targets, name in COMPARED if row in wanted
                  for at, connections in enumerate(scale.connections)]


def one_megabyte(loader, servers, scale):
    """P5: 1 MB passed through."""
    labels = [label for label in ("ours, cache off", "nginx", "actix-naive") if label in servers]
    runs = [loader.rooms(f"{label}, 1 MB", servers[label], "big", DISTINCT, 16, scale.seconds, round)
            for round in range(scale.rounds) for label in labels]
    return runs, [ratio_target("P5", "1 MB passed through: CPU", runs, "ours, cache off, 1 MB", "nginx, 1 MB", 16, cpu, 2.0)]


def provider_token(farm, loader, scale):
    """P10: the RS256 token of an identity provider, whose verification is cached, and an own token in turn."""
    server = farm.ours("ours-provider", APP_OIDC__ISSUER=farm.issuer, APP_OIDC__AUDIENCE="bench")
    status, token = farm.fake_admin_control.get("/openid/token")
    tokens = {"own token": loader.token, "provider's token": token.decode()}
    for label, token in tokens.items():
        if (status := server.get("/callCatchUp/r1", f"Bearer {token}")[0]) != 200:
            raise SystemExit(f"{label}: {status}")
    runs = [loader.rooms(label, server, seconds=scale.seconds, round=round, token=token)
            for round in range(scale.rounds) for label, token in [*tokens.items(), ("own token", loader.token)]]
    farm.stop(server)
    return runs, [ratio_target("P10", f"{HIT}, provider's RS256 token: CPU", runs, "provider's token", "own token", 64, cpu, 1.05)]
