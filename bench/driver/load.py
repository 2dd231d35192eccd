"""One run of load against one server: its cost, and whether it is valid."""

import json
import pathlib
import subprocess
import time
from dataclasses import dataclass

import machine

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "load.lua"
# Below this share of its core the server did not limit the run.
SATURATED = 0.9
# A run is invalid if other processes, or other virtual machines, used more than this share of the machine.
MAX_OTHERS = 0.03
# Its 99th percentile is already disturbed by this share.
MAX_OTHERS_P99 = 0.005
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
    other_work: float
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
        drift = max(map(spread, (self.hops, *zip(*self.spins))))
        return self.others > MAX_OTHERS or drift > MAX_DRIFT

    @property
    def disturbed(self):
        """Whether other work may have changed the 99th percentile."""
        return self.noisy or self.other_work > MAX_OTHERS_P99

    @property
    def invalid_reason(self):
        """Why the run is invalid, or an empty string."""
        if self.non_2xx or self.socket_errors:
            return f"{self.non_2xx} responses were not successful, {self.socket_errors} were missing"
        return "the machine was too noisy" if self.noisy else ""


def spread(values):
    return max(values) / min(values)


def wrk(cores, port, load, connections, seconds):
    """Runs wrk; returns the output of its script."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", SCRIPT, f"http://127.0.0.1:{port}",
               "--", *load]
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

    def rooms(self, label, server, prefix="r", rooms=1, connections=64, seconds=5, round=0, delay_ms=0, warm=1, token=None):
        """Requests catch-ups of that many rooms, in turn."""
        load = ["rooms", token or self.token, prefix, rooms, delay_ms]
        return self.run(label, server, load, connections, seconds, round, warm)

    def run(self, label, server, load, connections, seconds, round=0, warm=1):
        apply = lambda duration: wrk([self.farm.load_core], server.port, load, connections, duration)
        apply(warm)
        before = self.last or self.farm.calibrate()
        used, known = self._cpu_seconds(server)
        all_processes, others = machine.busy_seconds(), machine.other_work()
        started, children = time.monotonic(), machine.cpu_seconds("self")
        result = apply(seconds)
        wall = time.monotonic() - started
        used, known = (now - then for now, then in zip(self._cpu_seconds(server), (used, known)))
        known += machine.cpu_seconds("self") - children
        busy, stolen = (now - then for now, then in zip(machine.busy_seconds(), all_processes))
        other_work = stolen + sum(now - others.get(pid, 0) for pid, now in machine.other_work().items())
        self._until_idle(server)
        after = self.last = self.farm.calibrate()
        server.truncate_log()
        if self.farm.smoke and result["requests"] == 0:
            raise RuntimeError(f"{label} sent no response")
        self.count += 1
        # A smoke run has no verdict, so that noise does not matter.
        share = lambda seconds: 0.0 if self.farm.smoke else max(0.0, seconds) / (2 * wall)
        return Run(label, connections, round, self.count, **result, cpu_us=used / max(result["requests"], 1) * 1e6,
                   busy=used / wall, others=share(busy + stolen - known), other_work=share(other_work),
                   hops=(before["hop_ns"], after["hop_ns"]), spins=tuple(zip(before["spin_ns"], after["spin_ns"])))

    @staticmethod
    def _until_idle(server):
        """Waits until the server has completed abandoned requests, which would disturb the calibration."""
        for _ in range(40):
            before = machine.cpu_seconds(server.process.pid)
            time.sleep(0.05)
            if machine.cpu_seconds(server.process.pid) == before:
                return

    def _cpu_seconds(self, server):
        """CPU time of the server, and of all running servers, including idle ones."""
        all_servers = sum(machine.cpu_seconds(one.process.pid) for one in self.farm.running)
        return machine.cpu_seconds(server.process.pid), all_servers
