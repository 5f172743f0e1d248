"""`generate` and `chat`: what is shown while a text is decoded, and what a conversation keeps."""

import io
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.console import Console
from lift_harness.decoding import DecodingConfig, Generation, Request, run
from lift_harness.errors import LiftError
from lift_harness.interactive import canvas
from lift_harness.interactive.chat import Chat, Stream, chat
from lift_harness.interactive.generate import print_answer
from lift_harness.interactive.session import Session, open_session, parse_settings

MASK = 2


@pytest.fixture
def session(tiny_model, tokenizer):
    return Session("tiny", tiny_model().eval(), tokenizer, {"gen_length": 16, "block_length": 8, "steps": 8})


def screen(**options):
    return Console(file=io.StringIO(), width=80, height=24, **options)


def printed(console):
    return console.file.getvalue()


# ---------------------------------------------------------------- the engine reports its passes

CONFIGS = {
    "fixed": {},
    "threshold": {"schedule": "threshold", "threshold": 0.05},
    "prefix": {"cache": "prefix"},
    "dual": {"cache": "dual"},
    "guided": {"cfg_scale": 0.5},
    "speculate": {"speculate": 3},
    "sampled": {"temperature": 0.8},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_pass_is_reported_and_changes_nothing(name, tiny_model, tokenizer):
    config = DecodingConfig(gen_length=16, block_length=8, steps=8, **CONFIGS[name])
    prompts = [(7, 8, 9), (30, 31), tuple(range(40, 52))]
    model, asked = tiny_model().eval(), [Request(prompt, config, key=i) for i, prompt in enumerate(prompts)]
    options = {"mask_id": tokenizer.mask_token_id, "eos_id": tokenizer.eos_token_id, "batch_size": 2}
    plain = run(model, asked, **options)
    seen = {i: [] for i in range(3)}
    watched = run(model, asked, **options, on_step=lambda i, out: seen[i].append(out))
    assert watched == plain
    for i, final in enumerate(plain):
        assert [out.forward_passes for out in seen[i]] == list(range(1, final.forward_passes + 1))
        reached = -1
        for out in seen[i]:
            now = max(out.step)
            assert now > reached or name != "fixed"
            reached = now
            for j, (token, step) in enumerate(zip(out.ids, out.step, strict=True)):
                settled = j < len(final.ids) and final.step[j] <= now
                assert (token, step) == ((final.ids[j], final.step[j]) if settled else (MASK, -1))
                assert out.confidence[j] == (final.confidence[j] if settled else 0.0)
        assert seen[i][-1].ids[: len(final.ids)] == final.ids


def test_what_the_callback_raises_ends_the_decoding(session):
    def stop(out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.answer([5, 6, 7], stop)
    assert session.answer([5, 6, 7]).generation.forward_passes > 0


# ---------------------------------------------------------------- settings and prompts


def test_settings():
    assert parse_settings(["temperature=0.7,steps=32", "cache=dual top_k=5"]) == {
        "temperature": 0.7,
        "steps": 32,
        "cache": "dual",
        "top_k": 5,
    }
    assert parse_settings(["suppress_tokens=[5, 6],steps=4"]) == {"suppress_tokens": [5, 6], "steps": 4}
    assert parse_settings(["eps=1e-3,early_stop=false,threshold=None"]) == {
        "eps": 1e-3,
        "early_stop": False,
        "threshold": None,
    }
    for text in ("temperature", "=3", "a=", "steps=3,,"):
        with pytest.raises(LiftError, match="write KEY=VALUE"):
            parse_settings([text])


def test_a_setting_has_one_value():
    assert parse_settings(["steps=4", "steps=4,top_k=5"]) == {"steps": 4, "top_k": 5}
    with pytest.raises(LiftError, match="steps is given twice, as 4 and as 8"):
        parse_settings(["steps=4", "steps=8"])
    with pytest.raises(LiftError, match="seed is given twice, as 5 and as 3"):
        open_session("no/such/model", settings=["seed=5"], seed=3)


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({"seed": 3, "top_k": 5, "top_p": 0.9}, ["seed", "top_k", "top_p"]),
        ({"seed": 3, "top_k": 5, "temperature": 0.5}, []),
        ({"seed": 3, "remasking": "random"}, []),
        ({"top_k": 5, "confidence_from": "sampling"}, []),
        ({"steps": 8, "schedule": "threshold", "threshold": 0.9}, ["steps"]),
        ({"steps": 64, "eps": 0.01}, ["eps"]),
    ],
)
def test_a_setting_that_changes_nothing_is_named(session, capsys, given, idle):
    """And it does change nothing."""
    session.settings = {"gen_length": 64, **given}
    assert [line.split()[1].split("=")[0] for line in session.idle()] == idle
    answer = print_answer(session, "2+3=?", console=screen())
    assert capsys.readouterr().err.count("changes nothing") == len(idle)
    session.settings = {name: value for name, value in session.settings.items() if name not in idle}
    assert session.answer(session.chat_prompt([{"role": "user", "content": "2+3=?"}])).text == answer.text


def test_options_that_would_not_be_used_are_refused_before_a_model_is_loaded(monkeypatch, capsys):
    from lift_harness.cli import main

    monkeypatch.setattr("lift_harness.interactive.session.load_model", None)
    for options in (["--delay", "1"], ["--raw", "--system", "s"], ["--show", "--json"]):
        monkeypatch.setattr("sys.argv", ["lift-harness", "generate", "hi", *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2 and "give" in capsys.readouterr().err


def test_a_bad_setting_is_refused_and_changes_nothing():
    session = Session("tiny", None, None, {"gen_length": 64, "steps": 64})
    with pytest.raises(LiftError, match="unknown decoding setting 'temprature'; did you mean temperature"):
        session.set({"temprature": 1})
    with pytest.raises(LiftError, match="gen_length='long'"):
        session.set({"gen_length": "long"})
    assert session.config == DecodingConfig(gen_length=64, steps=64, cache="none")
    session.set({"gen_length": 32})  # 64 steps were for the other length
    assert session.config == DecodingConfig(gen_length=32, steps=16, cache="none")


def test_bad_settings_are_found_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr("lift_harness.interactive.session.load_model", lambda name, dtype: 1 / 0)
    with pytest.raises(LiftError, match="temperature=-1"):
        open_session("lift-tiny", settings=["temperature=-1"])
    with pytest.raises(LiftError, match="unknown model arg 'dtpye'; did you mean dtype"):
        open_session("no/such/model", model_args="dtpye=float32")
    with pytest.raises(LiftError, match="no model folder"):
        open_session("./no-such-model", settings=["temperature=1"])


def test_a_bad_setting_changes_nothing(session):
    before = dict(session.settings)
    with pytest.raises(LiftError):
        session.set({"temperature": 0.5, "steps": 7})
    assert session.settings == before


def test_prompts(session, tokenizer):
    asked = [{"role": "user", "content": "2+3=?"}]
    session.prefix = "<reasoning>"
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) + "<reasoning>"
    assert session.chat_prompt(asked) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(session.raw_prompt("2+3=")) == "2+3=<reasoning>"
    session.prefix = ""
    with pytest.raises(LiftError, match="the prompt is empty"):
        session.answer(session.raw_prompt(""))
    with pytest.raises(LiftError, match="600 tokens and gen_length=16: more than the model's context of 512"):
        session.answer([5] * 600)


def test_a_model_without_a_chat_template(session, monkeypatch):
    monkeypatch.setattr(session.tokenizer, "chat_template", None)
    with pytest.raises(LiftError, match="tiny has no chat template; lift-harness generate --raw"):
        session.chat_prompt([{"role": "user", "content": "a"}])
    monkeypatch.setattr(session.tokenizer, "chat_template", "{{ raise_exception('only users here') }}")
    with pytest.raises(LiftError, match="the chat template does not render: only users here"):
        session.chat_prompt([{"role": "system", "content": "a"}])


def test_the_text_ends_with_the_turn(session, tokenizer):
    ids = tokenizer("2+3=5<|eot_id|>4<|endoftext|>", add_special_tokens=False)["input_ids"]
    assert session.text(ids) == "2+3=5"


# ---------------------------------------------------------------- the canvas


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=20))
def test_pieces_make_the_text(text, tokenizer):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = canvas.pieces(tokenizer, ids)
    assert len(found) == len(ids) and "".join(found) == tokenizer.decode(ids)


def ids_of(tokenizer, *texts):
    found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert all(len(ids) == 1 for ids in found)
    return [ids[0] for ids in found]


def test_a_canvas_by_hand(tokenizer):
    two, plus, three, end = ids_of(tokenizer, "2", "+", "3", "<|eot_id|>")
    config = DecodingConfig(gen_length=8, block_length=4, steps=4)
    out = Generation(
        [two, plus, MASK, end, end, MASK, three, MASK],
        [0, 1, -1, 1, 0, -1, 0, -1],
        [0.5, 1.0, 0, 1, 1, 0, 0, 0],
        2,
    )
    drawn = canvas.draw(tokenizer, out, config, frozenset({1}), ascii_only=False)
    assert drawn.plain == "2+░<|eot_id|>│·░3░"
    assert canvas.draw(tokenizer, out, config, frozenset(), ascii_only=True).plain == "2+_<|eot_id|>|._3_"
    styles = {drawn.plain[span.start : span.end]: str(span.style) for span in drawn.spans}
    assert styles["+"] == "black on rgb(76,175,100)"  # new and sure
    assert "on" not in styles.get("2", "")
    assert canvas.status(out, config) == "pass 2  block 1/2  5/8 tokens"
    before = Generation(out.ids, [0, -1, -1, -1, 0, -1, 0, -1], out.confidence, 1)
    assert canvas.changes(before, out) == [1, 3] and canvas.changes(None, before) == [0, 4, 6]
    line = "pass 2  block 1/2  5/8 tokens  '+' 1.00  '<|eot_id|>' 1.00"
    assert canvas.line(tokenizer, before, out, config) == line


def test_colours_run_from_red_to_green():
    assert canvas.colour(0) == canvas.colour(-3) == "rgb(214,69,65)"
    assert canvas.colour(0.5) == "rgb(233,196,76)"
    assert canvas.colour(1) == canvas.colour(7) == "rgb(76,175,100)"
    assert canvas.probability(-0.5, DecodingConfig(remasking="entropy")) == pytest.approx(0.6065, abs=1e-4)


def test_nothing_in_a_text_steers_the_terminal():
    assert canvas.visible("a\x1b[2Jb\tc\nd\x07") == "a\\u001b[2Jb    c\nd\\u0007"


def test_a_tall_canvas_is_cut_to_the_terminal():
    from rich.text import Text

    console = screen()
    text = Text("\n".join(map(str, range(30))))
    assert canvas.fit(text, console, 5, at_least=2).plain.split() == ["0", "1", "2", "3", "4"]
    assert canvas.fit(text, console, 5, at_least=20).plain.split() == ["16", "17", "18", "19", "20"]
    assert canvas.fit(text, console, 5, at_least=29).plain.split() == ["25", "26", "27", "28", "29"]
    assert canvas.fit(text, console, 40, at_least=29) is text


# ---------------------------------------------------------------- generate


def test_generate_prints_the_answer(session):
    console = screen()
    answer = print_answer(session, "2+3=?", console=console)
    assert printed(console) == f"{canvas.visible(answer.text)}\n"
    assert answer.text == session.text(answer.generation.ids)


def test_show_without_a_terminal_is_a_line_a_pass(session):
    plain, console = print_answer(session, "2+3=?", console=screen()), screen()
    answer = print_answer(session, "2+3=?", show=True, console=console)
    assert answer.generation == plain.generation
    lines = printed(console).split("\n")
    passes = answer.generation.forward_passes
    assert [line.split("  ")[0] for line in lines[:passes]] == [f"pass {i + 1}" for i in range(passes)]
    assert lines[passes].startswith(f"{len(answer.generation.ids)} tokens, {passes} passes, ")
    assert printed(console).endswith(f"\n\n{canvas.visible(answer.text)}\n") and "\x1b" not in printed(
        console
    )


def test_show_in_a_terminal_is_a_picture_a_pass(session):
    console = screen(force_terminal=True, color_system="truecolor")
    answer = print_answer(session, "2+3=?", show=True, delay=0, console=console)
    text = printed(console)
    for i in range(answer.generation.forward_passes):
        assert f"pass {i + 1}  block " in text
    assert "░" in text and "\x1b[" in text and "confidence " in text
    assert text.endswith(f"{canvas.visible(answer.text)}\n") and "\x1b[?25h" in text  # the cursor is back


def test_json(session, tokenizer):
    console = screen()
    answer = print_answer(session, "2+3=?", as_json=True, console=console)
    found = json.loads(printed(console))
    out = answer.generation
    assert (found["text"], found["ids"], found["step"]) == (answer.text, out.ids, out.step)
    assert len(found["tokens"]) == len(out.ids) and found["settings"]["gen_length"] == 16
    assert found["prompt_tokens"] == len(session.chat_prompt([{"role": "user", "content": "2+3=?"}]))


def test_raw_and_system(session, monkeypatch):
    system, said = {"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}
    assert session.chat_prompt([said], "be brief") == session.chat_prompt([system, said])
    asked = []
    monkeypatch.setattr(session, "chat_prompt", lambda *given: asked.append(given) or [5, 6])
    print_answer(session, "a", system="be brief", console=screen())
    assert asked == [([said], "be brief")]
    print_answer(session, "2+", raw=True, console=screen())
    assert len(asked) == 1
    with pytest.raises(LiftError, match="--system needs the chat template"):
        print_answer(session, "a", raw=True, system="b", console=screen())
    with pytest.raises(LiftError, match="--show and --json exclude each other"):
        print_answer(session, "a", show=True, as_json=True, console=screen())


def test_the_seed_decides_a_sampled_answer(session):
    def ids(seed):
        session.set({"temperature": 1.0, "seed": seed})
        return session.answer([5, 6, 7]).generation.ids

    assert ids(1) == ids(1) != ids(2)


# ---------------------------------------------------------------- chat


def conversation(session, system=None):
    written, complaints = [], []
    return Chat(session, system, written.append, complaints.append), written, complaints


def test_a_conversation_is_remembered_and_forgotten(session, monkeypatch):
    asked = []
    prompt = session.chat_prompt
    monkeypatch.setattr(
        session, "chat_prompt", lambda messages: asked.append([dict(m) for m in messages]) or prompt(messages)
    )
    talk, written, complaints = conversation(session, "be brief")
    assert talk.take("2+3=?") and talk.take("and 4?")
    said = [turn["content"] for turn in talk.turns if turn["role"] == "assistant"]
    assert "".join(written) == "".join(f"{canvas.visible(text)}\n" for text in said)
    assert talk.take("/reset") and talk.turns == [] and talk.take("1+1=?")
    roles = [[message["role"] for message in messages] for messages in asked]
    assert roles == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["system", "user"],
    ]
    assert asked[1][1]["content"] == "2+3=?" and asked[1][3]["content"] == "and 4?"
    assert asked[1][2]["content"] == said[0]
    assert complaints == [] and not talk.take(" /quit ")


def test_commands(session):
    talk, written, complaints = conversation(session)
    talk.take("/set temperature=0.5 gen_length=8, block_length=4")
    talk.take("/set steps=4")
    assert session.config == DecodingConfig(
        gen_length=8, block_length=4, steps=4, temperature=0.5, cache="none"
    )
    talk.take("/set")
    assert "temperature=0.5\n" in written and "gen_length=8\n" in written
    talk.take("/help")
    assert "/reset" in written[-1]
    talk.take("")
    for line, message in (
        ("/set steps=3", "steps=3 is not divisible"),
        ("/set temprature=1", "did you mean temperature"),
        ("/set 5", "write KEY=VALUE"),
        ("/rest", "unknown command '/rest'; did you mean /reset"),
    ):
        talk.take(line)
        assert message in complaints[-1] and complaints[-1].startswith("error: ")
    assert len(complaints) == 4 and all("\n" not in line for line in complaints)


def test_a_conversation_that_is_too_long_is_one_line(session):
    talk, _, complaints = conversation(session)
    talk.take("1+" * 400)
    assert len(complaints) == 1 and "\n" not in complaints[0]
    assert "more than the model's context of 512" in complaints[0] and "/reset" in complaints[0]
    assert talk.turns == []
    talk.take("1+1=?")
    assert [message["role"] for message in talk.turns] == ["user", "assistant"]


@settings(max_examples=40, deadline=None)
@given(text=st.text(min_size=1, max_size=24), seed=st.integers(0, 1000))
def test_a_stream_in_any_order_is_the_text(text, seed, tokenizer):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if any(token in tokenizer.all_special_ids for token in ids):
        return
    written = []
    stream = Stream(Session("tiny", None, tokenizer), written.append)
    order = random.Random(seed).sample(range(len(ids)), len(ids))
    done = set()
    for i in order:
        done.add(i)
        step = [0 if j in done else -1 for j in range(len(ids))]
        shown = [token if j in done else MASK for j, token in enumerate(ids)]
        stream.show(Generation(shown, step, [1.0] * len(ids), len(done)))
    stream.finish(tokenizer.decode(ids))
    assert "".join(written) == canvas.visible(tokenizer.decode(ids)) + "\n"


def test_lines_from_a_pipe(session, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("2+3=?\n/nothing\n/set gen_length=8\n1+1=?"))
    chat(session)
    out, err = capsys.readouterr()
    assert err.startswith("error: unknown command '/nothing'") and len(err.splitlines()) == 1
    assert out and ">" not in out.split("\n")[0][:2]  # no prompt sign
    assert session.config.gen_length == 8


def test_an_interrupted_answer_is_forgotten(session, monkeypatch, capsys):
    answer, calls = Session.answer, []

    def interrupted(self, prompt, on_step=None):
        calls.append(len(prompt))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answer(self, prompt, on_step)

    monkeypatch.setattr(Session, "answer", interrupted)
    monkeypatch.setattr("sys.stdin", io.StringIO("1+1=?\n" * 3))
    chat(session)
    assert capsys.readouterr().err == "stopped; the question and its answer are forgotten\n"
    assert calls[1] == calls[2] > calls[0]


def test_a_model_that_cannot_chat_says_so_at_once(session, monkeypatch):
    monkeypatch.setattr(session.tokenizer, "chat_template", None)
    monkeypatch.setattr("sys.stdin", io.StringIO("never read\n"))
    with pytest.raises(LiftError, match="no chat template"):
        chat(session)


def test_input_that_is_no_text(session, monkeypatch, capsys):
    stream = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", stream)
    chat(session)
    assert capsys.readouterr().err.startswith("error: the input is not utf-8")


# A pass takes at least 20 ms, so that on any machine an answer of 448 is still being made a second later.
PIPED = """
import time
from lift_harness.interactive.chat import chat
from lift_harness.interactive.session import open_session
session = open_session("lift-tiny", settings=["gen_length=32"])
quick = session.model.hidden_states
session.model.hidden_states = lambda *args, **kwargs: (time.sleep(0.02), quick(*args, **kwargs))[1]
chat(session)
print("left in order")
"""


def test_control_c_stops_the_answer_and_not_the_chat(tmp_path):
    """A real process behind real pipes: lines are answered as they come, an interrupt ends one answer."""
    errors = (tmp_path / "errors").open("w+")
    talk = subprocess.Popen(
        [sys.executable, "-c", PIPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    try:
        talk.stdin.write("2+3=?\n/reset\n/set gen_length=448,steps=448,early_stop=false\n")
        talk.stdin.flush()
        for line in talk.stdout:  # loading takes its time
            if line == "The conversation is forgotten.\n":
                break
        talk.stdin.write("this takes a while\n")
        talk.stdin.flush()
        time.sleep(1.0)
        talk.send_signal(signal.SIGINT)
        talk.stdin.write("/reset\n/set gen_length=32,steps=16\n2+3=?\n")
        rest, _ = talk.communicate(timeout=60)
    finally:
        talk.kill()
    errors.seek(0)
    note, stopped = errors.read().splitlines()
    assert stopped == "stopped; the question and its answer are forgotten"
    assert note.startswith("note: lift-tiny knows nothing but puzzles")
    assert talk.returncode == 0
    after = rest.partition("The conversation is forgotten.\n")[2]
    assert after.endswith("left in order\n") and len(after) > len("left in order\n")
