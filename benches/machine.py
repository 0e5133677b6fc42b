"""The machine that a bench runs on, and whether anything else ran beside it.

    machine.watch()

prints the processor, those of its features that decide which products run, and how busy it was
before; and at the end how much of it others took. A run beside which others took more than
3 % is not called quiet, and its times are not for RESULTS.md.
"""

import atexit
import os
import platform
import resource
import time
from pathlib import Path

FEATURES = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "sve", "bf16"]
# Of all cores' time.
MOST = 0.03
# Seconds for which the machine is looked at first.
LOOK = 2.0


def described():
    """Returns the processor's name, its cores and features."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return f"{name}, {os.cpu_count()} cores, {' '.join(flag for flag in FEATURES if flag in flags) or 'features unknown'}"


def busy():
    """Returns the seconds that all cores have computed for anybody, and those that the host of this
    machine gave to others; none where the system does not say."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, stolen = (int(field) / os.sysconf("SC_CLK_TCK") for field in first[:8])
    return user + nice + system + interrupts + soft, stolen


def own():
    """Returns the seconds that this process and those it waited for have computed."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in each)


class Watch:
    """Counts what others compute, from when it is made."""

    def __init__(self):
        self.busy, self.own, self.start = busy(), own(), time.monotonic()

    def others(self):
        """Returns the shares of all cores' time that others of this machine and of its host took."""
        if self.busy is None:
            return None
        (now, stolen), cores = busy(), os.cpu_count() * (time.monotonic() - self.start)
        took = now - self.busy[0] - (own() - self.own)
        return max(0.0, took / cores), (stolen - self.busy[1]) / cores

    def tell(self):
        """Prints whether the machine was quiet."""
        shares = self.others()
        if shares is None:
            said = "whether others computed is not known here"
        else:
            quiet = "quiet" if sum(shares) <= MOST else "NOT QUIET: these times are not for RESULTS.md"
            said = f"{quiet}: others took {shares[0]:.1%} of all cores' time, the host's others {shares[1]:.1%}"
        seconds = time.monotonic() - self.start
        print(f"load {os.getloadavg()[0]:.2f} at the end, after {seconds:.0f} s; {said}", flush=True)


def watch():
    """Prints the machine, and at the end of the program whether it was quiet."""
    before = Watch()
    time.sleep(LOOK)
    shares = before.others()
    load = f"load {os.getloadavg()[0]:.2f}"
    was = f", others took {shares[0]:.1%} of {LOOK:.0f} s" if shares else ""
    print(f"{described()}; {load}{was}; {time.strftime('%Y-%m-%d')}", flush=True)
    atexit.register(Watch().tell)


def tried():
    """Watches a process that it starts, and one that it does not."""
    import subprocess
    import sys

    spin = [sys.executable, "-c", "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"]
    watch = Watch()
    subprocess.run(spin, check=True)
    print("a child of its own:", watch.others())
    watch = Watch()
    other = subprocess.Popen(spin)
    time.sleep(1)
    print("another's, as yet unwaited for:", watch.others())
    other.wait()


if __name__ == "__main__":
    tried()
