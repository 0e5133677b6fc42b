#!/usr/bin/env python3
"""Pushes the same files with `huggingface_hub` and with `ewe push` to a hub that runs here, and
compares what the hub got: the repository, the questions about files, the large files, the commit.
Cards are read with `huggingface_hub`, too.

    .venv/bin/python scripts/check_push.py

Needs requirements-dev.txt and a built `ewe`. Nothing leaves this machine.
"""

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import DatasetCard, HfApi, ModelCard  # noqa: E402  (reads the environment when imported)

ROOT = Path(__file__).resolve().parent.parent
EWE = Path(os.environ.get("EWE", ROOT / "target" / "debug" / "ewe"))
TOKEN = "hf_of-nobody"


class Hub(ThreadingHTTPServer):
    """A hub, and what it was sent."""

    def __init__(self, part_bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.part_bytes = part_bytes
        self.made, self.repos, self.objects, self.parts = [], {}, {}, {}
        self.asked, self.large, self.commits, self.tokens = [], [], [], set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def got(self):
        """What was sent, in an order of its own."""
        return {
            "repositories": self.made,
            "questions": sorted(self.asked, key=json.dumps),
            "large files": sorted(set(self.large)),
            "storage": sorted(self.objects),
            "commits": [sorted(commit, key=json.dumps) for commit in self.commits],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            raise SystemExit("FAILED: the storage takes no body of unknown length")
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def reply(self, status, value=None, headers=()):
        text = json.dumps(value if value is not None else {}).encode()
        self.send_response(status)
        for name, content in headers:
            self.send_header(name, content)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        parts = urlsplit(self.path).path.strip("/").split("/")
        name = "/".join(parts[1:4])
        if name not in self.server.repos:
            return self.reply(404, {"error": "Repository not found"}, [("x-error-code", "RepoNotFound")])
        files = self.server.repos[name]["files"]
        known = {
            "id": "/".join(parts[2:4]),
            "sha": "0" * 40,
            "private": True,
            "siblings": [{"rfilename": path} for path in files],
        }
        self.reply(200, known)

    def do_PUT(self):
        _, _, oid, *part = urlsplit(self.path).path.split("/")
        content, hub = self.body(), self.server
        hub.tokens.add(self.headers.get("authorization"))
        if part:
            hub.parts[oid, int(part[0])] = content
        else:
            hub.objects[oid] = content
        self.reply(200, None, [("etag", f'"{hashlib.md5(content).hexdigest()}"')])

    def do_POST(self):
        path, hub, content = unquote(urlsplit(self.path).path), self.server, self.body()
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            sent = json.loads(content)
            private = sent.get("private") or sent.get("visibility") == "private"
            name = f"{sent['type']}s/{sent['organization']}/{sent['name']}"
            hub.made.append([name, private])
            hub.repos.setdefault(name, {"files": {}})
            return self.reply(200, {"url": f"{hub.url}/{sent['organization']}/{sent['name']}"})
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        if "preupload" in parts:
            name, said = "/".join(parts[1:4]), []
            for file in json.loads(content)["files"]:
                hub.asked.append([file["path"], file["size"], file["sample"]])
                mode = "lfs" if file["path"].endswith((".safetensors", ".parquet")) else "regular"
                there = hub.repos[name]["files"].get(file["path"])
                said.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": there})
            return self.reply(200, {"files": said})
        if path.endswith("/info/lfs/objects/batch"):
            return self.reply(200, self.batch(json.loads(content)))
        if parts[0] == "complete":
            sent = json.loads(content)
            whole = b"".join(hub.parts[sent["oid"], part["partNumber"]] for part in sent["parts"])
            for part in sent["parts"]:
                tag = hashlib.md5(hub.parts[sent["oid"], part["partNumber"]]).hexdigest()
                assert part["etag"] == f'"{tag}"', part
            hub.objects[sent["oid"]] = whole
            return self.reply(200)
        if parts[0] == "verify":
            sent = json.loads(content)
            assert len(hub.objects[sent["oid"]]) == sent["size"], sent
            return self.reply(200)
        if "commit" in parts:
            self.commit("/".join(parts[1:4]), content)
            page = "/".join(parts[2:4] if parts[1] == "models" else parts[1:4])
            url = f"{hub.url}/{page}/commit/{'1' * 40}"
            return self.reply(200, {"commitOid": "1" * 40, "commitUrl": url, "success": True})
        self.reply(404, {"error": f"no {path}"})

    def batch(self, sent):
        hub, objects = self.server, []
        for asked in sent["objects"]:
            oid, size = asked["oid"], asked["size"]
            hub.large.append((oid, size, sent["operation"], tuple(sent["transfers"]), sent["hash_algo"], sent["ref"]["name"]))
            said = {"oid": oid, "size": size}
            if oid not in hub.objects:
                upload = {"href": f"{hub.url}/upload/{oid}"}
                if hub.part_bytes:
                    count = -(-size // hub.part_bytes)
                    parts = {str(part): f"{hub.url}/upload/{oid}/{part}" for part in range(1, count + 1)}
                    upload = {"href": f"{hub.url}/complete/{oid}", "header": {"chunk_size": str(hub.part_bytes), **parts}}
                said["actions"] = {"upload": upload, "verify": {"href": f"{hub.url}/verify/{oid}"}}
            objects.append(said)
        return {"objects": objects}

    def commit(self, name, content):
        hub, lines = self.server, [json.loads(line) for line in content.splitlines()]
        assert lines[0]["key"] == "header" and set(lines[0]["value"]) == {"summary", "description"}, lines[0]
        hub.commits.append(lines[1:])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                assert value["oid"] in hub.objects, value
                oid = value["oid"]
            else:
                content = base64.b64decode(value["content"])
                oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                hub.repos[name].setdefault("texts", {})[value["path"]] = content
            hub.repos[name]["files"][value["path"]] = oid


def expect(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    print(f"  {what}")


def ewe(hub, *arguments):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    environment.pop("HF_HUB_OFFLINE", None)
    subprocess.run([EWE, "-q", "push", *map(str, arguments), "--yes"], check=True, env=environment, stdout=subprocess.DEVNULL)


def reference(hub, folder, name, kind):
    api = HfApi(endpoint=hub.url, token=TOKEN)
    api.create_repo(name, repo_type=kind, private=True, exist_ok=True)
    api.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message="x")


def same(ours, theirs, what):
    ours, theirs = ours.got(), theirs.got()
    for part in ours:
        expect(ours[part] == theirs[part], f"{what}: {part} as huggingface_hub sends them")


def a_model(folder):
    """A folder with what a model consists of, and a README.md, so that both send the same."""
    numbers = random.Random(7)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "name": "Schäfchen ☂"}))
    (folder / "tokenizer.json").write_text("{}\n" * 1000)
    (folder / "merges.txt").write_text("")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# sheep\n")
    (folder / "model-00001-of-00002.safetensors").write_bytes(numbers.randbytes(3_000_001))
    (folder / "model-00002-of-00002.safetensors").write_bytes(numbers.randbytes(1_000_000))
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def models(scratch):
    folder = scratch / "model"
    folder.mkdir()
    a_model(folder)
    for part_bytes in (None, 1 << 20):
        what = "in parts" if part_bytes else "in one piece"
        ours, theirs = Hub(part_bytes), Hub(part_bytes)
        reference(theirs, folder, "ann/sheep", "model")
        ewe(ours, "--model", folder, "ann/sheep")
        same(ours, theirs, f"a model, {what}")
        expect(ours.tokens == {None}, "the storage gets no token")
        ewe(ours, "--model", folder, "ann/sheep")
        expect(len(ours.commits) == 1, "the second push makes no commit")


def adapters(scratch):
    folder, hub = scratch / "adapter", Hub(None)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "google/gemma-3-270m"}))
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    ewe(hub, "--adapter", folder, "ann/lora", "--license", "apache-2.0", "--language", "no", "--dataset", "ann/farm")
    card = ModelCard(hub.repos["models/ann/lora"]["texts"]["README.md"].decode())
    expect(card.data.base_model == "google/gemma-3-270m", "the card of an adapter names its base")
    expect((card.data.license, card.data.language) == ("apache-2.0", ["no"]), "licence and language")
    expect((card.data.library_name, card.data.datasets) == ("peft", ["ann/farm"]), "library and datasets")
    expect({"ewe", "lora"} <= set(card.data.tags), "tags")


def datasets(scratch):
    db, ours, theirs = scratch / "d.db", Hub(None), Hub(None)
    subprocess.run([EWE, "-q", "init", "--db", db], check=True)
    subprocess.run([EWE, "-q", "split", "--db", db, "--eval", "10"], check=True, stdout=subprocess.DEVNULL)
    ewe(ours, "--db", db, "ann/farm", "--license", "cc-by-4.0")
    repo = ours.repos["datasets/ann/farm"]
    folder = scratch / "dataset"
    (folder / "data").mkdir(parents=True)
    for path, oid in repo["files"].items():
        content = repo["texts"].get(path) or ours.objects[oid]
        (folder / path).write_bytes(content)
    reference(theirs, folder, "ann/farm", "dataset")
    same(ours, theirs, "a dataset")
    card = DatasetCard(repo["texts"]["README.md"].decode())
    splits = {file["split"]: file["path"] for file in card.data.to_dict()["configs"][0]["data_files"]}
    expect(splits == {"train": "data/train.parquet", "test": "data/test.parquet"}, "the card names the splits")
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    from datasets import load_dataset

    rows = load_dataset(str(folder), cache_dir=str(scratch / "cache"))
    expect(rows["test"].num_rows >= 10 and "output" in rows["train"].column_names, "datasets loads the folder as it is")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        models(scratch)
        adapters(scratch)
        datasets(scratch)


if __name__ == "__main__":
    sys.exit(main())
