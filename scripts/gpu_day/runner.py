"""Runs the parts of a day within a limit of time. Each result is on disk before the next part
begins."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

# A part does not begin with less time than this, in seconds.
LEAST = 2.0
# Characters of a failed command's last words that are kept.
WORDS = 2000


class Failed(Exception):
    """A command that failed, with its last words."""


class TimedOut(Exception):
    """A command that was killed at its limit."""


class Skipped(Exception):
    """A part that cannot run here, with the reason."""


@dataclass
class Part:
    """A measurement: its name, the most seconds that it may take, and a function of the `Clock`
    that returns its result."""

    name: str
    limit: float
    measure: Callable


class Interrupt:
    """Requests to stop. While a command starts they wait: it is not known yet, and would go on
    alone."""

    def __init__(self):
        self.waits = False
        self.came = False

    def request(self, *_):
        """The handler of signals."""
        self.came = True
        if not self.waits:
            raise KeyboardInterrupt

    def admit(self):
        """Lets requests through, also one that came meanwhile."""
        self.waits = False
        if self.came:
            raise KeyboardInterrupt


INTERRUPT = Interrupt()


class Clock:
    """The time that a part has left, and the commands that it runs."""

    def __init__(self, limit):
        self.end = time.monotonic() + limit

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def run(self, command, env=None):
        """Runs a command to its end. Returns its standard output and standard error."""
        INTERRUPT.waits = True
        try:
            return self.run_started(command, env)
        finally:
            INTERRUPT.waits = False

    def run_started(self, command, env):
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=None if env is None else {**os.environ, **env},
            # A group of its own, so that all it started ends with it.
            start_new_session=True,
        ) as process:
            try:
                INTERRUPT.admit()
                out, error = process.communicate(timeout=self.left())
            except subprocess.TimeoutExpired:
                out, error = end(process)
                raise TimedOut(last_words(error)) from None
            except BaseException:
                end(process)
                raise
        if process.returncode != 0:
            raise Failed(f"exit status {process.returncode}: {last_words(error) or last_words(out)}")
        return out, error


def end(process):
    """Kills a process and all that it started. Returns what it had written."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return process.communicate()


def last_words(text):
    return text.strip()[-WORDS:]


class Day:
    """The results so far, in `day`, which is written to a file after every part."""

    def __init__(self, folder, facts, limit, write_table):
        self.file = folder / "gpu-day.json"
        self.write_table = lambda: write_table(self.day, folder / "gpu-day.md")
        self.begun = time.monotonic()
        self.limit = limit
        self.day = {"version": 1, **facts, "limit_s": limit, "seconds": 0.0, "complete": False, "parts": []}
        self.write()

    def write(self):
        self.day["seconds"] = round(time.monotonic() - self.begun, 1)
        replace(self.file, json.dumps(self.day, indent=1) + "\n")
        self.write_table()

    def run(self, parts):
        """Runs all parts, the first first. One that fails, or is killed at its limit, costs no
        other."""
        self.day["parts"] = [{"part": part.name, "status": "not run", "reason": "the day ended before it"} for part in parts]
        for part, entry in zip(parts, self.day["parts"]):
            left = self.limit - (time.monotonic() - self.begun)
            limit = min(part.limit, left)
            if limit < LEAST:
                entry["reason"] = f"no time was left of {self.limit:.0f} s"
                continue
            entry |= {"status": "running", "limit_s": round(limit, 1)}
            del entry["reason"]
            self.write()
            self.attempt(part, entry, limit)
            print(line(entry), flush=True)
            self.write()
        self.day["complete"] = True
        self.write()

    def attempt(self, part, entry, limit):
        begun = time.monotonic()
        try:
            entry |= {"result": part.measure(Clock(limit)), "status": "done"}
        except Skipped as reason:
            entry |= {"status": "skipped", "reason": str(reason)}
        except TimedOut as words:
            entry |= {"status": "timed out", "reason": f"killed after {limit:.0f} s. {words}".strip()}
        except Failed as words:
            entry |= {"status": "failed", "reason": str(words)}
        except KeyboardInterrupt:
            entry |= {"status": "failed", "reason": "interrupted"}
            self.write()
            raise
        except Exception as error:  # Whatever it is, the other parts are worth having.
            entry |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:WORDS]}
        entry["seconds"] = round(time.monotonic() - begun, 1)


def line(entry):
    reason = f": {entry['reason'].splitlines()[0]}" if entry.get("reason") else ""
    return f"{entry['part']:<44} {entry['status']:<10} {entry.get('seconds', 0):6.1f} s{reason}"


def replace(path, text):
    """Writes a file whole or not at all."""
    beside = Path(f"{path}.part")
    beside.write_text(text)
    beside.replace(path)
