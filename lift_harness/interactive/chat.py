"""`lift-harness chat`: a conversation in the terminal, or through a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from lift_harness.decoding import Generation
from lift_harness.decoding.request import TooLong
from lift_harness.decoding.schedules import EDITING
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.interactive.canvas import block_of, visible
from lift_harness.interactive.session import Message, Session, parse_settings

HELP = """/reset            forget the conversation
/set KEY=VALUE    change a decoding setting (temperature=0.7, gen_length=256, ...); alone: show them
/help             this
/quit             leave; so does the end of the input. Ctrl-C stops an answer."""
COMMANDS = ("/reset", "/set", "/help", "/quit")


class Chat:
    """A conversation and what the commands do to it.

    Attributes:
        session: the model.
        system: the system's message, or none.
        turns: messages so far, whole exchanges only: one that failed or was stopped leaves nothing.
        write: prints text as it is.
        complain: prints a line about what went wrong.
    """

    def __init__(
        self,
        session: Session,
        system: str | None,
        write: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self.session, self.system, self.write, self.complain = session, system, write, complain
        self.turns: list[Message] = []

    @property
    def history(self) -> list[Message]:
        """The conversation with the system's message."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def take(self, line: str) -> bool:
        """Act on a line; False ends the chat."""
        line = line.strip()
        if line.split(maxsplit=1)[:1] == ["/quit"]:
            return False
        try:
            if line.startswith("/"):
                self.command(line)
            elif line:
                self.reply(line)
        except TooLong as error:
            self.complain(f"error: {error}; /reset forgets the conversation")
        except LiftError as error:
            self.complain(f"error: {error}")
        return True

    def command(self, line: str) -> None:
        """Do what a command says."""
        name, _, rest = line.partition(" ")
        if name == "/reset":
            self.turns.clear()
            self.write("The conversation is forgotten.\n")
        elif name == "/help":
            self.write(f"{HELP}\n")
        elif name == "/set" and rest.strip():
            self.session.set(parse_settings([rest]))
            for line in self.session.idle():
                self.complain(line)
        elif name == "/set":
            for key, value in vars(self.session.config).items():
                self.write(f"{key}={value}\n")
        else:
            raise LiftError(f"unknown command {name!r}; {did_you_mean(name, COMMANDS)}")

    def reply(self, text: str) -> None:
        """Answer a message; the text appears as far as it is settled from the left."""
        question = {"role": "user", "content": text}
        prompt = self.session.chat_prompt([*self.history, question])
        stream = Stream(self.session, self.write, len(prompt))
        answer = self.session.answer(prompt, stream.show)
        reply = self.session.prefix + answer.text
        stream.finish(reply)
        self.turns += [question, {"role": "assistant", "content": reply}]


class Stream:
    """Prints an answer from the left while it is decoded, as far as it no longer changes.

    That is to the first mask; where tokens are edited, to the block that is being decoded.
    """

    def __init__(self, session: Session, write: Callable[[str], None], start: int = 0) -> None:
        self.session, self.write, self.start = session, write, start
        self.shown = ""

    def show(self, out: Generation) -> None:
        """Print what is new of what is settled."""
        settled = next((i for i, step in enumerate(out.step) if step < 0), len(out.step))
        config = self.session.config
        if config.schedule in EDITING:
            here = block_of(out.step.index(max(out.step)), config, self.start)
            settled = next(i for i in range(len(out.step)) if block_of(i, config, self.start) == here)
        self.extend(self.session.prefix + self.session.text(out.ids[:settled]))

    def extend(self, text: str) -> None:
        """Print what `text` adds; half a character at its end waits."""
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        if text.startswith(self.shown):
            self.write(visible(text[len(self.shown) :]))
            self.shown = text

    def finish(self, text: str) -> None:
        """Print the rest, and end the line."""
        if text.startswith(self.shown):
            self.write(visible(text[len(self.shown) :]))
        else:  # a tokenizer that writes a beginning differently from the whole
            self.write(f"\n{visible(text)}")
        self.write("\n")


def chat(session: Session, system: str | None = None) -> None:
    """Read lines and answer them until the input ends or /quit.

    Ctrl-C stops the answer that is being decoded, which is then as if it had not been asked for; at the
    prompt it clears the line. In a terminal lines can be edited and called back.
    """
    if sys.stdin is None:
        raise LiftError("standard input is closed; there is nobody to talk with")
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):  # Windows has none
            import readline  # noqa: F401  (it changes what `input` does)
        print(f"{session.name}. /help lists the commands.")

    def write(text: str) -> None:
        print(text, end="", flush=True)

    def complain(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    session.chat_prompt([{"role": "user", "content": "."}])  # a model that cannot chat says so at once
    for line in session.notes():
        complain(line)
    conversation = Chat(session, system, write, complain)
    going = True
    while going:
        answering = False
        try:
            line = input("> " if terminal else "")
            answering = True
            going = conversation.take(line)
        except EOFError:
            going = False
            if terminal:
                print()
        except KeyboardInterrupt:
            write("\n")
            if answering:
                complain("stopped; the question and its answer are forgotten")
        except UnicodeDecodeError as error:
            complain(f"error: the input is not {error.encoding}: {error.reason}")
