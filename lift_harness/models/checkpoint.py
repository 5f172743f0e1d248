"""What a checkpoint holds, read without loading it: its folder, its config.json, the headers of its weights.

Everything that can be wrong with the files is found here, before memory is spent on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import logging

from lift_harness.errors import LiftError, first_line
from lift_harness.files import read_json as read_any_json

BUILT_IN = {
    "lift-tiny": Path(__file__).parent / "lift_tiny",
    "lift-tiny-block": Path(__file__).parent / "lift_tiny_block",
}
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

# What is fetched from the Hub. Python files come along for `merge`, which hands them on; none is ever run.
SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model", "*.py"]
WEIGHT_FILES = ["*.safetensors"]
ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]
HUB_ID = r"[\w.-]+/[\w.-]+"

# Names of safetensors' headers.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
WEIGHTS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # what numbers can be stored as


@dataclass(frozen=True)
class Header:
    """What a safetensors header says of one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numbers(self) -> int:
        """How many it has."""
        return torch.Size(self.shape).numel()

    @property
    def bytes(self) -> int:
        """What it takes in its file and, as stored, in memory."""
        return self.numbers * self.dtype.itemsize


# ---------------------------------------------------------------- where it is


def find_folder(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder that `name` means; a Hub id is downloaded, or found in the cache.

    Args:
        name: a folder, a Hub id, or the name of a model inside the package.
        revision: of a Hub id.
        weights: download these too.

    Raises:
        LiftError: no such folder, not on the Hub, or the Hub cannot be reached; a revision of what is here.
    """
    folder = BUILT_IN.get(name, Path(name))
    if folder.is_dir():
        if revision is not None:
            raise LiftError(
                f"revision={revision!r}: {name!r} is no Hub id and has no revisions; leave it out"
            )
        return folder
    if not is_hub_id(name):
        raise LiftError(
            f"no model folder {name!r}; give a folder with config.json, a Hub id (owner/name) "
            f"or one of: {', '.join(BUILT_IN)}"
        )
    return download(name, revision, SMALL_FILES + (WEIGHT_FILES if weights else []), "model")


def find_adapter(name: str) -> Path:
    """The folder of an adapter; owner/name or owner/name@REVISION is downloaded, or found in the cache.

    Raises:
        LiftError: as `find_folder`.
    """
    if Path(name).is_dir():
        return Path(name)
    repo, at, revision = name.partition("@")
    if not is_hub_id(repo) or (at and not revision):
        raise LiftError(
            f"no adapter in {name!r}: give a folder with adapter_config.json, or a Hub id (owner/name, "
            "owner/name@REVISION)"
        )
    return download(repo, revision or None, ADAPTER_FILES, "adapter")


def is_hub_id(name: str) -> bool:
    """Whether it is written as an id of the Hub is."""
    return re.fullmatch(HUB_ID, name) is not None and not name.startswith(".")


def download(name: str, revision: str | None, wanted: list[str], what: str) -> Path:
    """The folder of the cache with the wanted files of a Hub repository, which is a `what`.

    Raises:
        LiftError: as `find_folder`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        # "*" matches slashes as well: sub-folders hold other formats.
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*"])
        )
    except GatedRepoError as error:
        raise LiftError(
            f"{name!r} is gated on the Hub: accept its terms on its page, then run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise LiftError(f"{name!r} has no revision {revision!r} on the Hub; check its name") from error
    except RepositoryNotFoundError as error:
        raise LiftError(f"no {what} folder {name!r}, and no such {what} on the Hub (or no access)") from error
    except Exception as error:  # the network's own errors differ between versions of huggingface_hub
        at = "" if revision is None else f" at revision {revision!r}"
        raise LiftError(
            f"cannot reach the Hugging Face Hub for {name!r}{at}, and the cache does not hold it "
            f"({type(error).__name__}); give a folder that holds the checkpoint, or download it where there "
            f"is a network (hf download {name}), copy the cache here (HF_HOME) and set HF_HUB_OFFLINE=1"
        ) from error


def commit_of(folder: Path) -> str | None:
    """The commit of a folder inside the Hub's cache, None of any other."""
    return folder.name if folder.parent.name == "snapshots" else None


def member(folder: Path, name: str) -> Path:
    """The file of a folder with that name.

    Links may lead to other files of the folder, and into the blobs of the Hub's cache, which is made of them.

    Raises:
        LiftError: a path in place of a name, no file, or one that lies elsewhere.
    """
    if Path(name).name != name or len(name) > 200 or "\\" in name or "\0" in name:
        raise LiftError(f"{folder}: names the file {name!r:.200}, a path; only its own files are read")
    file = folder / name
    try:
        real, inside = file.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, half a surrogate pair
        raise LiftError(f"{file} is no file ({first_line(error)}); copy it again") from error
    in_cache = real.parent.name == "blobs" and real.parent.parent.name.startswith("models--")
    blobs = folder.parent.parent / "blobs"  # of a snapshot, wherever the cache keeps them
    in_cache = in_cache or (commit_of(folder) is not None and real.parent == blobs.resolve())
    if not (real.is_relative_to(inside) or in_cache):
        raise LiftError(
            f"{file} leads out of its folder, to {real}, which is not read; copy it into the folder"
        )
    if file.exists() and not file.is_file():
        raise LiftError(f"{file} is no file; copy it again")
    return file


# ---------------------------------------------------------------- what it says


def read_json(file: Path) -> dict[str, Any]:
    """A file with a JSON object of finite numbers.

    Raises:
        LiftError: it cannot be read, is no JSON, or larger or deeper than any such file is.
    """
    try:
        content = read_any_json(file, only_finite=True)
    except OSError as error:
        raise LiftError(f"cannot read {file}: {error.strerror or type(error).__name__}") from error
    except LiftError as error:
        raise LiftError(f"{error}; copy it again") from error
    if not isinstance(content, dict):
        raise LiftError(f"{file}: holds a {type(content).__name__}, not a JSON object; copy it again")
    return content


def weight_files(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The names of the files with a checkpoint's weights, and which holds which tensor if an index says so.

    Raises:
        LiftError: no weights, or a shard that is missing or lies elsewhere.
    """
    index, where = folder / INDEX, dict[str, str]()
    if (folder / SINGLE).is_file():
        files = [SINGLE]
    elif index.is_file():
        listed = read_json(member(folder, INDEX))
        if not isinstance(listed.get("metadata"), dict):  # transformers writes to it
            raise LiftError(f"{index}: its metadata is no object; copy it again")
        where = listed.get("weight_map") or {}
        if not isinstance(where, dict) or not where or {type(file) for file in where.values()} != {str}:
            raise LiftError(f"{index}: its weight_map names no shards; copy the whole checkpoint")
        files = sorted(set(where.values()))
        missing = [file for file in files if not member(folder, file).is_file()]
        if missing:
            raise LiftError(
                f"{folder}: the shard {missing[0]!r} that {INDEX} names is missing "
                f"({len(missing)} of {len(files)} are); copy the whole checkpoint"
            )
    else:
        other = sorted(file.name for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))
        found = f"; it has {other[0]}, which is not read: convert it to safetensors" if other else ""
        raise LiftError(f"cannot load the weights of {str(folder)!r}: no {SINGLE} or {INDEX}{found}")
    return files, where


def read_headers(folder: Path) -> dict[str, Header]:
    """Shape and dtype of every tensor of a checkpoint, by name, from the headers of its files.

    Raises:
        LiftError: as `weight_files`; a file that is damaged, or an index that does not fit its shards.
    """
    files, where = weight_files(folder)
    headers: dict[str, Header] = {}
    held = {}
    for file in files:
        for name, header in read_header(member(folder, file)).items():
            headers[name], held[name] = header, file
    for name, file in where.items():
        if held.get(name) != file:
            raise LiftError(f"{folder}: {INDEX} says that {file} holds {name!r}, which it does not")
    if not headers:
        raise LiftError(f"{folder}: {files[0]} holds no tensors; copy the whole checkpoint")
    return headers


def read_header(file: Path) -> dict[str, Header]:
    """Shape and dtype of every tensor of one safetensors file."""
    try:
        with safe_open(file, framework="pt") as tensors:
            parts = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
            kinds = {name: part.get_dtype() for name, part in parts.items()}
            return {
                name: Header(tuple(part.get_shape()), dtype_of(kinds[name], str(file)))
                for name, part in parts.items()
            }
    except (SafetensorError, OSError) as error:
        raise LiftError(
            f"{file}: not a whole safetensors file ({first_line(error)}); copy it again"
        ) from error


def dtype_of(kind: str, where: str) -> torch.dtype:
    """The dtype that safetensors calls `kind`."""
    if kind not in DTYPES:
        raise LiftError(f"{where}: has tensors of type {kind}, which is not read")
    return DTYPES[kind]


# ---------------------------------------------------------------- does it fit


def check_tensors(
    name: str,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, Header],
    *,
    strict: bool = True,
    ignored: frozenset[str] = frozenset(),
) -> None:
    """Compare what a model needs with what its files hold.

    Args:
        name: of the checkpoint, for the message.
        expected: shapes of the model's tensors.
        found: headers of the files.
        strict: also compare the names; transformers' own models have old names that it translates.
        ignored: tensors that may be there and are not used.

    Raises:
        LiftError: naming the first tensor that is missing, has another shape, or is not the model's.
    """
    for tensor, shape in expected.items():
        if tensor in found and found[tensor].shape != shape:
            raise LiftError(
                f"cannot load the weights of {name!r}: {tensor} has shape {list(found[tensor].shape)}, "
                f"config.json makes it {list(shape)}; config.json belongs to another model"
            )
    if not strict:
        return
    if missing := [tensor for tensor in expected if tensor not in found]:
        raise incomplete(name, missing)
    if extra := sorted(set(found) - set(expected) - ignored):
        raise LiftError(
            f"{name!r} has {len(extra)} tensors that its config.json has no place for, the first "
            f"{extra[0]!r}; it computes something else than this model type, or config.json is another's"
        )


def check_stored(name: str, weights: Mapping[str, Header]) -> None:
    """Refuse weights in integers or 8-bit floats: their scales, wherever they are, are not read.

    Raises:
        LiftError: naming the first tensor.
    """
    for tensor, header in weights.items():
        if header.dtype not in WEIGHTS:
            raise LiftError(
                f"cannot load the weights of {name!r}: {tensor} is stored as {dtype_name(header.dtype)}; "
                "quantised checkpoints are not read: take the original, and load_in_8bit or load_in_4bit"
            )


@torch.no_grad()
def check_numbers(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights with NaN or infinity, which would decode to nothing and score 0.

    The extremes of a tensor show both, and are read at the speed of memory (isfinite makes a copy).

    Args:
        name: of what holds them, for the message.
        tensors: their names and they.
    """
    for tensor, values in tensors:
        if values.device.type == "meta" or not values.is_floating_point() or not values.numel():
            continue  # offloaded, or quantised
        if not torch.stack(torch.aminmax(values)).isfinite().all():
            raise LiftError(
                f"cannot load the weights of {name}: {tensor} holds NaN or infinity at "
                f"{dtype_name(values.dtype)}; the file is damaged, or this dtype too narrow for it"
            )


def stored_dtype(headers: Mapping[str, Header]) -> torch.dtype:
    """The dtype that most of the numbers have."""
    sizes: dict[torch.dtype, int] = {}
    for header in headers.values():
        sizes[header.dtype] = sizes.get(header.dtype, 0) + header.numbers
    return max(sizes, key=lambda dtype: sizes[dtype])


def incomplete(name: str, missing: list[str]) -> LiftError:
    """The error for tensors that the files do not hold."""
    return LiftError(
        f"{name!r} lacks {len(missing)} tensors, the first {missing[0]!r}; "
        "the checkpoint is incomplete or its config.json belongs to another model"
    )


def dtype_name(dtype: torch.dtype) -> str:
    """As config.json writes it: "bfloat16"."""
    return str(dtype).removeprefix("torch.")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own reports: what matters in them is checked, and raised in one line."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
