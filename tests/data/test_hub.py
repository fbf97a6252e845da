"""The real client of the hub against a server on this machine that speaks the few addresses it asks for."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """
import sys
import numpy as np
from foolscope.data import open_data
from foolscope.errors import InputError
for text in sys.argv[1:]:
    try:
        data = open_data(text)
        print(data.name, len(data), data.labels.tolist(), int(data.read(np.array([1]))[0, 0, 0, 0] * 255), data.notes)
    except InputError as error:
        print("error", error)
"""


class Hub(BaseHTTPRequestHandler):
    """GET the repository's state and tree, HEAD and GET its files."""

    files: dict[str, bytes]
    asked: list[str]

    def answer(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(f"{self.command} {path}")
        prefix = f"/datasets/ylecun/mnist/resolve/{COMMIT}/"
        if path.startswith("/api/datasets/ylecun/mnist/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(held), "oid": hashlib.sha1(held).hexdigest()}
                for name, held in self.files.items()
            ]
            self.answer(json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/datasets/ylecun/mnist"):
            info = {"id": "ylecun/mnist", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif path.startswith(prefix) and path.removeprefix(prefix) in self.files:
            held = self.files[path.removeprefix(prefix)]
            self.answer(held, {"ETag": f'"{hashlib.sha1(held).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path, grey, png, write_parquet):
    files = {"README.md": b"hello"}
    for split in ("train", "test"):
        shards = 2 if split == "test" else 1
        for shard in range(shards):
            name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            write_parquet(tmp_path / name, [png(grey[shard]), png(grey[shard + 1])], [shard, 2], names="abc")
            files[f"mnist/{name}"] = (tmp_path / name).read_bytes()
    handler = type("Handler", (Hub,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, handler
    server.shutdown()
    server.server_close()
    thread.join()


def run(server, cache, *texts: str) -> list[str]:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("HF_", "FOOLSCOPE_")) and "proxy" not in k.lower()
    }
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(cache), "NO_PROXY": "*"}
    command = [sys.executable, "-c", CODE, *texts]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_only_the_splits_files_are_fetched_then_kept(hub, tmp_path, grey):
    server, handler = hub
    wanted = f"mnist:test 4 [0, 2, 1, 2] {grey[1, 0, 0]} ('only 4 of the 10,000 images of mnist:test',)"
    first, missing, unknown = run(server, tmp_path / "hf", "mnist", "svhn", "mnist:validation")
    assert first == wanted
    fetched = {line.rsplit("/", 1)[1] for line in handler.asked if line.startswith("GET") and "/resolve/" in line}
    assert fetched == {"test-00000-of-00002.parquet", "test-00001-of-00002.parquet"}
    assert missing.startswith("error DATA: expected ufldl-stanford/svhn, split test, from the Hugging Face hub (or its")
    assert unknown.startswith("error DATA: expected a split of mnist, got 'validation'")

    server.shutdown()
    server.server_close()
    again, train, other = run(server, tmp_path / "hf", "mnist:test", "mnist:train", "cifar10")
    assert again == wanted
    for line, name in ((train, "ylecun/mnist, split train"), (other, "uoft-cs/cifar10, split test")):
        assert line.startswith(f"error DATA: expected {name}, from the Hugging Face hub (or its folder under")
