"""Measures browsing and curating a dataset of a million tasks, through the commands and the page.

    make bench-curate        or    .venv/bin/python benches/curate.py [TASKS [ROUNDS]]

1. `ewe curate`: next row, filter and full-text query as whole HTTP requests, p95 of a few hundred;
   the files of the page, and, where Chromium is installed, the time until its keys work; the
   dashboard for the first time, again, and after a change; the memory of the server.
2. Commands as whole processes: first page of a list, a bulk review of 100,000 tasks and its undo,
   check, backup, report.
3. The same list and the same export by ewe, sqlite-utils and Datasette, as whole processes that
   alternate: medians, and medians of paired ratios.

The dataset is made once by curate_data.py in target/bench-curate. The benchmark works on a copy.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
from http.client import HTTPConnection
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target/debug/ewe"))
TOOLS = Path(sys.executable).parent
FOLDER = ROOT / "target/bench-curate"
REQUESTS = 300
BULK = 100_000
# Written so that SQLite uses the index that has the order of the list.
LIST = """
SELECT
    task.id, task.review, task.origin, task.is_classification, task.run_id, task.name, task.instruction,
    first.input, first.output, (SELECT count(*) FROM instance WHERE instance.task_id = task.id) AS instances,
    task.nearest_rouge_l, task.score
FROM task
LEFT JOIN instance AS first ON first.task_id = task.id AND first.ordinal = 0
WHERE task.review = 'pending' AND task.nearest_rouge_l IS NOT NULL
ORDER BY task.nearest_rouge_l DESC, task.id DESC
LIMIT 50
"""
EXPORT = "SELECT instruction, input, output FROM dataset WHERE review = 'accepted' ORDER BY task_id, instance_id"


def ewe(*arguments):
    return subprocess.run([EWE, "-q", *arguments], check=True, capture_output=True, text=True).stdout


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def made(tasks):
    """Returns the dataset of this many tasks, which is made if it does not exist."""
    path = FOLDER / f"{tasks}.db"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        draft = FOLDER / "draft.db"
        draft.unlink(missing_ok=True)
        ewe("init", "--db", draft)
        seconds, _ = timed(lambda: subprocess.run([sys.executable, ROOT / "benches/curate_data.py", draft, str(tasks)], check=True))
        print(f"made in {seconds:.0f} s")
        draft.rename(path)
    return path


class Server:
    """A running `ewe curate`."""

    def __init__(self, db):
        self.process = subprocess.Popen([EWE, "curate", "--db", db, "--bind", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.host = urllib.parse.urlparse(self.process.stdout.readline().strip()).netloc
        self.connection = HTTPConnection(self.host, timeout=600)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self.connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        response = self.connection.getresponse()
        data = response.read()
        assert response.status == 200, (path, response.status, data[:200])
        return data

    def times(self, paths):
        return [timed(lambda path=path: self.ask(path))[0] for path in paths]

    def memory(self):
        """Returns current and peak memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmRSS", "VmHWM"))}
        return int(sizes["VmRSS"]) / 1024, int(sizes["VmHWM"]) / 1024


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def told(what, times):
    slow = percentile(times, 0.95)
    print(f"{what:<44} median {statistics.median(times) * 1e3:8.1f} ms   p95 {slow * 1e3:8.1f} ms   most {max(times) * 1e3:8.1f} ms")


def tasks_path(sort="id", limit=100, **conditions):
    return "/api/tasks?" + urllib.parse.urlencode({"filter": json.dumps(conditions), "sort": sort, "limit": limit})


def count_path(path):
    """Returns the path of the count request that the page sends beside a list."""
    return "/api/count?" + urllib.parse.urlencode({"filter": urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["filter"][0]})


def page_ready(url, rounds=7):
    """Returns the milliseconds until the page shows a task and accepts keys, in a browser with an
    empty cache."""
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    port = next(int(line.rsplit(" ", 1)[1].rstrip(".\n")) for line in driver.stdout if "started successfully on port" in line)
    connection = HTTPConnection(f"127.0.0.1:{port}", timeout=60)

    def command(method, path, body=None):
        connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())["value"]

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    found = []
    try:
        for _ in range(rounds):
            options = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": flags}}}}
            session = "/session/" + command("POST", "/session", options)["sessionId"]
            command("POST", f"{session}/url", {"url": url})
            ready = None
            while ready is None:
                script = "return performance.getEntriesByName('ready')[0]?.startTime ?? null"
                ready = command("POST", f"{session}/execute/sync", {"script": script, "args": []})
            found.append(ready / 1e3)
            command("DELETE", session)
    finally:
        driver.terminate()
    return found


def filters(draw):
    """Returns filters that a person may set, with one or two conditions."""
    score = draw.randint(1, 4)
    single = [
        {"review": draw.choice(["pending", "accepted", "rejected"])},
        {"origin": draw.choice(["seed", "machine", "import"])},
        {"run_id": draw.randint(2, 10)},
        {"is_classification": draw.choice([True, False])},
        {"label": draw.choice(["positive", "spam", "no"])},
        {"min_length": draw.randint(100, 2_000)},
        {"max_length": draw.randint(50, 500)},
        {"min_similarity": draw.randint(20, 65) / 100},
        {"max_similarity": draw.randint(5, 50) / 100},
        {"min_score": score, "max_score": score + 1},
        {"reason": draw.choice(["near_duplicate", "truncated_output", "echo"])},
    ]
    chosen = draw.sample(single, draw.choice([1, 1, 2]))
    return {key: value for conditions in chosen for key, value in conditions.items()}


def served(db, count):
    draw = random.Random(7)
    with Server(db) as server:
        first, _ = timed(lambda: server.ask("/"))
        files = ["/", "/page.js", "/page.css", "/chart.css"]
        told("page: its files, each", server.times(files * 20))
        told("page: the first queue", server.times([tasks_path(review="pending")] * 20))
        if shutil.which("chromedriver"):
            told("page: ready in Chromium, from nothing", page_ready(f"http://{server.host}/"))
        told("next row", server.times(f"/api/tasks/{draw.randint(1, count)}" for _ in range(REQUESTS)))
        sorts = ["id", "newest", "longest", "similar", "score"]
        paths = [tasks_path(draw.choice(sorts), **filters(draw)) for _ in range(REQUESTS)]
        times = server.times(paths)
        told("filter and order changed", times)
        for slow, path in sorted(zip(times, paths), reverse=True)[:3]:
            print(f"    {slow * 1e3:.0f} ms: {urllib.parse.unquote_plus(path)}")
        words = ["poem", "write story", "invoice", "sentence*", "the", '"a list"', "vaccine budget", "expl*", "zebra", "king queen treaty"]
        told("count beside such a filter", server.times(map(count_path, paths[:100])))
        queries = [" ".join(draw.sample(words, draw.choice([1, 1, 2]))) for _ in range(REQUESTS)]
        paths = [tasks_path(review="pending", text=query) for query in queries]
        times = server.times(paths)
        told("full-text query", times)
        for slow, path in sorted(zip(times, paths), reverse=True)[:3]:
            print(f"    {slow * 1e3:.0f} ms: {urllib.parse.unquote_plus(path)}")
        told("count beside such a query", server.times(map(count_path, paths[:100])))
        now, most = server.memory()
        print(f"memory of the server after {server_requests(files)} requests: {now:.0f} MiB, at most {most:.0f} MiB")
        dashboards(server, db)
        now, most = server.memory()
        print(f"memory of the server after the dashboards: {now:.0f} MiB, at most {most:.0f} MiB")
    print(f"first answer of a fresh server: {first * 1e3:.1f} ms")


def server_requests(files):
    return 20 * len(files) + 20 + 3 * REQUESTS + 200


def dashboards(server, db):
    board = "/api/dashboard"
    print(f"dashboard, nothing counted yet: {timed(lambda: server.ask(board))[0]:.2f} s")
    told("dashboard again", server.times([board] * 20))
    times = []
    for id in range(1000, 20_000, 1_000):
        ewe("accept" if id % 2_000 else "reject", "--db", db, str(id))
        times += server.times([board])
    told("dashboard after a change of one task", times)


def commands(db):
    times = [timed(lambda: ewe("list", "--db", db, "--json"))[0] for _ in range(30)]
    told("ewe list, first page", times)
    times = [timed(lambda: ewe("list", "--db", db, "--review", "pending", "--sort", "similar"))[0] for _ in range(30)]
    told("ewe list --review pending --sort similar", times)
    told("ewe stats", [timed(lambda: ewe("stats", "--db", db))[0] for _ in range(5)])
    told("ewe report", [timed(lambda: ewe("report", "--db", db, "--out", FOLDER / "report.html"))[0] for _ in range(5)])
    ids = ewe("list", "--db", db, "--review", "pending", "--origin", "machine", "--limit", str(BULK), "--json")
    last = json.loads(ids)[-1]["id"]
    pending = [str(row["id"]) for row in json.loads(ids)]
    assert len(pending) == BULK
    rejecting, said = timed(lambda: ewe("reject", "--db", db, f"1-{last}", "--json"))
    print(f"bulk review by ids, {said.strip()}: {rejecting:.2f} s")
    print(f"dashboard's figures after it (ewe stats): {timed(lambda: ewe('stats', '--db', db))[0]:.2f} s")
    undoing, said = timed(lambda: ewe("undo", "--db", db, "--json"))
    print(f"its undo, {said.strip()}: {undoing:.2f} s")
    by_filter = ("reject", "--db", db, "--review", "pending", "--min-similarity", "0.42", "--yes", "--json")
    rejecting, said = timed(lambda: ewe(*by_filter))
    print(f"bulk review by a filter, {said.strip()}: {rejecting:.2f} s")
    print(f"dashboard's figures after it (ewe stats): {timed(lambda: ewe('stats', '--db', db))[0]:.2f} s")
    undoing, said = timed(lambda: ewe("undo", "--db", db, "--json"))
    print(f"its undo, {said.strip()}: {undoing:.2f} s")
    print(f"ewe check: {timed(lambda: ewe('check', '--db', db))[0]:.1f} s")
    copy = FOLDER / "backup.db"
    copy.unlink(missing_ok=True)
    print(f"ewe backup: {timed(lambda: ewe('backup', '--db', db, '--out', copy))[0]:.1f} s")
    copy.unlink()


def datasette(db, query, **settings):
    settings = {"max_returned_rows": 10_000_000, "sql_time_limit_ms": 600_000, **settings}
    options = [part for name, value in settings.items() for part in ("--setting", name, str(value))]
    path = f"/{db.stem}.json?" + urllib.parse.urlencode({"sql": query, "_shape": "array"})
    return [TOOLS / "datasette", db, *options, "--get", path]


def compared(db, rounds):
    """Compares the tools. Each writes to its own file, and the order changes from round to
    round."""
    contests = {
        "list of 50 pending tasks, most alike first": {
            "ewe": [EWE, "list", "--db", db, "--review", "pending", "--sort", "similar", "--json"],
            "sqlite-utils": [TOOLS / "sqlite-utils", "query", db, LIST],
            "datasette": datasette(db, LIST),
        },
        "export of accepted examples as JSON": {
            "ewe": [EWE, "-q", "export", "--db", db, "--format", "alpaca", "--review", "accepted", "--out", "-"],
            "sqlite-utils": [TOOLS / "sqlite-utils", "query", db, EXPORT],
            "datasette": datasette(db, EXPORT),
        },
    }
    for name, tools in contests.items():
        times = {tool: [] for tool in tools}
        for turn in range(rounds):
            order = list(tools)[turn % 3 :] + list(tools)[: turn % 3]
            for tool in order:
                with (FOLDER / f"{tool}.json").open("w") as out:
                    seconds, _ = timed(lambda: subprocess.run(tools[tool], check=True, stdout=out, stderr=subprocess.DEVNULL))
                times[tool].append(seconds)
        rows = {tool: json.loads((FOLDER / f"{tool}.json").read_text()) for tool in tools}
        key = "id" if "id" in rows["ewe"][0] else "output"
        same = len({json.dumps([row[key] for row in found]) for found in rows.values()}) == 1
        print(f"{name}, {rounds} rounds, {len(rows['ewe'])} rows, {'all the same' if same else 'NOT THE SAME'}")
        for tool in tools:
            ratio = statistics.median(theirs / ours for theirs, ours in zip(times[tool], times["ewe"]))
            print(f"    {tool:<14} {statistics.median(times[tool]):7.3f} s   {ratio:6.1f} times ewe")


def main():
    machine.watch()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    source = made(count)
    db = FOLDER / "work.db"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{db}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(source, db)
    print(f"{count} tasks, {db.stat().st_size / 1e9:.2f} GB")
    served(db, count)
    commands(db)
    compared(db, rounds)


if __name__ == "__main__":
    main()
