"""Published datasets by short names, and the Hub: which revision, and which file stands for it offline.

The rules are those of the benchmarks (tasks/data.py): where LIFT_DATA_DIR is set, rows come from
that folder and from nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError, first_line
from lift_harness.tasks import data as benchmarks
from lift_harness.training.sources.files import SUFFIXES, Row, data_files, read_rows


@dataclass(frozen=True)
class Published:
    """A dataset on the Hub.

    Attributes:
        hub: its id.
        config: the configuration, if it has several.
        revision: pinned; None: the newest (what that was goes into the manifest).
        fields: part -> column, where the columns' names alone do not say it.
    """

    hub: str
    config: str | None = None
    revision: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Its name in LIFT_DATA_DIR, without a suffix."""
        return self.hub.split("/")[1]


# The revisions are the ones that public code pins, each the newest that the dataset's own page was seen
# with; the Hub could not be reached where this was written. Of those without one none was found.
PUBLISHED: dict[str, Published] = {
    "s1k": Published("simplescaling/s1K", revision="278d72baaa2b887a7e76a70a0ae254a5a45536e4"),
    "s1k-1.1": Published("simplescaling/s1K-1.1", revision="96c411f1fe4c49d20f0e2a1565f61e1a28b0b84d"),
    "lift-sft-12k": Published("divelab/LIFT-SFT-12K"),
    "gsm8k": Published("openai/gsm8k", "main", "740312add88f781978c0658806c59bc2815b9866"),
    "kodcode": Published("KodCode/KodCode-Light-RL-10K", revision="dcf78a8bbba9a613b596ce993c4921a38687dfcc"),
    "mixture-of-thoughts": Published(
        "open-r1/Mixture-of-Thoughts", "all", "e55fa28006c0d0ec60fb3547520f775dd42d02cd"
    ),
    "tulu-3": Published("allenai/tulu-3-sft-mixture", revision="b14afda60f1bbebe55d5d2fa1e4df5042f97f8be"),
    "opc-sft-stage2": Published(
        "OpenCoder-LLM/opc-sft-stage2",
        "educational_instruct",
        "7d28f40d579edd7c24402d17d0c7639f991e6f8d",
        {"prompt": "instruction", "response": "output"},
    ),
    "llama-nemotron": Published(
        "nvidia/Llama-Nemotron-Post-Training-Dataset", "SFT", None, {"prompt": "input", "response": "output"}
    ),
    "dolci-think-rl": Published(
        "allenai/Dolci-Think-RL-32B",
        fields={"question": "prompt", "reasoning": "outputs", "answer": "ground_truth"},
    ),
}
HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+")
Rows = Iterable[tuple[str, Row]]


def find_published(name: str) -> Published | None:
    """The dataset that a short name or Hub id means; None if `name` is neither."""
    for short, known in PUBLISHED.items():
        if name.lower() in (short, known.hub.lower()):
            return known
    return Published(name) if HUB_ID.fullmatch(name) else None


def usual_fields(name: str) -> Mapping[str, str]:
    """Part -> column of a published dataset, where its columns' names alone do not say it."""
    known = find_published(name)
    return {} if known is None else known.fields


def published_rows(
    known: Published, config: str | None, split: str | None, revision: str | None
) -> tuple[dict[str, Any], Rows]:
    """(where the rows come from, for the manifest; the rows)."""
    if known.hub == "openai/gsm8k":
        if "test" in (split or ""):
            raise LiftError("split='test' of gsm8k is what lift_gsm8k evaluates on; train on split='train'")
        if (config or "main", split or "train", revision) == ("main", "train", None):
            return gsm8k_rows()
    if folder := os.environ.get("LIFT_DATA_DIR"):
        if revision is not None:
            raise LiftError(f"revision={revision!r}: with LIFT_DATA_DIR the data is the file's; leave it out")
        return offline_rows(known, Path(folder), config, split)
    return hub_rows(known, config or known.config, split or "train", revision or known.revision)


def gsm8k_rows() -> tuple[dict[str, Any], Rows]:
    """GSM8K's training questions; the benchmark's table knows their file and their hash."""
    source = benchmarks.SOURCES["gsm8k_train"]
    where: dict[str, Any] = {"hub": "openai/gsm8k", "rows_sha256": source.rows_sha256}
    if os.environ.get("LIFT_DATA_DIR"):
        where |= {"file": source.file, "sha256": source.file_sha256}
    else:
        assert source.hub is not None
        where["revision"] = source.hub[3]
    return where, ((f"{source.file}:{i}", row) for i, row in enumerate(benchmarks.load("gsm8k_train"), 1))


def offline_rows(
    known: Published, folder: Path, config: str | None, split: str | None
) -> tuple[dict[str, Any], Rows]:
    """The rows of the file or folder in LIFT_DATA_DIR that is named as the dataset."""
    if (folder / known.stem).is_dir():
        return local_rows(folder / known.stem, config, split)
    names = [f"{known.stem}{suffix}" for suffix in SUFFIXES]
    for name in names:
        if (folder / name).is_file():
            if (split or "train") != "train" or config:
                raise LiftError(
                    f"LIFT_DATA_DIR: {folder / name}: one file has no split={split!r}, config={config!r}"
                )
            return local_rows(folder / name)
    raise LiftError(
        f"LIFT_DATA_DIR: {folder} holds neither {known.stem}.jsonl nor {known.stem}.parquet nor a folder "
        f"{known.stem} for {known.hub}; put it there, give a path as the source, or unset LIFT_DATA_DIR"
    )


def local_rows(
    path: Path, config: str | None = None, split: str | None = None
) -> tuple[dict[str, Any], Rows]:
    """The rows of a file, or of all files of a folder."""
    files = data_files(path, split, config) if path.is_dir() else [path]
    if not path.is_dir() and (config or split):
        raise LiftError(f"{path}: one file has neither config={config!r} nor split={split!r}; leave them out")
    sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
    return {"path": str(path), "bytes": sizes}, (item for file in files for item in read_rows(file))


def hub_rows(
    known: Published, config: str | None, split: str, revision: str | None
) -> tuple[dict[str, Any], Rows]:
    """The rows of a split on the Hub, or in its cache."""
    from datasets import load_dataset

    try:
        dataset = load_dataset(known.hub, config, split=split, revision=revision, trust_remote_code=False)
    except Exception as error:  # network, cache, format: every layer has its own
        raise LiftError(
            f"{known.hub} at {revision or 'its newest revision'} cannot be read ({first_line(error)}); give "
            f"a path, or set LIFT_DATA_DIR to a folder with {known.stem}.jsonl or {known.stem}.parquet"
        ) from error
    where = {
        "hub": known.hub,
        "config": config,
        "split": split,
        "revision": resolved_revision(dataset) or revision,
        "fingerprint": getattr(dataset, "_fingerprint", None),
    }

    def rows() -> Iterator[tuple[str, Row]]:
        for number, row in enumerate(dataset, start=1):
            yield f"{known.hub}:{number}", row

    return where, rows()


def resolved_revision(dataset: Any) -> str | None:
    """The commit that a dataset's files were downloaded from: `datasets` keeps their addresses."""
    for address in getattr(dataset.info, "download_checksums", None) or {}:
        if match := re.search(r"@([0-9a-f]{40})/", str(address)):
            return match.group(1)
    return None
