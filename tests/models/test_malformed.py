"""Whatever stands in a checkpoint's small files: it loads, or it is refused with one line."""

import copy
import json
import shutil
import struct
from pathlib import Path
from zlib import crc32

import pytest
from support.checkpoints import LLADA, write_checkpoint

from lift_harness.doctor.checkpoint import examine
from lift_harness.errors import LONGEST, LiftError
from lift_harness.models import load_model
from lift_harness.models.without_weights import tokenizer_of

NESTED = json.loads('{"a":' * 40 + "1" + "}" * 40)
VALUES = [None, True, "x", "", -1, 0, 3.5, float("nan"), float("inf"), 10**12, 10**40, [], {}, [1, "a", None],
          {"a": {"b": 1}}, [[1]], "../x", NESTED, "a" * 5_000]  # fmt: skip
TEXTS = [b"", b"[]", b"null", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000]
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A checkpoint in two shards and an adapter with every table that peft has."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("sound")
    tokenizer, _ = tokenizer_of("lift-tiny")
    write_checkpoint(root / "base", tokenizer, LLADA, shards=2, vocab_size=700, embedding_size=700)
    extra = {"rank_pattern": {"0.q_proj": 4}, "alpha_pattern": {"0.q_proj": 4}, "modules_to_save": ["ln_f"]}
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **extra)
    get_peft_model(load_model(str(root / "base"))[0], settings).save_pretrained(root / "adapter")
    return root


def places(value, path=()):
    """Paths to the fields of a JSON value: of large tables and lists the first ones."""
    pairs = list(value.items())[:30] if isinstance(value, dict) else []
    pairs += list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, part in pairs:
        yield (*path, key)
        yield from places(part, (*path, key))


def mutated(original, path, value):
    """A copy with another value in one place; without that place for the value `places`."""
    whole = copy.deepcopy(original)
    holder = whole
    for key in path[:-1]:
        holder = holder[key]
    if value is places:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return json.dumps(whole).encode()


def attempts(file):
    """Contents of a file, with what was done to it: a value for each field, and each field left out."""
    original = json.loads(file.read_text())
    yield from ((text[:20], text) for text in TEXTS)
    for path in places(original):
        value = VALUES[crc32(repr(path).encode()) % len(VALUES)]
        yield (path, repr(value)[:40]), mutated(original, path, value)
        yield (path, "left out"), mutated(original, path, places)


def survives(folder, adapter=None):
    """Look at a checkpoint in every way that reads its small files."""
    peft = None if adapter is None else str(adapter)
    report = examine(str(folder), peft=peft, memory=1.0)
    assert all(report.tables()) and all("\n" not in problem for problem in report.problems)
    try:
        load_model(str(folder), peft=peft, device="cpu")
    except LiftError as error:
        assert "\n" not in str(error) and len(str(error)) <= LONGEST + 20
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("where", "name", "every"), [
    ("base", "config.json", 2), ("base", "tokenizer_config.json", 2), ("base", "tokenizer.json", 6),
    ("base", INDEX, 1), ("adapter", "adapter_config.json", 5),
])  # fmt: skip
def test_no_field_of_a_small_file_is_a_traceback(where, name, every, sound, tmp_path):
    changed = Path(shutil.copytree(sound / where, tmp_path / "changed"))
    both = (changed, None) if where == "base" else (sound / "base", changed)
    assert survives(*both)
    outcomes = set()
    for what, content in list(attempts(sound / where / name))[::every]:
        (changed / name).write_bytes(content)
        try:
            outcomes.add(survives(*both))
        except Exception as error:
            raise AssertionError(f"{name}: {what}") from error
    assert outcomes == {True, False} or name == INDEX


HEADER = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize("field", [
    {"dtype": "F4"}, {"dtype": 5}, {"dtype": "x"}, {"dtype": "C64"}, {"shape": [-4]}, {"shape": "x"},
    {"shape": [2**62, 2**62]}, {"shape": [10**30]}, {"shape": []}, {"data_offsets": [16, 0]},
    {"data_offsets": [0, 2**63]}, {"data_offsets": [0]}, {"data_offsets": "x"}, {"data_offsets": [-16, 0]},
    {"shape": NESTED},
], ids=str)  # fmt: skip
def test_no_header_of_weights_is_a_traceback(field, sound, tmp_path):
    changed = Path(shutil.copytree(sound / "base", tmp_path / "changed"))
    file = changed / json.loads((changed / INDEX).read_text())["weight_map"]["model.transformer.wte.weight"]
    header = json.dumps({"model.transformer.wte.weight": HEADER | field}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    assert not survives(changed)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**63], ids=str)
def test_no_length_of_a_header_is_a_traceback(length, sound, tmp_path):
    changed = Path(shutil.copytree(sound / "base", tmp_path / "changed"))
    for file in changed.glob("*.safetensors"):
        file.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(16))
    assert not survives(changed)
