"""The calls of the Hub that pushing and loading need, on a port of this machine."""

import base64
import hashlib
import json
import re
from contextlib import suppress

import pytest
from support.local_server import LocalServer

TOKEN = "hf_mine"  # may write to `me`


class HubServer(LocalServer):
    """To be used in a `with`.

    Attributes:
        endpoint: its address.
        repos: id -> revision -> name of a file -> bytes; "main" and each commit.
        private: the ids of those that only their owner sees.
        asked: "METHOD path" of each call.
        broken: parts of paths that are answered with status 500.
    """

    methods = ("GET", "HEAD", "POST")

    def __init__(self):
        self.repos, self.private, self.asked, self.broken = {}, set(), [], set()

    def add(self, repo, files, revision="main"):
        """Put files into a repository, as one commit: its name."""
        content = {**self.repos.get(repo, {}).get(revision, {}), **files}
        commit = hashlib.sha1(repr(sorted(content.items())).encode()).hexdigest()
        self.repos.setdefault(repo, {}).update({revision: content, commit: content})
        return commit

    # ------------------------------------------------------------ what is answered

    def handle(self, http):
        body = http.rfile.read(int(http.headers.get("Content-Length") or 0))
        path = http.path.partition("?")[0]
        self.asked.append(f"{http.command} {path}")
        may_write = http.headers.get("Authorization") == f"Bearer {TOKEN}"
        with suppress(ConnectionError):
            if any(part in path for part in self.broken):
                self.say(http, 500, {"error": "broken"})
            elif http.command == "POST":
                self.take(http, path, body, may_write)
            else:
                self.give(http, path, may_write)

    def take(self, http, path, body, may_write):
        if path == "/api/validate-yaml":
            return self.say(http, 200, {"errors": [], "warnings": []})
        if not may_write:
            return self.say(http, 401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if not repo.startswith("me/"):
                return self.say(http, 403, {"error": "You don't have the rights"})
            if repo in self.repos:
                return self.say(http, 409, {"error": "You already created this model repo"})
            self.repos[repo] = {"main": {}}
            if asked.get("private") or asked.get("visibility") == "private":
                self.private.add(repo)
            return self.say(http, 200, {"url": f"{self.endpoint}/{repo}"})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/([^/]+)", path)
        if not found or found[1] not in self.repos:
            return self.say(http, 404, {"error": "Repository not found"}, error="RepoNotFound")
        repo, what, revision = found.groups()
        if what == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self.say(http, 200, {"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        commit = self.add(repo, {file["path"]: base64.b64decode(file["content"]) for file in files}, revision)
        return self.say(
            http,
            200,
            {"commitUrl": f"{self.endpoint}/{repo}/commit/{commit}", "commitOid": commit, "success": True},
        )

    def give(self, http, path, may_write):
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+).*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (found or file or [None, None])[1]
        if repo not in self.repos or (repo in self.private and not may_write):
            return self.say(
                http, 404 if may_write else 401, {"error": "Repository not found"}, error="RepoNotFound"
            )
        revision = (found[3] or "main") if found else file[2]
        files = self.repos[repo].get(revision)
        if files is None:
            return self.say(http, 404, {"error": "Invalid rev id"}, error="RevisionNotFound")
        commits = (name for name in self.repos[repo] if re.fullmatch("[0-9a-f]{40}", name))
        commit = next(name for name in commits if self.repos[repo][name] == files)
        if found and found[2] == "tree":
            return self.say(http, 200, [self.entry(name, content) for name, content in files.items()])
        if found:
            siblings = [{"rfilename": name} for name in files]
            return self.say(http, 200, {"id": repo, "sha": commit, "siblings": siblings, "private": False})
        if file[3] not in files:
            return self.say(http, 404, {"error": "Entry not found"}, error="EntryNotFound")
        content = files[file[3]]
        http.send_response(200)
        http.send_header("X-Repo-Commit", commit)
        http.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        http.send_header("Content-Length", str(len(content)))
        http.end_headers()
        if http.command == "GET":
            http.wfile.write(content)
        return None

    def entry(self, name, content):
        """A file as the tree of a repository lists it."""
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def say(self, http, status, content, error=None):
        data = json.dumps(content).encode()
        http.send_response(status)
        if error:
            http.send_header("X-Error-Code", error)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(data)))
        http.end_headers()
        if http.command != "HEAD":
            http.wfile.write(data)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server in the Hub's place, with an empty cache and a token."""
    from huggingface_hub import constants

    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
