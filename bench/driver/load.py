"""One run of load against one server: its cost, and whether it is valid."""

import json
import pathlib
import subprocess
import time
from dataclasses import dataclass

import machine

LOAD = pathlib.Path(__file__).resolve().parents[1] / "load"

# Below this share of its core the server did not limit the run.
SATURATED = 0.9
# A run is invalid if other processes, or other virtual machines, used more than this share of the machine.
MAX_OTHERS = 0.03
# The largest factor by which calibrations may differ, within a run or between two compared runs.
MAX_DRIFT = 1.3


@dataclass
class Run:
    """The result of a run. `at` is its position among all runs."""
    label: str
    connections: int
    round: int
    at: int
    requests: int
    seconds: float
    non_2xx: int
    socket_errors: int
    p50_us: float
    p99_us: float
    cpu_us: float
    busy: float
    others: float
    hops: tuple
    spins: tuple

    @property
    def rate(self):
        return self.requests / self.seconds

    @property
    def hop(self):
        return sum(self.hops) / 2

    @property
    def noisy(self):
        drift = max(spread(self.hops), spread([before for before, _ in self.spins]),
                    spread([after for _, after in self.spins]))
        return self.others > MAX_OTHERS or drift > MAX_DRIFT

    @property
    def invalid_reason(self):
        """Why the run is invalid, or an empty string."""
        if self.non_2xx or self.socket_errors:
            return f"{self.non_2xx} responses were not successful, {self.socket_errors} were missing"
        return "the machine was too noisy" if self.noisy else ""


def spread(values):
    return max(values) / min(values)


def wrk(cores, port, script, arguments, connections, seconds, threads=1):
    """Runs wrk; returns the output of its script."""
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", LOAD / script,
               f"http://127.0.0.1:{port}", "--", *arguments]
    done = subprocess.run(machine.pinned(cores, command), capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    return json.loads(lines[-1])


class Loader:
    """Runs loads in turn, with a calibration between two runs, which counts for both."""

    def __init__(self, farm, token):
        self.farm, self.token = farm, token
        self.last, self.count = None, 0

    def rooms(self, label, server, prefix="r", rooms=1, connections=64, seconds=5, round=0, delay_ms=0, warm=1,
              cores=None, threads=1):
        """Requests catch-ups of that many rooms, in turn."""
        arguments = [self.token, prefix, str(rooms), str(delay_ms)]
        return self._run(label, server, "rooms.lua", arguments, connections, seconds, round, warm, cores, threads)

    def logins(self, label, server, password, accounts, connections, seconds, round=0):
        return self._run(label, server, "logins.lua", [password, str(accounts)], connections, seconds, round, 1, None, 1)

    def _run(self, label, server, script, arguments, connections, seconds, round, warm, cores, threads):
        cores = cores or [self.farm.load_core]
        if warm:
            wrk(cores, server.port, script, arguments, connections, warm, threads)
        before = self.last or self.farm.calibrate()
        used, all_processes, started = self._accounts(server), machine.busy_seconds(), time.monotonic()
        children = machine.cpu_seconds("self")
        result = wrk(cores, server.port, script, arguments, connections, seconds, threads)
        wall = time.monotonic() - started
        server_used = self._accounts(server)[0] - used[0]
        known = self._accounts(server)[1] - used[1] + machine.cpu_seconds("self") - children
        all_busy, stolen = (now - then for now, then in zip(machine.busy_seconds(), all_processes))
        self._until_idle(server)
        after = self.last = self.farm.calibrate()
        server.truncate_log()
        if self.farm.smoke and result["requests"] == 0:
            raise RuntimeError(f"{label} sent no response")
        self.count += 1
        others = max(0.0, all_busy + stolen - known) / (2 * wall)
        return Run(label, connections, round, self.count, **result, cpu_us=server_used / max(result["requests"], 1) * 1e6,
                   # A smoke run has no verdict, so that noise does not matter.
                   busy=server_used / wall, others=0.0 if self.farm.smoke else others,
                   hops=(before["hop_ns"], after["hop_ns"]), spins=tuple(zip(before["spin_ns"], after["spin_ns"])))

    @staticmethod
    def _until_idle(server):
        """Waits until the server has completed abandoned requests; a slow server takes some 300 ms, which would disturb the
        calibration."""
        for _ in range(40):
            before = machine.cpu_seconds(server.process.pid)
            time.sleep(0.05)
            if machine.cpu_seconds(server.process.pid) == before:
                return

    def _accounts(self, server):
        """CPU time of the server, and of all running servers, including idle ones."""
        all_servers = sum(machine.cpu_seconds(one.process.pid) for one in self.farm.running)
        return machine.cpu_seconds(server.process.pid), all_servers
