"""`lift-harness push`: a training of a run to the Hub, with its card and the run's report.

Only what the run's records vouch for is sent: the files that the training's record lists by sha256, and a
card and a report made anew of evaluations whose records do so for theirs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lift_harness.compare import Comparison, compare, load
from lift_harness.errors import LiftError, did_you_mean, first_line
from lift_harness.files import files_sha256, read_json
from lift_harness.hub.card import Training, card
from lift_harness.models.checkpoint import member
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.stages import CARD, KEY, RECIPE, find_stage
from lift_harness.pipeline.train_eval import BASE, trained_ones
from lift_harness.report import write_report
from lift_harness.results.lock import sole_writer

NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
REPORT = "report.html"


@dataclass(frozen=True)
class Pushed:
    """What is sent.

    Attributes:
        training: what it is.
        files: name in the repository -> the file, verified.
        card: its README.md.
        report: the run's page.
    """

    training: Training
    files: dict[str, Path]
    card: str
    report: bytes

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> bytes of all that is sent."""
        made = {CARD: len(self.card.encode()), REPORT: len(self.report)}
        return {**{name: file.stat().st_size for name, file in self.files.items()}, **made}


def push(place: Path, repo: str, *, public: bool = False, update: bool = False) -> tuple[Pushed, str]:
    """Send a training to a new repository of the Hub.

    Args:
        place: as `prepare`.
        repo: owner/name.
        public: let everybody see it; else only its owner.
        update: send it to a repository that is there already, whose other files stay.

    Returns:
        What was sent, and the address of its commit.

    Raises:
        LiftError: as `prepare`; no token, a repository that is there, no right to write, or no network.
    """
    check_name(repo)
    check_token()
    run, where = find_run(place)
    with sole_writer(run):
        pushed = prepare(place, repo)
        return pushed, send(pushed, repo, public=public, update=update)


def prepare(place: Path, repo: str) -> Pushed:
    """Verify what is to be sent, and make its card and report; nothing is sent.

    Args:
        place: RUN where it has one training, RUN/METHOD, or RUN/METHOD/seed-N.
        repo: owner/name, for the card.

    Raises:
        LiftError: no such training, or one that is not done, or not as it was written.
    """
    check_name(repo)
    run, where = find_run(place)
    training, folder = find_training(run, where)
    record = verified(folder, "train")
    weights = folder / "train" / record["result"]["checkpoint"]
    inside = f"{weights.name}/"
    names = [name.removeprefix(inside) for name in record["files"] if name.startswith(inside)]
    files = {name: member(weights, name) for name in names}
    for evaluated in sorted(run.rglob("eval.json")):
        verified(evaluated.parent, "eval")
    check_results(run)
    with TemporaryDirectory(prefix="lift-harness-") as scratch:
        report = write_report(run, Path(scratch) / REPORT).read_bytes()
    text = card(training, repo, values(run, training, folder))
    return Pushed(training, files, text, report)


def check_name(repo: str) -> None:
    """Refuse what is no name of a repository."""
    if not re.fullmatch(NAME, repo):
        raise LiftError(f"{repo!r} is no repository's name; write owner/name")


# ---------------------------------------------------------------- what is sent


def find_run(place: Path) -> tuple[Path, str]:
    """The run's folder that a place is in, and which part of it is meant ("": none in particular)."""
    for folder in (place, *place.parents):
        if (folder / RECIPE).is_file():
            part = place.relative_to(folder).as_posix()
            return folder, "" if part == "." else part
    raise LiftError(f"{str(place)!r} is no run of train-eval, and in none; give RUN or RUN/METHOD")


def find_training(run: Path, where: str) -> tuple[Training, Path]:
    """The training that is meant, and its folder."""
    recipe = load_recipe(str(run / RECIPE))
    known = {folder: Training(recipe, method, seed) for method, seed, folder in trained_ones(recipe)}
    meant = [folder for folder in known if where in ("", folder, folder.partition("/")[0])]
    if not meant:
        raise LiftError(f"{run} has no training {where!r}; {did_you_mean(where, known)}")
    if len(meant) > 1:
        choices = ", ".join(str(run / folder) for folder in meant)
        raise LiftError(f"{run / where} holds {len(meant)} trainings; give one of them: {choices}")
    return known[meant[0]], run / meant[0]


def verified(folder: Path, kind: str) -> dict[str, Any]:
    """The record of a stage that is done and as it was written.

    Raises:
        LiftError: it is not.
    """
    record = folder / f"{kind}.json"
    try:
        key = read_json(record)[KEY]
    except (OSError, LiftError, KeyError, TypeError) as error:
        raise LiftError(f"{record}: no record of a finished stage; finish the run, then push it") from error
    found = find_stage(folder, kind, key)
    if found.record is None or "files" not in found.record:
        why = found.damage or f"{record} lists no files to verify (an earlier version's)"
        raise LiftError(f"{why}; it is not pushed: run the recipe again, which does that stage anew")
    return found.record


def check_results(run: Path) -> None:
    """Refuse a results.json that is not the one that the run wrote."""
    results, manifest = run / "results.json", run / "manifest.json"
    written = read_json(manifest).get("results_sha256") if manifest.is_file() else None
    if written and results.is_file() and files_sha256(results) != written:
        raise LiftError(f"{results} is not the one that the run wrote; it is not pushed")


def values(run: Path, training: Training, folder: Path) -> Comparison | None:
    """The scores of this training beside those of its base; None where it was not evaluated."""
    if not (folder / "eval.json").is_file():
        return None
    chosen = []
    for row in load([run]):
        if row.name == BASE:
            chosen.append(row)
        if row.name == training.method.name:
            seeds = {
                seed: evaluations
                for seed, evaluations in row.seeds.items()
                if seed in ("", str(training.seed))
            }
            chosen.append(dataclasses.replace(row, seeds=seeds))
    return compare(chosen)


# ---------------------------------------------------------------- the Hub


def check_token() -> None:
    """Refuse to begin without a token."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise LiftError("no token for the Hub: run `hf auth login`, or set HF_TOKEN to one that may write")


def send(pushed: Pushed, repo: str, *, public: bool, update: bool) -> str:
    """Make the repository unless it is to be updated, and send all in one commit; its address."""
    from huggingface_hub import CommitOperationAdd, HfApi

    hub = HfApi()
    if not update:
        with one_line(repo):
            hub.create_repo(repo, private=not public)
    contents: dict[str, Path | bytes] = {CARD: pushed.card.encode(), REPORT: pushed.report, **pushed.files}
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    after = "" if update else f"; {repo} was made and is empty: once it is put right, --update sends to it"
    training = pushed.training
    with one_line(repo, after):
        commit = hub.create_commit(
            repo, operations, commit_message=f"{training.recipe.name}: {training.method.name}"
        )
    return str(commit.commit_url)


@contextmanager
def one_line(repo: str, after: str = "") -> Iterator[None]:
    """Whatever the Hub or the network says, as a line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 409:
            why = "there is such a repository already; --update sends to it, another name makes a new one"
        elif status in (401, 403):
            why = "the token may not write there; `hf auth whoami` says whose it is"
        elif status == 404:
            why = "there is no such repository; without --update it is made"
        else:
            why = first_line(error)
        raise LiftError(f"the Hub refused {repo!r} ({status}): {why}{after}") from error
    except Exception as error:  # the network's own errors differ between versions of huggingface_hub
        raise LiftError(
            f"cannot reach the Hub for {repo!r} ({type(error).__name__}: {first_line(error)}); nothing was "
            f"changed that it did not confirm{after}"
        ) from error
