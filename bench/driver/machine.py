"""The machine: its cores, the processor time of processes, and its current speed."""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys

TICK = os.sysconf("SC_CLK_TCK")


def two_cores():
    """The core for the server and the core for all other processes."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the benchmark needs two cores: one for the server, one for the load")
    return cores[0], cores[1]


def pinned(cores, command):
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


def parents():
    """The parent of each process."""
    found = ((int(entry), stat(int(entry))) for entry in os.listdir("/proc") if entry.isdigit())
    return {pid: int(fields[1]) for pid, fields in found if fields}


def tree(pid, parent_of=None):
    """The process and its descendants."""
    children = {}
    for child, parent in (parent_of or parents()).items():
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return found


def stat(pid):
    """The fields of /proc/PID/stat from the third one on, or None if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def cpu_seconds(pid):
    """User and system time of the process and its descendants, ended ones included."""
    alive = [fields for fields in map(stat, tree(pid)) if fields]
    return sum(sum(map(int, fields[11:15])) for fields in alive) / TICK


def busy_seconds():
    """Processor time since boot that was not idle: (used on this machine, stolen by other virtual machines)."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq) / TICK, steal / TICK


def other_work():
    """Processor seconds so far of each process but the benchmark's and the kernel's."""
    parent_of = parents()
    known = {*tree(os.getpid(), parent_of), *tree(2, parent_of)}
    found = ((pid, stat(pid)) for pid in parent_of if pid not in known)
    return {pid: sum(map(int, fields[11:13])) / TICK for pid, fields in found if fields}


def memory_kib(pid):
    """Resident memory of the process and its children."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{one}/status") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return total


def calibrate(tool, cores):
    """Measures a cache-line transfer between the cores, and a fixed calculation on each."""
    return json.loads(subprocess.run([tool, *map(str, cores)], check=True, capture_output=True, text=True).stdout)


def install(binary, package):
    """Installs the program if it is missing; returns whether it exists."""
    if shutil.which(binary):
        return True
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    print(f"installing {package}", flush=True)
    # At this run level Debian does not start installed services.
    quiet = dict(env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}, stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], **quiet)
    return shutil.which(binary) is not None


def describe():
    """The machine in one line, without its name, and the versions of the compilers and programs."""
    with open("/proc/cpuinfo") as file:
        cpuinfo = file.read()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    virtual = " (virtual)" if "hypervisor" in cpuinfo else ""
    lines = []
    for command in (["rustc", "-V"], ["node", "-v"], ["nginx", "-v"], ["go", "version"], ["wrk", "-v"]):
        if shutil.which(command[0]):
            run = subprocess.run(command, capture_output=True, text=True)
            line = (run.stdout + run.stderr).strip().splitlines()[0]
            lines.append(f"node {line}" if command[0] == "node" else line.split("[")[0].split("(")[0].strip())
    return (f"{model}{virtual}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}."
            f" {', '.join(lines)}.")
