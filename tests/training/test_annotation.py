"""Annotation by a language model, against a real HTTP server on this machine."""

import json
from dataclasses import replace
from email.utils import formatdate

import pytest
from support.chat_server import ChatServer, completion, problem, quoting

from lift_harness.errors import LiftError
from lift_harness.training.annotation import asking
from lift_harness.training.annotation.replies import Replies, Reply
from lift_harness.training.annotation.run import annotate
from lift_harness.training.annotation.server import Server, retry_after
from lift_harness.training.sources import Record

KEY = "sk-secret-0123456789"
ANSWER = "so 2 + 3 = 5 it is"


def records(*questions):
    return [
        Record((("user", question),), ANSWER, origin=f"data:{i}") for i, question in enumerate(questions, 1)
    ]


def quick(endpoint, **settings):
    """A server that is not waited for."""
    return Server(endpoint, KEY, **{"first_wait": 0.001, "longest_wait": 0.01, "timeout": 20.0, **settings})


@pytest.fixture
def ask(tmp_path):
    """ask(server, questions): the outcome, with replies in one file."""

    def run(server, *questions, concurrency=4, **other):
        with Replies(tmp_path / "replies") as replies:
            return annotate(records(*questions), server, "judge", replies, concurrency=concurrency, **other)

    return run


def faults(outcome):
    return [(origin, kind) for origin, kind, _ in outcome.faults]


# ---------------------------------------------------------------- good and bad replies


REPLIES = {
    "good": quoting("2 + 3", "5"),
    "again": quoting("5"),
    "prose": completion("I would mark 2 + 3."),
    "cut": completion('{"spans": ["2 +', finish="length"),
    "no": completion(None, refusal="I must not"),
    "filtered": completion("", finish="content_filter"),
    "nothing": quoting(),
    "elsewhere": quoting("seven"),
    "everything": quoting("so 2 + 3 =", "5 it is"),
    "overlapping": quoting("2 + 3", "+ 3 = 5"),
    "long": problem(400, "the context is too long"),
}


def test_each_kind_of_reply_is_taken_over_or_counted(ask):
    with ChatServer(lambda question, before: REPLIES[question]) as server:
        outcome = ask(quick(server.endpoint), *REPLIES)
    assert outcome.spans == {"data:1": [(3, 8), (11, 12)], "data:2": [(11, 12)], "data:10": [(3, 12)]}
    assert faults(outcome) == [
        *(("data:3", "malformed"), ("data:4", "malformed"), ("data:5", "refused"), ("data:6", "refused")),
        *(("data:7", "nothing"), ("data:8", "nothing"), ("data:9", "everything"), ("data:11", "unanswered")),
    ]
    reasons = {origin: reason for origin, _, reason in outcome.faults}
    assert reasons["data:5"] == "I must not" and "400 Bad Request: the context" in reasons["data:11"]
    assert outcome.quotes == {"found": 7, "lost": 1, "unclear": 0, "overlapping": 1}
    assert outcome.characters == [6 + 1 + 9, 3 * len(ANSWER)]
    assert (outcome.tokens["prompt"], outcome.tokens["completion"]) == (1000, 100)
    assert all(times == 1 for times in server.asked.values())


def test_what_is_sent(ask):
    with ChatServer(lambda question, before: quoting("5")) as server:
        ask(quick(server.endpoint + "/chat/completions"), "q", request={"max_tokens": 9, "temperature": None})
        ask(quick(server.endpoint), "q")
    (headers, body), (_, other) = server.requests
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body.keys() == {"model", "messages", "max_tokens"} and body["model"] == "judge"
    assert other["temperature"] == 0
    assert body["messages"][1]["content"] == f"QUESTION\nq\n\nANSWER\n{ANSWER}"


def test_by_way_of_a_proxy_and_past_netrc(ask, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(
        "machine far.invalid login me password other\ndefault login me password a\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ChatServer(lambda question, before: quoting("5")) as server:
        monkeypatch.setenv("http_proxy", server.endpoint.removesuffix("/v1"))
        with pytest.raises(LiftError, match="404 Not Found: no such page"):  # it asks for the whole address
            ask(quick("http://far.invalid/v1"), "q")
        assert len(ask(quick(server.endpoint), "q").spans) == 1  # this machine's own needs no proxy
    assert [headers["Authorization"] for headers, _ in server.requests] == [f"Bearer {KEY}"] * 2


def test_without_a_key_none_is_sent(ask):
    with ChatServer(lambda question, before: quoting("5", usage=None)) as server:
        outcome = ask(replace(quick(server.endpoint), key=None), "q")
    assert "Authorization" not in server.requests[0][0] and outcome.tokens["uncounted"] == 1


def test_what_has_spans_is_not_asked_about(tmp_path):
    marked, bare = replace(records("q")[0], spans=((0, 1),)), records("p", "q")[0]
    with ChatServer(lambda question, before: quoting("5")) as server, Replies(tmp_path / "r") as replies:
        outcome = annotate([marked, bare], quick(server.endpoint), "judge", replies)
    assert server.asked == {"p": 1} and outcome.marked_before == 1


# ---------------------------------------------------------------- trying again


@pytest.mark.parametrize(
    "bad",
    [
        problem(429, Retry_After="0"),
        problem(500),
        problem(503),
        problem(529),
        (502, {"Content-Type": "text/html"}, "<html>Bad gateway</html>"),
        *("drop", "hang", "trickle"),
    ],
    ids=lambda bad: bad if isinstance(bad, str) else str(bad[0]),
)
def test_a_bad_moment_is_tried_again(ask, bad):
    with ChatServer(lambda question, before: bad if before < 2 else quoting("5")) as server:
        slow = bad in ("hang", "trickle")
        outcome = ask(quick(server.endpoint, timeout=0.5 if slow else 20.0), "q")
    assert outcome.spans == {"data:1": [(11, 12)]}
    assert server.asked["q"] == 3 or (slow and server.asked["q"] > 3)  # a busy machine is slow itself
    assert outcome.tokens["prompt"] == 100  # of the one that came


def test_the_waits(monkeypatch):
    """They double, with some spread; a Retry-After is kept to, and neither is without end."""
    server = Server("http://a/v1", first_wait=1, longest_wait=60)
    for tried in range(1, 6):
        own = 2 ** (tried - 1)
        assert 0.75 * own <= server.wait(tried, 0) <= 1.25 * own
    assert server.wait(20, 0) == server.wait(1, 3600) == 60 and server.wait(1, 17) == 17
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    assert retry_after("7") == 7 and retry_after("0.5") == 0.5
    assert retry_after(formatdate(1_000_030, usegmt=True)) == 30 and retry_after("yesterday") == 0
    assert retry_after(formatdate(999_000, usegmt=True)) == retry_after("") == retry_after("-3") == 0


def test_the_server_is_given_the_time_it_asks_for(ask, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr(asking.asyncio, "sleep", sleep)
    with ChatServer(
        lambda question, before: problem(429, Retry_After="7") if not before else quoting("5")
    ) as server:
        ask(quick(server.endpoint, longest_wait=60.0), "q")
    assert waits == [7.0]


@pytest.mark.parametrize("bad", [problem(500, "broken"), "drop", "hang"])
def test_one_that_gets_no_answer_is_counted_and_asked_again_later(ask, bad):
    with ChatServer(lambda question, before: bad if question == "b" else quoting("5")) as server:
        brief = quick(server.endpoint, tries=2, timeout=1.0 if bad == "hang" else 20.0)
        outcome = ask(brief, "a", "b", "c", concurrency=1)
        assert faults(outcome) == [("data:2", "unanswered")] and "tried 2 times" in outcome.faults[0][2]
        assert len(outcome.spans) == 2 and server.asked["b"] == 2
        server.answer = lambda question, before: quoting("5")
        outcome = ask(brief, "a", "b", "c")
    assert len(outcome.spans) == 3 and server.asked == {"a": 1, "b": 3, "c": 1}
    assert (outcome.asked, outcome.cached) == (1, 2)


def test_a_server_that_stops_answering_ends_the_run_and_the_next_goes_on(ask):
    names = [f"q{i}" for i in range(20)]
    with ChatServer(
        lambda question, before: problem(500, "down") if int(question[1:]) >= 6 else quoting("5")
    ) as server:
        brief = quick(server.endpoint, tries=2)
        with pytest.raises(LiftError, match="5 requests in a row got no answer, the last one: 500 .*: down"):
            ask(brief, *names, concurrency=2)
        assert sum(server.asked.values()) < 6 + 2 * 7
        # Those that failed are given to be at fault themselves, so that no run is stuck at them.
        server.answer = lambda question, before: problem(500) if 6 <= int(question[1:]) < 11 else quoting("5")
        outcome = ask(brief, *names, concurrency=1)
    assert len(outcome.spans) == 15 and len(outcome.faults) == 5
    assert all(server.asked[name] == 1 for name in names[:6])


def test_failures_in_between_do_not_end_the_run(ask):
    names = [f"q{i}" for i in range(14)]
    with ChatServer(
        lambda question, before: problem(500) if int(question[1:]) % 2 else quoting("5")
    ) as server:
        assert len(ask(quick(server.endpoint, tries=1), *names, concurrency=1).faults) == 7


def test_rows_that_are_too_long_do_not_end_the_run_once_one_was_answered(ask):
    names = ["good", *(f"q{i}" for i in range(9))]
    with ChatServer(
        lambda question, before: REPLIES["good"] if question == "good" else problem(400, "too long")
    ) as server:
        assert len(ask(quick(server.endpoint), *names, concurrency=1).faults) == 9
        with pytest.raises(LiftError, match="5 requests in a row got no answer, .*400 Bad Request: too long"):
            ask(quick(server.endpoint), *(f"{name}?" for name in names[1:]), concurrency=1)


# ---------------------------------------------------------------- a server of no use


HTML = (200, {"Content-Type": "text/html"}, "<html>\n<h1>Welcome\x1b[31m</h1>")


@pytest.mark.parametrize(
    "answer, words",
    [
        (problem(401, f"{KEY} is no key"), r"401 Unauthorized: \[OPENAI_API_KEY\] is no key"),
        (problem(403), "403 Forbidden: not now"),
        (problem(404, "The model `judge` does not exist"), "404 Not Found: The model `judge` .* and --model"),
        ((301, {"Location": "https://elsewhere/v1"}, ""), "redirects to https://elsewhere/v1; give that"),
        (HTML, r"no chat completion: <html> <h1>Welcome\[31m</h1>; is --endpoint OpenAI-compatible"),
        ((200, {}, '{"choices": []}'), "no chat completion"),
        ((200, {}, "[" * 100_000), "no chat completion"),
        ((200, {}, '{"choices": [{"message": {"content": 7}}]}'), "no chat completion"),
        ((200, {}, '{"error": {"message": "out of credit"}}'), "no chat completion: out of credit"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(ask, answer, words):
    with (
        ChatServer(lambda question, before: answer) as server,
        pytest.raises(LiftError, match=words) as error,
    ):
        ask(quick(server.endpoint), *"abcdefgh", concurrency=1)
    line = str(error.value)
    assert line.startswith(server.endpoint) and "\n" not in line and "\x1b" not in line and KEY not in line
    assert sum(server.asked.values()) == 1


def test_html_in_between_is_the_fault_of_one(ask):
    with ChatServer(lambda question, before: HTML if question == "b" else quoting("5")) as server:
        assert faults(ask(quick(server.endpoint), *"abc", concurrency=1)) == [("data:2", "unanswered")]


def test_nobody_there(ask):
    with ChatServer(lambda question, before: quoting("5")) as server:
        endpoint = server.endpoint
    with pytest.raises(LiftError, match=rf"{endpoint}/chat/completions: cannot be reached: "):
        ask(quick(endpoint), "q")


def test_an_answer_without_end_is_not_read_to_it(ask, monkeypatch):
    monkeypatch.setattr(asking, "LONGEST", 1000)
    with (
        ChatServer(lambda question, before: (200, {}, " " * 100_000)) as server,
        pytest.raises(LiftError, match="longer than 1,000 bytes"),
    ):
        ask(quick(server.endpoint), "q")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"endpoint": "localhost:8000/v1"}, "--endpoint 'localhost:8000/v1': give an address"),
        ({"endpoint": "ftp://host/v1"}, "give an address"),
        ({"endpoint": "http://"}, "give an address"),
        ({"endpoint": "http://host:99999/v1"}, "no address"),
        ({"endpoint": "http://me:hunter2@host/v1"}, "a user, a password or a query"),
        ({"endpoint": "me:hunter2@host/v1"}, "a user, a password or a query"),
        ({"endpoint": "http://host/v1?key=hunter2"}, "a user, a password or a query"),
        ({"key": "hunter2 \n"}, "the key in OPENAI_API_KEY holds white space"),
        ({"key": "hunter2é"}, "no ASCII"),
        ({"timeout": float("nan")}, "--timeout nan"),
    ],
)
def test_bad_settings_are_refused_without_a_word_of_the_secret(settings, words):
    with pytest.raises(LiftError, match=words) as error:
        Server(**{"endpoint": "http://host/v1", **settings})
    assert "hunter2" not in str(error.value)


# ---------------------------------------------------------------- how many at a time, and the key


@pytest.mark.parametrize("bound", [1, 3])
def test_never_more_at_a_time_than_allowed(ask, bound):
    names = [f"q{i}" for i in range(12)]

    def answer(question, before):
        """Waits until as many as are allowed are there, and a little for one too many."""
        for _ in range(200):
            if server.most_at_once >= bound:
                break
            server.over.wait(0.01)
        server.over.wait(0.02)
        return problem(503) if before == 0 and question < "q3" else quoting("5")

    with ChatServer(answer) as server:
        assert len(ask(quick(server.endpoint), *names, concurrency=bound).spans) == 12
    assert server.most_at_once == bound


def test_copies_are_asked_once(ask):
    with ChatServer(lambda question, before: quoting("5")) as server:
        outcome = ask(quick(server.endpoint), "q", "q", "q")
    assert len(outcome.spans) == 3 and server.asked == {"q": 1} and outcome.tokens_of_all["prompt"] == 100


def test_the_key_stands_nowhere(ask, tmp_path):
    said = {
        "echo": completion(f'{{"spans": ["5", "{KEY}"]}}'),
        "no": completion(None, refusal=f"not with {KEY}"),
        "bad": problem(400, f"{KEY}?"),
        "html": (200, {}, f"<html>{KEY}"),
    }
    with ChatServer(lambda question, before: said[question]) as server:
        outcome = ask(quick(server.endpoint), *said, concurrency=1)
    assert server.requests[0][0]["Authorization"].endswith(KEY)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"5" in files and KEY.encode() not in files
    assert KEY not in repr(outcome) and KEY not in repr(quick(server.endpoint))
    assert outcome.spans.keys() == {"data:1"}


# ---------------------------------------------------------------- the replies that are kept


def test_nothing_is_asked_twice_unless_it_differs(ask):
    with ChatServer(lambda question, before: REPLIES[question]) as server:
        first = ask(quick(server.endpoint), "good", "no", "prose")
        again = ask(quick(server.endpoint), "prose", "good", "no")  # in whatever order
        assert (first.asked, again.asked, again.cached) == (3, 0, 3)
        assert again.tokens["prompt"] == 0 and again.tokens_of_all == first.tokens_of_all
        assert len(again.spans) == 1 and len(again.faults) == 2
        for other in ({"kind": "code"}, {"request": {"seed": 1}}):
            assert ask(quick(server.endpoint), "good", **other).asked == 1


@pytest.mark.parametrize("kept", [0, 1, 9, 40])
def test_a_last_line_that_is_half_written_is_taken_away(tmp_path, kept):
    file = tmp_path / "replies"
    with Replies(file) as replies:
        replies.add("a", Reply("one"))
        replies.add("b", Reply("two\n\u2028"))
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    file.write_bytes(whole[: first + kept])
    with Replies(file) as replies:
        assert replies.known == {"a": Reply("one")}
        replies.add("b", Reply("two\n\u2028"))
    assert file.read_bytes() == whole and [path.name for path in tmp_path.iterdir()] == ["replies"]


@pytest.mark.parametrize("text", ["notes", "notes\n", '{"key": 1}\n', '{"a": 1}', "[]\n", "\n", "7\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path, text):
    file = tmp_path / "notes"
    file.write_text(text)
    with pytest.raises(LiftError, match=r"notes:1: no reply of `data annotate`"), Replies(file):
        pass
    assert file.read_text() == text and [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_one_process_at_a_time(tmp_path):
    with Replies(tmp_path / "r") as replies:
        with pytest.raises(LiftError, match="another process is adding to it"), Replies(tmp_path / "r"):
            pass
        replies.add("a", Reply("one"))
    assert json.loads((tmp_path / "r").read_text())["text"] == "one"
