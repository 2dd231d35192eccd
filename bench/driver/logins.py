"""P8: logins compared with argon2 alone on the same core, and their effect on other requests."""

import json
import subprocess
import threading

import machine
from growth import PASSWORD, make_accounts
from load import wrk
from report import Target
from statistics import median

ACCOUNTS = 200
AT_ONCE = 8


def measure(farm, loader, token, scale):
    server = farm.ours("ours-logins", APP_DATABASE__URL=make_accounts(farm, "logins", ACCOUNTS))
    runs, alone, quiet, loaded = [], [], [], []
    for round in range(scale.rounds):
        alone.append(argon(farm, scale.seconds))
        runs.append(loader.logins("ours, logins", server, PASSWORD, ACCOUNTS, AT_ONCE, scale.seconds, round))
        # Paced, so that the core is not saturated: at full load p99 would be the length of the queue.
        hits = lambda: loader.rooms("ours, paced", server, connections=16, seconds=scale.seconds, round=round, delay_ms=5)
        quiet.append(hits())
        login_load = threading.Thread(target=wrk, args=([farm.load_core], server.port, "logins.lua", [PASSWORD, str(ACCOUNTS)],
                                                   AT_ONCE, scale.seconds + 3))
        login_load.start()
        loaded.append(hits())
        login_load.join()
    farm.stop(server)
    failed = sum(run.non_2xx + run.socket_errors for run in runs)
    logins, hashes = median(run.rate for run in runs), median(alone)
    share = logins / hashes
    calm, storm = (median(run.p99_us for run in some) / 1000 for some in (quiet, loaded))
    return runs, [
        Target("P8", "logins/s on one core", f"{share:.0%}", "≥ 90 % of argon2 alone", share >= 0.9 if not failed else None,
            f"{logins:.1f} against {hashes:.1f}" + (f"; {failed} were rejected" if failed else "")),
        Target("P8", "p99 of paced catch-ups from the cache during a login storm", f"{storm / calm:.1f} ×", "≤ 2 × quiet",
            storm <= 2 * calm, f"{storm:.2f} against {calm:.2f} ms; all on one core"),
    ]


def argon(farm, seconds):
    command = machine.pinned([farm.server_core], [farm.tools / "argon", seconds])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["hashes_per_second"]
