"""A server with /v1/chat/completions, on a port of this machine, that answers as a test wants."""

import json
import threading
from collections import Counter
from contextlib import suppress

from support.local_server import LocalServer


def completion(text, finish="stop", usage=(100, 10), **message):
    """A chat completion: (status, headers, body)."""
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if usage else None
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    return 200, {}, json.dumps({"object": "chat.completion", "choices": [choice], "usage": counts})


def quoting(*quotes, **other):
    """A completion that marks these quotes."""
    return completion(json.dumps({"spans": quotes}), **other)


def problem(status, message="not now", **headers):
    """An error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "some_error"}})
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


class ChatServer(LocalServer):
    """To be used in a `with`.

    Args:
        answer: (question, how often it was asked before) -> what `completion` or `problem` give; "hang"
            (until the end), "drop" (close the connection), or "trickle" (a byte now and then).

    Attributes:
        endpoint: its address.
        asked: question -> how often it was asked.
        requests: (headers, body) of each.
        most_at_once: requests that were open at the same time.
    """

    def __init__(self, answer):
        self.answer = answer
        self.asked, self.requests = Counter(), []
        self.open = self.most_at_once = 0
        self.lock, self.over = threading.Lock(), threading.Event()

    def __enter__(self):
        super().__enter__()
        self.endpoint += "/v1"
        return self

    def __exit__(self, *exc):
        self.over.set()
        super().__exit__(*exc)

    def handle(self, http):
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        question = body["messages"][-1]["content"].split("\n\nANSWER\n")[0].removeprefix("QUESTION\n")
        with self.lock:
            before = self.asked[question]
            self.asked[question] += 1
            self.requests.append((dict(http.headers), body))
            self.open += 1
            self.most_at_once = max(self.most_at_once, self.open)
        try:
            found = http.path == "/v1/chat/completions"
            with suppress(ConnectionError):  # who asked may be gone
                self.respond(http, self.answer(question, before) if found else problem(404, "no such page"))
        finally:
            with self.lock:
                self.open -= 1

    def respond(self, http, answer):
        if answer == "hang":
            self.over.wait(60)
        if answer == "trickle":
            http.send_response(200)
            http.end_headers()
            while not self.over.wait(0.02):
                http.wfile.write(b" ")
        if isinstance(answer, str):
            http.close_connection = True
            return
        status, headers, text = answer
        data = text.encode()
        http.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(data)))
        http.end_headers()
        http.wfile.write(data)
