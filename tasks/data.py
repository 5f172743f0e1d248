"""The rows of the benchmarks: from the folder LIFT_DATA_DIR, else from where they are published.

Nothing altered passes: a file is checked by its sha256; rows from the Hub come from a pinned revision, and
what is asked and scored in them must hash to the same value as in the files (`digest`). Of a source whose
file was never at hand there is no hash (`unhashed`): its rows are counted, and must have its fields.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np

from lift_harness.errors import LiftError, did_you_mean, first_line
from lift_harness.files import read_bytes

if TYPE_CHECKING:
    from datasets import Dataset

Rows = list[dict[str, Any]]
D1 = "https://raw.githubusercontent.com/dllm-reasoning/d1/main/dataset"
SUBSET_SIZE = 256


@dataclass(frozen=True)
class Source:
    """Where the rows of a benchmark are.

    Attributes:
        file: its name in LIFT_DATA_DIR.
        file_sha256: of that file's bytes; None: not known (`unhashed`).
        rows_sha256: `digest` of the rows, whichever way they came; None: not known.
        checked: the fields that `digest` covers.
        hub: dataset on the Hub, its configuration, split and revision; None: only `url` has it.
        url: of the file itself.
        keep: which rows of the file count; all if None.
        rows: how many count, where no hash says it.
        read: a row of the file as the task asks it; None: as it is.
        drawn: whether a task asks 256 of the rows (`SUBSETS`).
    """

    file: str
    file_sha256: str | None
    rows_sha256: str | None
    checked: tuple[str, ...]
    hub: tuple[str, str | None, str, str] | None = None
    url: str | None = None
    keep: Callable[[dict[str, Any]], bool] | None = None
    drawn: bool = False
    rows: int | None = None
    read: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def unhashed(self) -> bool:
        """Whether nobody here has seen the file, so that an altered one would pass."""
        return self.file_sha256 is None

    def manifest(self) -> dict[str, Any]:
        """For a run's manifest; the rows were checked by their hash when they were read."""
        name, config, split, revision = self.hub or (None, None, None, None)
        place = {"dataset": name, "config": config, "split": split, "revision": revision, "url": self.url}
        known = {key: value for key, value in place.items() if value}
        sha256 = {} if self.rows_sha256 is None else {"sha256": self.rows_sha256}
        return {"file": self.file, **sha256, **known}


def as_sanitized(row: dict[str, Any]) -> dict[str, Any]:
    """A row of MBPP's first edition under the names of the sanitized one."""
    setup = row.get("test_setup_code")
    return {
        "task_id": row["task_id"],
        "prompt": row["text"],
        "code": row["code"],
        "test_imports": [setup] if setup else [],
        "test_list": row["test_list"],
    }


# The revisions are the ones that public code pins; the Hub could not be reached where this was written.
SOURCES: dict[str, Source] = {
    "gsm8k": Source(
        file="gsm8k_test.jsonl",
        file_sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        rows_sha256="7425d4a055b02629727d515a4574df6c65d877181fd1dee3c1b2046d56554032",
        checked=("question", "answer"),
        hub=("openai/gsm8k", "main", "test", "740312add88f781978c0658806c59bc2815b9866"),
    ),
    "gsm8k_train": Source(
        file="gsm8k_train.jsonl",
        file_sha256="17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        rows_sha256="1f3e01e4f33067efc31db8c0bb64c6cf4c3c53a93c418147d1675fd3640d4037",
        checked=("question", "answer"),
        hub=("openai/gsm8k", "main", "train", "740312add88f781978c0658806c59bc2815b9866"),
    ),
    "math500": Source(
        file="math500_test.jsonl",
        file_sha256="35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        rows_sha256="401bd24c8976054faac36c2c15766b46eed1d2ae02fc9e26e25eb27cb8b2c91f",
        checked=("problem", "answer"),
        hub=("HuggingFaceH4/MATH-500", None, "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
    ),
    "countdown": Source(
        file="countdown_cd3_test.jsonl",
        file_sha256="9916f614621e26fb2b035ed4ea641e35e4fff0d533bb9b9c7bcaaa61017d88c6",
        rows_sha256="9916f614621e26fb2b035ed4ea641e35e4fff0d533bb9b9c7bcaaa61017d88c6",
        checked=("input", "output"),
        url=f"{D1}/countdown_cd3_test.jsonl",
        drawn=True,
    ),
    "sudoku": Source(
        file="4x4_test_sudoku.csv",
        file_sha256="ef86c7c28ebef88484d85fda59b3909a7b621241aa1abf36343437dbc4a3ffb6",
        rows_sha256="9d251b7dbab15c88b94efa417132586dc1c35b456dbe545b82dc19c0e8cc0640",
        checked=("Puzzle", "Solution"),
        url=f"{D1}/4x4_test_sudoku.csv",
        drawn=True,
    ),
    # The wording of the AIME problems differs from copy to copy in its typesetting, so that of rows from
    # the Hub only the answers, in order, can be compared; their text is what the revision holds.
    "aime24": Source(
        file="aime24.jsonl",
        file_sha256="f5a9c5ca0317d7c6af00495708cb97f881538aeef49be2f29539f43039e0d415",
        rows_sha256="e81728919e56f5bbed21fd787538f48ad1929570b1dbcae3416f72306abab22d",
        checked=("answer",),
        hub=("HuggingFaceH4/aime_2024", None, "train", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"),
    ),
    "aime25": Source(
        file="aime25.jsonl",
        file_sha256="4613b7d3b5346f007625969f4380d932d6a2618fdcc9b89e5d39c7fbddc074b8",
        rows_sha256="cd05d2ff40366168008a8af14ff5908edecd88023a609634003708cb9dcd1f06",
        checked=("answer",),
        hub=("math-ai/aime25", None, "test", "563bb8404243c5f09de6ec262f2db674fe5bce9b"),
    ),
    "humaneval": Source(
        file="HumanEval.jsonl.gz",
        file_sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
        rows_sha256="7cdf1dc9d37f412bd6d7d93a1e355d2e7342a3e22ff3a1a605407aec0d4a3edd",
        checked=("task_id", "prompt", "canonical_solution", "test", "entry_point"),
        hub=("openai/openai_humaneval", None, "test", "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"),
    ),
    "mbpp": Source(
        file="mbpp_sanitized.json",
        file_sha256="ca95deaa9a01ef0a6f439f88bcf0dd3db3563d22f22aad6cae04ebb9a8d8c8e9",
        rows_sha256="cb6be1bc546c8c2490eecbb7cfa2752c5ea6e3cf0da70439052eadd62869ae23",
        checked=("task_id", "prompt", "code", "test_imports", "test_list"),
        hub=(
            "google-research-datasets/mbpp",
            "sanitized",
            "test",
            "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        ),
        keep=lambda row: 11 <= row["task_id"] <= 510,
    ),
    # What lm-eval's `mbpp` asks: 500 problems in their first wording.
    "mbpp_full": Source(
        file="mbpp.jsonl",
        file_sha256=None,
        rows_sha256=None,
        checked=("task_id", "prompt", "code", "test_imports", "test_list"),
        hub=("google-research-datasets/mbpp", "full", "test", "4bb6404fdc6cacfda99d4ac4205087b89d32030c"),
        keep=lambda row: 11 <= row["task_id"] <= 510,
        rows=500,
        read=as_sanitized,
    ),
    "humaneval_plus": Source(
        file="humanevalplus.jsonl",
        file_sha256=None,
        rows_sha256=None,
        checked=("task_id", "prompt", "canonical_solution", "entry_point", "test"),
        hub=("evalplus/humanevalplus", None, "test", "d32357cf319e50e9c8d8dab5ea876c72b0fd321b"),
        rows=164,
    ),
    "mbpp_plus": Source(
        file="mbppplus.jsonl",
        file_sha256=None,
        rows_sha256=None,
        checked=("task_id", "prompt", "code", "test_imports", "test_list", "test"),
        hub=("evalplus/mbppplus", None, "test", "9a36f31e81d5e1670b68e6de8ef23da0c4e1abb5"),
        rows=378,
    ),
}


def load(name: str) -> Rows:
    """All rows of a benchmark of `SOURCES`, checked."""
    source = SOURCES[name]
    if folder := os.environ.get("LIFT_DATA_DIR"):
        rows = parsed(source, checked_file(Path(folder) / source.file, source))
    elif source.hub is None:
        rows = parse(source.file, downloaded(source))
    else:
        rows = from_hub(source)
    try:
        rows = [row for row in rows if source.keep is None or source.keep(row)]
        rows = [source.read(row) for row in rows] if source.read else rows
        found = digest(rows, source.checked)
    except (KeyError, TypeError) as error:
        raise LiftError(
            f"{name}: rows of {source.file} are not those of the benchmark ({error}); {offline(source)}"
        ) from error
    if (len(rows) != source.rows) if source.unhashed else (found != source.rows_sha256):
        raise LiftError(
            f"{name}: the rows of {source.hub or source.url} are not the published ones; {offline(source)}"
        )
    return rows


def parsed(source: Source, content: bytes) -> Rows:
    """The rows of a file from LIFT_DATA_DIR; one that has no hash may hold anything."""
    try:
        return parse(source.file, content)
    except ValueError as error:
        raise LiftError(f"LIFT_DATA_DIR: {source.file}: {first_line(error)}; {offline(source)}") from error


def digest(rows: Rows, fields: tuple[str, ...]) -> str:
    """sha256 of some fields of the rows: one JSON line a row, keys sorted, white space left out.

    Copies of a benchmark differ in white space, and in whether a number is a number or a text.
    """
    hashed = sha256()
    for row in rows:
        line = json.dumps({field: packed(row[field]) for field in sorted(fields)})
        hashed.update(line.encode() + b"\n")
    return hashed.hexdigest()


def packed(value: Any) -> Any:
    """A field as `digest` sees it: "204", 204 and "0204" are one answer."""
    if isinstance(value, list):
        return [packed(item) for item in value]
    text = re.sub(r"\s", "", str(value))
    return text.lstrip("0") if text.isdigit() else text


def offline(source: Source) -> str:
    """What to do, as the end of an error message."""
    what = f"{source.rows} rows" if source.unhashed else f"sha256 {source.file_sha256}"
    return (
        f"set LIFT_DATA_DIR to a folder with {source.file}, {what} (docs/tasks.md says where it is published)"
    )


def checked_file(path: Path, source: Source) -> bytes:
    """The bytes of a file that must have the sha256 of `source`."""
    try:
        content = read_bytes(path, f"LIFT_DATA_DIR: {path}")
    except OSError as error:
        must = "" if source.unhashed else f"; the file must have sha256 {source.file_sha256}"
        raise LiftError(f"LIFT_DATA_DIR: {path}: {error.strerror}{must}") from error
    if source.unhashed:
        return content
    if (actual := sha256(content).hexdigest()) != source.file_sha256:
        raise LiftError(
            f"LIFT_DATA_DIR: {path}: not the published file: its sha256 is {actual}, not {source.file_sha256}"
        )
    return content


def parse(file: str, content: bytes) -> Rows:
    """The rows of a file by the kind its name tells: csv, jsonl, json, and with .gz after it."""
    if file.endswith(".gz"):
        return parse(file.removesuffix(".gz"), gzip.decompress(content))
    text = content.decode("utf-8")
    if file.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(text)))
    if file.endswith(".jsonl"):
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    return json.loads(text)


def from_hub(source: Source) -> Rows:
    """The rows of a split on the Hub, or in its cache."""
    assert source.hub is not None
    from datasets import load_dataset

    path, config, split, revision = source.hub
    try:
        return list(load_dataset(path, config, split=split, revision=revision, trust_remote_code=False))
    except Exception as error:  # network, cache, format: every layer has its own
        raise LiftError(
            f"{path} at {revision} cannot be read ({first_line(error)}); {offline(source)}"
        ) from error


def downloaded(source: Source) -> bytes:
    """The file at `url`, kept beside the Hub's cache."""
    from huggingface_hub import constants

    assert source.url is not None
    kept = Path(constants.HF_HOME) / "lift_harness" / source.file
    if kept.is_file() and sha256(content := kept.read_bytes()).hexdigest() == source.file_sha256:
        return content
    if constants.HF_HUB_OFFLINE:
        raise LiftError(f"{source.url} is not in the cache and HF_HUB_OFFLINE is set; {offline(source)}")
    try:
        with urlopen(source.url, timeout=30) as answer:  # noqa: S310 (our own https address)
            content = answer.read(1 << 20)
    except OSError as error:
        raise LiftError(f"{source.url} cannot be read ({error}); {offline(source)}") from error
    if (actual := sha256(content).hexdigest()) != source.file_sha256:
        raise LiftError(f"{source.url}: not the published file: its sha256 is {actual}; {offline(source)}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_name(f"{kept.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(kept)
    return content


SUBSETS: dict[str, Callable[[int], np.ndarray]] = {
    # What the generations published with d1 hold, and so what its numbers are over: its code draws from
    # numpy's old global generator.
    "d1": lambda n: np.random.RandomState(42).choice(n, SUBSET_SIZE, replace=False),
    # LIFT's released code draws from a generator of its own (eval/gsm8k.py): 137 Sudokus are in both.
    "lift": lambda n: np.random.default_rng(42).choice(n, SUBSET_SIZE, replace=False),
    "all": np.arange,
}
EARLIER_NAMES = {"default": "d1", "default_rng": "lift"}
DEFAULT_SUBSET = "d1"


def default_subset(config: Mapping[str, Any]) -> dict[str, str]:
    """{"subset": ...} for the file of a task that asks a subset, for its results to say it."""
    source = (config.get("dataset_kwargs") or {}).get("source")
    return {"subset": DEFAULT_SUBSET} if source in SOURCES and SOURCES[source].drawn else {}


def chosen(rows: Rows, subset: str) -> Rows:
    """256 of the rows, in the order drawn, or all (`--metadata subset=all`)."""
    name = EARLIER_NAMES.get(str(subset), str(subset))
    if name not in SUBSETS:
        raise LiftError(f"subset={subset}: {did_you_mean(str(subset), SUBSETS)}")
    return [rows[i] for i in SUBSETS[name](len(rows))]


def test_split(source: str, subset: str = DEFAULT_SUBSET, **_: Any) -> dict[str, Dataset]:
    """`custom_dataset` of the benchmarks: the rows of a source, or those of them that its tables are over.

    Args:
        source: key of `SOURCES` (`dataset_kwargs` in the task's file).
        subset: key of `SUBSETS`, from `--metadata subset=NAME`; all of whose entries lm-eval passes.
    """
    rows = load(source)
    return as_test_split(chosen(rows, subset) if SOURCES[source].drawn else rows)


def as_test_split(rows: Rows) -> dict[str, Dataset]:
    """Rows in the form that lm-eval takes."""
    from datasets import Dataset

    return {"test": Dataset.from_list(rows)}
