"""An OpenAI-compatible server (/v1/chat/completions): where it is, and what its answers mean.

Three things may be wrong: this moment (`Again`: 408, 425, 429, 5xx), this request (`Unanswered`: other 4xx),
or every request there will be (`LiftError`: a refused key, an unknown model, a wrong address).
"""

from __future__ import annotations

import email.utils
import json
import math
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from lift_harness.errors import LiftError
from lift_harness.training.annotation.replies import Reply

AGAIN = {408, 425, 429, *range(500, 600)}
SECRET = 8  # characters; a shorter key (EMPTY, none) is no secret, and a word that texts may hold


class Again(Exception):  # noqa: N818 (no error yet)
    """A try that failed for now; `wait` is how many seconds the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Unanswered(LiftError):
    """A request that gets no answer, which may be its own fault."""


class Rejected(Unanswered):
    """A request that the server finds wrong: too long, say."""


class NoCompletion(Unanswered):
    """A request that is answered with something else than a chat completion."""


@dataclass(frozen=True)
class Server:
    """Where and how to ask. The key is sent, and stands nowhere else.

    Attributes:
        endpoint: the address that /chat/completions follows, as http://localhost:8000/v1.
        key: sent as the bearer's token; None: none is.
        key_variable: where the key comes from, for messages.
        timeout: seconds for one answer, from the connection to its last byte.
        tries: of one request.
        first_wait: seconds before the second try, doubled with each further one.
        longest_wait: seconds; a Retry-After beyond is cut to it.
    """

    endpoint: str
    key: str | None = field(default=None, repr=False)
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        if self.key is not None and not re.fullmatch(r"[!-~]+", self.key):
            raise LiftError(f"the key in {self.key_variable} holds white space, or no ASCII; set it anew")
        if not math.isfinite(self.timeout):
            raise LiftError(f"--timeout {self.timeout}: give a number of seconds")
        try:
            parts = urlsplit(self.endpoint)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # its message may hold a password
            raise LiftError("--endpoint is no address; give one like http://localhost:8000/v1") from None
        if "@" in self.endpoint or parts.query or parts.fragment:
            raise LiftError(
                "--endpoint holds a user, a password or a query, which would be printed; give the address "
                f"alone, and the key in {self.key_variable}"
            )
        if not known:
            raise LiftError(f"--endpoint {self.endpoint!r}: give an address like http://localhost:8000/v1")

    @property
    def url(self) -> str:
        """Where the requests go."""
        return self.endpoint.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"

    def wait(self, tried: int, asked_for: float) -> float:
        """Seconds before the next try: doubled each time and spread, or what the server asks for."""
        own = self.first_wait * 2 ** (tried - 1) * random.uniform(0.75, 1.25)
        return min(max(own, asked_for), self.longest_wait)

    def without_key(self, text: str) -> str:
        """A text of the server's without the key, which some repeat."""
        if self.key is None or len(self.key) < SECRET:
            return text
        return text.replace(self.key, f"[{self.key_variable}]")

    def words(self, text: str) -> str:
        """What an answer says is wrong: short, on one line, and nothing that steers a terminal."""
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError):
            data = text
        for name in ("error", "message", "detail"):
            if isinstance(data, dict) and data.get(name):
                data = data[name]
        line = " ".join(self.without_key(str(data)).split())
        shown = "".join(letter for letter in line if letter.isprintable())
        return (shown if len(shown) <= 200 else f"{shown[:200]}...") or "(nothing)"


def reply_of(server: Server, status: int, headers: Mapping[str, str], text: str) -> Reply:
    """The reply in an answer.

    Raises:
        Again, Unanswered, LiftError: there is none, now, to this request or ever.
    """
    said = f"{status} {phrase(status)}: {server.words(text)}"
    if status == 200:
        return completion(server, text)
    if status in AGAIN:
        raise Again(said, retry_after(headers.get("Retry-After", "")))
    if 300 <= status < 400:
        to = server.words(headers.get("Location", ""))
        raise LiftError(f"{server.url}: redirects to {to}; give that as --endpoint")
    if status in (401, 403):
        sent = "the key was that in" if server.key else "no key was sent; put it into"
        raise LiftError(f"{server.url}: {said} ({sent} {server.key_variable})")
    if status in (404, 405):
        raise LiftError(f"{server.url}: {said}; check --endpoint (many end in /v1) and --model")
    raise Rejected(said)


def completion(server: Server, text: str) -> Reply:
    """The reply in a chat completion."""
    try:
        data = json.loads(text)
        choice = data["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content") or "", message.get("refusal")
        counts = data.get("usage") or {}
        tokens = [count(counts.get(f"{part}_tokens")) for part in ("prompt", "completion")]
        said = server.without_key(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise NoCompletion(f"the answer is no chat completion: {server.words(text)}") from None
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        refusal = refusal or finish
    return Reply(
        text=said,
        refused=server.words(str(refusal)) if refusal else None,
        cut=finish == "length",
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
    )


def count(value: Any) -> int | None:
    """A count of tokens, if it is one."""
    return value if type(value) is int and value >= 0 else None


def retry_after(value: str) -> float:
    """Seconds of a Retry-After, a number or a date; 0 if it is neither."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()):
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def phrase(status: int) -> str:
    """The name of a status, if it has one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no known status)"
