"""Many requests to one server: so many at a time, each tried several times, until answered or given up."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from lift_harness.errors import LiftError, first_line
from lift_harness.training.annotation.replies import Reply
from lift_harness.training.annotation.server import (
    Again,
    NoCompletion,
    Rejected,
    Server,
    Unanswered,
    reply_of,
)

LONGEST = 1 << 24  # bytes of an answer
IN_A_ROW = 5  # requests without an answer, one after the other: the server is at fault
Body = Mapping[str, Any]


def ask_all(
    server: Server,
    bodies: Iterable[tuple[str, Body]],
    concurrency: int,
    received: Callable[[str, Reply], None],
    failed_before: Collection[str] = (),
) -> None:
    """Ask for all of them.

    Args:
        server: to ask.
        bodies: the requests, each with a name; taken as they are sent.
        concurrency: how many at a time at most, those that wait for their next try included.
        received: called with the name and the reply as soon as there is one, or none for good.
        failed_before: those that got no reply in an earlier run; their fault is taken to be their own.

    Raises:
        LiftError: the server cannot be used, or no longer answers.
    """
    asyncio.run(asked(server, bodies, concurrency, received, failed_before))


async def asked(
    server: Server,
    bodies: Iterable[tuple[str, Body]],
    concurrency: int,
    received: Callable[[str, Reply], None],
    failed_before: Collection[str],
) -> None:
    """`ask_all`, on a loop of events."""
    waiting = iter(bodies)
    in_a_row = 0

    async def work(client: Client) -> None:
        nonlocal in_a_row
        for name, body in waiting:  # shared: each takes the next one
            try:
                received(name, await client.ask(body))
                in_a_row = 0
            except Unanswered as failure:
                received(name, Reply(unanswered=str(failure)))
                own_fault = name in failed_before or (isinstance(failure, Rejected) and client.proven)
                in_a_row += not own_fault
                if in_a_row == IN_A_ROW:
                    raise LiftError(
                        f"{server.url}: {IN_A_ROW} requests in a row got no answer, the last one: {failure}; "
                        "what was answered is kept: the same command goes on there"
                    ) from None

    limit = aiohttp.ClientTimeout(total=server.timeout)
    async with aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar()) as session:
        client = Client(server, session)
        workers = [asyncio.create_task(work(client)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()


class Client:
    """A server, asked through a session.

    Attributes:
        proven: whether it has answered as such a server does.
    """

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.server, self.session, self.proven = server, session, False
        self.headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
        self.proxy = proxy_of(server.url)

    async def ask(self, body: Body) -> Reply:
        """The reply to a request, after as many tries as it takes.

        Raises:
            Unanswered: there is none to this one.
            LiftError: there will be none to any.
        """
        for tried in range(1, self.server.tries + 1):
            try:
                reply = await self.once(body)
            except Again as failure:
                if tried == self.server.tries:
                    raise Unanswered(f"{failure} (tried {tried} times)") from None
                await asyncio.sleep(self.server.wait(tried, failure.wait))
            except NoCompletion as failure:
                if self.proven:
                    raise
                raise LiftError(f"{self.server.url}: {failure}; is --endpoint OpenAI-compatible?") from None
            else:
                self.proven = True
                return reply
        raise AssertionError("at least one try")

    async def once(self, body: Body) -> Reply:
        """One try."""
        server = self.server
        try:
            async with self.session.post(
                server.url, json=body, headers=self.headers, proxy=self.proxy, allow_redirects=False
            ) as response:
                text = await read(response)
        except asyncio.TimeoutError:
            raise Again(f"no answer within {server.timeout:g} s") from None
        except aiohttp.ClientConnectorError as error:
            if self.proven:
                raise Again(f"cannot be reached: {first_line(error)}") from None
            raise LiftError(f"{server.url}: cannot be reached: {first_line(error)}") from None
        except aiohttp.ClientError as error:
            raise Again(f"the connection broke: {server.words(first_line(error))}") from None
        return reply_of(server, response.status, response.headers, text)


async def read(response: aiohttp.ClientResponse) -> str:
    """The body as text.

    Raises:
        NoCompletion: it is longer than any reply.
    """
    data = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        data += piece
        if len(data) > LONGEST:
            raise NoCompletion(f"the answer is longer than {LONGEST:,} bytes")
    return data.decode("utf-8", errors="replace")


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine.

    Not aiohttp's own `trust_env`: it reads ~/.netrc too, and then refuses to send the key.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
