#!/usr/bin/env python3
"""Generates small datasets from real servers, vLLM on the CPU and llama.cpp's, with both recipes,
and judges them.

    scripts/setup_endpoints.sh                              # .venv-endpoints with both servers
    .venv/bin/python scripts/check_endpoints.py             # every server that is installed
    .venv/bin/python scripts/check_endpoints.py llama.cpp --python VENV/bin/python --gguf MODEL.gguf

Needs built binaries and models/gemma-3-270m. ewe is given only a server's address, and finds out
the model's name and how many requests it serves at once. A recipe that a small model cannot follow
may end without a task, if it says why.
"""

import argparse
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EWE = ROOT / "target" / "debug" / "ewe"
MODEL = ROOT / "models" / "gemma-3-270m"
RECIPES = {"self-instruct": 10, "alpaca": 5}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def vllm(python, port, _):
    # The KV cache in GiB, and all cores for vLLM's kernels.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{os.cpu_count() - 1}")
    return [python, "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL, "--served-model-name", "gemma",
            "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "4096", "--dtype", "bfloat16"]


def llama_cpp(python, port, gguf):
    return [python, "-m", "llama_cpp.server", "--model", gguf, "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4096"]


SERVERS = {"vllm": ("vllm", vllm), "llama.cpp": ("llama_cpp", llama_cpp)}

# vllm-cpu 0.32.0 crashes at the first request with a seed: "CPU Generator does not use offset".
OPTIONS = {"vllm": ["--drop-field", "seed"], "llama.cpp": []}


class Server:
    """A running server, whose output goes to a file."""

    def __init__(self, command, port, log):
        self.url, self.log = f"http://127.0.0.1:{port}/v1", log
        self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        start = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with {self.process.returncode}: {log.name}")
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5) as answer:
                    self.models = [model["id"] for model in json.load(answer)["data"]]
                break
            except OSError:
                if time.monotonic() - start > 600:
                    raise SystemExit(f"the server did not come up within ten minutes: {log.name}") from None
                time.sleep(1)
        print(f"  up after {time.monotonic() - start:.0f} s, serves {self.models}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(*arguments):
    done = subprocess.run([EWE, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def expect(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def grow(server, recipe, target, minutes, more):
    """Generates one dataset, prints the result, and checks that the counts in the database
    agree."""
    with tempfile.TemporaryDirectory() as directory:
        db = Path(directory) / "d.db"
        expect(run("init", "--db", db)[0] == 0, "init")
        start = time.monotonic()
        code, out, err = run("generate", "--db", db, "--target", target, "--endpoint", server.url, "--recipe", recipe,
                             "--max-minutes", minutes, "--timeout", "300", "--json", "-q", *more)
        seconds = time.monotonic() - start
        books = sqlite3.connect(db)
        one = lambda query: books.execute(query).fetchone()[0]
        requests = one("select count(*) from request")
        tokens = one("select coalesce(sum(completion_tokens), 0) from request")
        expect(requests > 0, f"nothing was answered: {err}")
        expect(one("select count(*) from (select 1 from request group by content_key having count(*) > 1)") == 0, "asked twice")
        expect(one("select count(*) from candidate where verdict = 'rejected' and reason is null") == 0, "no reason")
        model = one("select model from run where command = 'generate' limit 1")
        expect(model == f"{server.models[0]} at {server.url}", f"the model is called {model}")
        accepted = one("select count(*) from task where origin = 'machine'")
        reasons = dict(books.execute("select reason, count(*) from candidate where verdict = 'rejected' group by 1 order by 2 desc"))
        ends = dict(books.execute("select finish_reason, count(*) from request group by 1"))
        ending = json.loads(out)["ending"] if code == 0 else "error"
        print(f"  {recipe}: {ending} after {seconds:.0f} s, {accepted} of {target} tasks, {requests} requests, "
              f"{tokens} tokens, {tokens / seconds:.0f} a second; ends {ends}; rejected {reasons}")
        if code != 0:
            print(f"    {err.strip()}")
            expect("hint:" in err and " × " in err, "a run that gets nothing says why")
        if code == 0 and accepted:
            code, out, err = run("judge", "--db", db, "--endpoint", server.url, "--origin", "machine", "--json", "-q", "--max-minutes", 3, *more)
            said = json.loads(out) if code == 0 else err.strip()
            shown = said if code else {name: said[name] for name in ("judged", "scores", "unreadable", "failed")}
            print(f"    judge: {shown}")
        return accepted


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("servers", nargs="*", choices=[[], *SERVERS], default=[])
    arguments.add_argument("--python", type=Path, default=ROOT / ".venv-endpoints" / "bin" / "python")
    arguments.add_argument("--gguf", type=Path, help="the model of llama.cpp's server")
    arguments.add_argument("--minutes", type=float, default=5, help="for each recipe")
    given = arguments.parse_args()
    tried = 0
    for name in given.servers or SERVERS:
        module, command = SERVERS[name]
        has = subprocess.run([given.python, "-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"])
        gguf = given.gguf or next(iter(sorted(given.python.parent.parent.glob("lib/python*/site-packages/**/*.gguf"))), None)
        if has.returncode or (name == "llama.cpp" and gguf is None):
            print(f"{name}: not installed")
            continue
        print(f"{name} {gguf.name if name == 'llama.cpp' else MODEL.name}")
        port = free_port()
        with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as log, Server(command(given.python, port, gguf), port, log) as server:
            accepted = {recipe: grow(server, recipe, target, given.minutes, OPTIONS[name]) for recipe, target in RECIPES.items()}
        expect(any(accepted.values()), "no recipe brought a task")
        tried += 1
    expect(tried, "no server is installed: scripts/setup_endpoints.sh")


if __name__ == "__main__":
    sys.exit(main())
