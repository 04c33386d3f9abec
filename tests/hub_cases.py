"""A hub on this machine: as much of its protocol as the library asks for, with faults that a test turns on."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

TOKEN = "hf_right"
Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories by USER/NAME, each a list of commits, and what goes wrong."""

    commits: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)  # file -> bytes after which the line breaks, each time
    spoiled: set[str] = field(default_factory=set)  # files that arrive with another byte in them
    asked: list[str] = field(default_factory=list)  # paths of files, in order
    status: int | None = None  # that every request is answered with

    def put(self, repo: str, files: Mapping[str, bytes]) -> str:
        """A commit of just these."""
        known = self.commits.setdefault(repo, [])
        sha = hashlib.sha1(f"{repo} {len(known)}".encode()).hexdigest()
        known.append((sha, dict(files)))
        return sha

    def at(self, repo: str, revision: str) -> tuple[str, Files] | None:
        known = self.commits.get(repo, [])
        return next((one for one in reversed(known) if revision in ("main", "HEAD", one[0])), None)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.0"  # a line for each question, so that who goes away is away

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the class names it)
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path).strip("/").split("/")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.status:
            self._refuse(self.hub.status, "", "not today")
        elif token not in ("", TOKEN):
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif path[0] != "api":
            self._file(path, token)
        elif path[1:] == ["repos", "create"]:
            self._create(json.loads(self.content), token)
        elif path[1:] == ["validate-yaml"]:
            self._say({})
        else:
            self._about("/".join(path[2:4]), path[4:], token)

    def _create(self, wanted: dict[str, Any], token: str) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        if not token:
            self._refuse(401, "", "Invalid username or password.")
            return
        if repo.startswith("others/"):
            self._refuse(403, "", "You don't have the rights to create a model under the namespace")
            return
        there = repo in self.hub.commits
        if wanted.get("visibility") == "private":
            self.hub.private.add(repo)
        if not there:
            self.hub.put(repo, {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._say({"url": f"{self.hub.address}/{repo}", "name": repo}, 409 if there else 200)

    def _about(self, repo: str, rest: list[str], token: str) -> None:
        found = self._found(repo, "/".join(rest[1:]) if rest[:1] == ["revision"] else "main", token)
        if found is None:
            return
        sha, files = found
        if rest[:1] == ["preupload"]:
            asked = json.loads(self.content)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            self._say({"files": modes})
        elif rest[:1] == ["commit"]:
            self._commit(repo, dict(files))
        elif rest[:1] == ["tree"]:
            self._say(
                [{"type": "file", "path": name, "size": len(one), "oid": "0" * 40} for name, one in files.items()]
            )
        else:
            self._say({"id": repo, "sha": sha, "siblings": [{"rfilename": name} for name in files]})

    def _commit(self, repo: str, files: Files) -> None:
        for line in map(json.loads, self.content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = self.hub.put(repo, files)
        self._say({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.address}/{repo}/commit/{sha}"})

    def _file(self, path: list[str], token: str) -> None:
        repo, revision, name = "/".join(path[:2]), path[3], "/".join(path[4:])
        found = self._found(repo, revision, token)
        if found is None:
            return
        sha, files = found
        if name not in files:
            self._refuse(404, "EntryNotFound", "", {"X-Repo-Commit": sha})
            return
        content = files[name]
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        large = name.endswith((".safetensors", ".onnx"))  # which the hub names by their contents
        etag = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(content).hexdigest()
        self.send_response(206 if begin else 200)
        for key, value in {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": sha,
            "Content-Length": str(len(content) - begin),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.hub.asked.append(name)
        sent = content[:-1] + bytes([content[-1] ^ 1]) if name in self.hub.spoiled else content
        if name in self.hub.cut:
            self.wfile.write(sent[begin : self.hub.cut[name]])
        else:
            self.wfile.write(sent[begin:])

    def _found(self, repo: str, revision: str, token: str) -> tuple[str, Files] | None:
        if repo not in self.hub.commits or (repo in self.hub.private and not token):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        found = self.hub.at(repo, revision)
        if found is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        return found

    def _refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        self._say({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

    def _say(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for key, one in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(key, one)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
