"""A hub on a free port, and the host that it sends for large files to: the routes and headers that the real one has."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_token_of_the_tests"
# Larger ones are stored as large files, as weights are at any size.
_SMALL = 100_000


@dataclass
class Repo:
    """A repository.

    Attributes:
        commits: The files at each commit, by path.
        refs: The commit that each branch is at.
        gated: Whether only accounts that were let in get its files.
        admits: Whether the account of `TOKEN` was.
        listed: What is listed in place of its own for a file, by path.
    """

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: bool = False
    admits: bool = False
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        host: `hub` or `files`.
        method: Of HTTP.
        path: Without the query.
        headers: By lower-case name.
    """

    host: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Faults:
    """How it fails, by the paths of files.

    Attributes:
        cut: After how many bytes the next answers break off.
        stall: After how many bytes the next answer waits until the hub goes down.
        spoil: Files of which other bytes are sent than are listed.
        status: What the next requests for a file's bytes are answered with.
        deaf: Whether requests for ranges get whole files.
    """

    cut: dict[str, list[int]] = field(default_factory=dict)
    stall: dict[str, int] = field(default_factory=dict)
    spoil: set[str] = field(default_factory=set)
    status: dict[str, list[int]] = field(default_factory=dict)
    deaf: bool = False


class Hub:
    """Both hosts, while the context of `mock_hub` is open."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.calls: list[Call] = []
        self.faults = Faults()
        self.stalled, self.down = threading.Event(), threading.Event()
        self.url = self.files_url = ""

    def add(self, name: str, files: Mapping[str, bytes], branch: str = "main") -> Repo:
        """Commits files to a branch."""
        repo = self.repos.setdefault(name, Repo({}, {}))
        commit = hashlib.sha1(f"{name} {branch} {len(repo.commits)}".encode()).hexdigest()
        repo.commits[commit] = dict(files)
        repo.refs[branch] = commit
        return repo

    def env(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a process that has this hub and a cache of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "", "NO_PROXY": "*", **more}

    def gets(self, path: str) -> list[Call]:
        """The requests for a file's bytes that brought or should have brought some."""
        hosts = [call for call in self.calls if call.method == "GET" and call.path.endswith(f"/{path}")]
        return [call for call in hosts if call.host == "files"] or hosts

    def paths(self) -> list[str]:
        """The files that were asked for, in their order."""
        resolved = (call.path.partition("/resolve/")[2] for call in self.calls if call.host == "hub")
        return [path.partition("/")[2] for path in resolved if path]


@contextlib.contextmanager
def mock_hub() -> Iterator[Hub]:
    """A hub without repositories."""
    hub = Hub()
    hosts = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, host)) for host in ("hub", "files")]
    # Two names, as whom a token may be sent to goes by them.
    hub.url, hub.files_url = f"http://127.0.0.1:{hosts[0].server_port}", f"http://localhost:{hosts[1].server_port}"
    threads = [threading.Thread(target=host.serve_forever, daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.down.set()
        for host in hosts:
            host.shutdown()
            host.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name: str, data: bytes) -> bool:
    return name.endswith((".safetensors", ".bin")) or len(data) > _SMALL


def _handler(hub: Hub, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub, Handler.host = hub, host
    return Handler


class _Refusal(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    host: str

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.calls.append(Call(self.host, self.command, path, headers))
        self.close_connection = True
        try:
            if self.host == "files":
                _, _, repo, commit, name = path.split("/", 4)
                self._send_file(name, self.hub.repos[repo.replace("--", "/")].commits[commit][name], {})
            elif path.startswith("/api/models/"):
                self._send_info(path.removeprefix("/api/models/"))
            else:
                self._resolve(path)
        except _Refusal as refusal:
            named = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            self._send(refusal.status, b"{}", {key: value for key, value in named.items() if value})

    def _repo(self, name: str) -> Repo:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise _Refusal(401, message="Invalid credentials in Authorization header")
        if name not in self.hub.repos:
            raise _Refusal(404 if given else 401, "RepoNotFound", "Repository not found")
        return self.hub.repos[name]

    def _send_info(self, path: str) -> None:
        name, kind, revision = re.fullmatch(r"(.+?)/(revision|tree)/(.+)", path).groups()  # type: ignore[union-attr]
        repo = self._repo(name)
        commit = self._commit(repo, revision)
        siblings = [self._sibling(repo, name, data) for name, data in repo.commits[commit].items()]
        if kind == "tree":
            self._send(200, json.dumps([self._entry(sibling) for sibling in siblings]).encode(), {})
            return
        info = {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": False, "gated": repo.gated}
        self._send(200, json.dumps({**info, "tags": [], "siblings": siblings}).encode(), {})

    def _sibling(self, repo: Repo, name: str, data: bytes) -> dict[str, Any]:
        sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_blob_sha1(data)}
        if is_large(name, data):
            sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
        return {**sibling, **repo.listed.get(name, {})}

    @staticmethod
    def _entry(sibling: dict[str, Any]) -> dict[str, Any]:
        """A file as the route for trees lists it."""
        entry = {"type": "file", "path": sibling["rfilename"], "size": sibling["size"], "oid": sibling["blobId"]}
        if lfs := sibling.get("lfs"):
            entry["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        return entry

    @staticmethod
    def _commit(repo: Repo, revision: str) -> str:
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _resolve(self, path: str) -> None:
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self._repo(name)
        if repo.gated and not (self.headers.get("Authorization") and repo.admits):
            status = 403 if self.headers.get("Authorization") else 401
            raise _Refusal(status, "GatedRepo", f"Access to model {name} is restricted.")
        commit = self._commit(repo, revision)
        if file not in repo.commits[commit]:
            raise _Refusal(404, "EntryNotFound", "Entry not found")
        data = repo.commits[commit][file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_blob_sha1(data)}"'}
        if is_large(file, data):
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha256(data)}"'}
            headers["Location"] = f"{self.hub.files_url}/files/{name.replace('/', '--')}/{commit}/{file}"
            self._send(302, b"", headers)
        else:
            self._send_file(file, data, headers)

    def _send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        faults = self.hub.faults
        if statuses := faults.status.get(name):
            raise _Refusal(statuses.pop(0))
        if name in faults.spoil:
            data = bytes(byte ^ 1 for byte in data[:1]) + data[1:]
        status, begin = 200, 0
        asked = self.headers.get("Range", "")
        if asked and not faults.deaf:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(data):
                raise _Refusal(416)
            status, headers = 206, {**headers, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        end = None
        if cuts := faults.cut.get(name):
            end = cuts.pop(0)
        stall = faults.stall.pop(name, None)
        self._send(status, data[begin:], headers, end if stall is None else stall)
        if stall is not None:
            self.wfile.flush()
            self.hub.stalled.set()
            self.hub.down.wait(60)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], end: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body[:end])
