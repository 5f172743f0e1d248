"""Nothing of a checkpoint, an adapter or a data folder is run, and nothing is asked, whatever is in them.

Each place from which transformers, tokenizers, peft, torch or datasets could take code holds a canary, which
leaves a file when it is imported, executed or unpickled. The commands run in one process, for their imports.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SONG = "import os; open(os.environ['CANARY'], 'a').write('{}\\n')\n"
PYTHON = (
    "__init__", "configuration_x", "custom_generate/__init__", "custom_generate/generate", "dataset",
    "generate", "handler", "kernel/__init__", "modeling_llada", "modeling_x", "pipeline", "processing_x",
    "setup", "tokenization_x", "train",
)  # fmt: skip
AUTO_MAP = {
    "AutoConfig": "configuration_x.X",
    "AutoModel": "modeling_x.X",
    "AutoModelForMaskedLM": "modeling_x.X",
    "AutoModelForCausalLM": "modeling_x.X",
    "AutoProcessor": "processing_x.X",
    "AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"],
}
COMMANDS = {
    "doctor": ["doctor", "{model}"],
    "doctor of the adapter": ["doctor", "{model}", "--peft", "{adapter}"],
    "generate": ["generate", "hi", "--model", "{model}", "--set", "gen_length=8", "--set", "steps=2"],
    "eval": ["eval", "--tasks", "lift_sudoku_mini", "--limit", "1", "--model", "{model}",
             "--peft", "{adapter}", "--gen_kwargs", "gen_length=40,steps=2", "--output", "{out}/eval"],
    "merge": ["merge", "{model}", "{adapter}", "{out}/merged"],
    "preview": ["data", "preview", "{data}/../recipe.yaml"],
    "train": ["train", "{data}/../recipe.yaml", "--output", "{out}/run"],
}  # fmt: skip
RUN = """
import json, sys
from lift_harness.cli import main
for name, command in json.load(open(sys.argv[1])).items():
    sys.argv = ["lift-harness", *command]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        code = repr(error)
    print(f"@{name}={code or 0}", flush=True)
"""


class Canary:
    """Sings when it is unpickled."""

    def __reduce__(self):
        return exec, (SONG.format("pickle"),)


def infest(folder: Path) -> None:
    """Canaries under every name that a library could look for."""
    for name in PYTHON:
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SONG.format(name))
    (folder / "custom_generate" / "requirements.txt").write_text("nothing\n")
    pickled = pickle.dumps(Canary())
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "vocab.pkl", ".metadata", "corda.pt"):
        (folder / name).write_bytes(pickled)
    torch.save({"weight": Canary()}, folder / "consolidated.pth")
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"x": "pytorch_model.bin"}})
    )
    for name in ("processor_config", "preprocessor_config", "feature_extractor", "image_processor"):
        (folder / f"{name}.json").write_text(json.dumps({"auto_map": AUTO_MAP, "processor_class": "X"}))


def change(file: Path, **changes) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | changes))


@pytest.fixture
def places(tmp_path):
    """A copy of lift-tiny, an adapter of it and a folder with data, all infested."""
    from lift_harness.models.checkpoint import BUILT_IN

    model, adapter, data, out = (tmp_path / name for name in ("model", "adapter", "data", "out"))
    shutil.copytree(BUILT_IN["lift-tiny"], model)
    out.mkdir()
    for folder in (model, adapter, data):
        folder.mkdir(exist_ok=True)
        infest(folder)
    change(model / "config.json", auto_map=AUTO_MAP)
    change(model / "tokenizer_config.json", auto_map=AUTO_MAP, processor_class="X", vocab_file="../data/x",
           tokenizer_file="../data/tokenizer.json", fast_tokenizer_files=["tokenizer.1.0.json"],
           init_inputs=["../data/x"], trust_remote_code=True, _from_auto=True)  # fmt: skip
    generation = {"custom_generate": str(model), "auto_map": AUTO_MAP, "trust_remote_code": True}
    change(model / "generation_config.json", **generation)
    change(model / "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(adapter))
    (model / "adapter_model.bin").write_bytes(pickle.dumps(Canary()))
    save_file({"x": torch.zeros(1)}, model / "shard-00000-model-00001-of-00001.safetensors")
    change(adapter / "adapter_config.json", peft_type="LORA", r=2, lora_alpha=4, target_modules=["q_proj"],
           layers_to_transform=[0], auto_map=AUTO_MAP, base_model_name_or_path=str(model),
           auto_mapping={"base_model_class": "X", "parent_library": "modeling_x"}, megatron_core="modeling_x",
           corda_config=dict.fromkeys(("cache_file", "covariance_file"), str(adapter / "corda.pt")),
           lora_ga_config={"cache_file": str(adapter / "corda.pt")},
           runtime_config={"ephemeral_gpu_offload": True})  # fmt: skip
    layer = "base_model.model.model.transformer.blocks.0.q_proj"
    width = json.loads((model / "config.json").read_text())["d_model"]
    tensors = {
        f"{layer}.lora_A.weight": torch.zeros(2, width),
        f"{layer}.lora_B.weight": torch.zeros(width, 2),
    }
    save_file(tensors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Canary()))
    rows = [{"question": f"{n}+1=?", "answer": f"So #### {n + 1}"} for n in range(8)]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "data.py").write_text(SONG.format("data.py"))
    for file in data.glob("*.json"):
        file.unlink()  # these would be rows
    (data.parent / "recipe.yaml").write_text(f"""
name: canary
model: {model}
data: [{{source: {data}}}]
methods: [{{name: vanilla, objective: {{name: vanilla}}}}]
training: {{max_steps: 1, batch_size: 2, lora: {{r: 2, target_modules: [q_proj]}}}}
""")
    return {name: str(folder) for name, folder in
            {"model": model, "adapter": adapter, "data": data, "out": out}.items()}  # fmt: skip


def run(commands, places, tmp_path, stdin):
    """Exit codes by command, all output, and what sang."""
    filled = {name: [part.format(**places) for part in command] for name, command in commands.items()}
    (tmp_path / "commands.json").write_text(json.dumps(filled))
    sung = tmp_path / "sung"
    for name in PYTHON:  # as a user has it who works inside the folder
        (Path(places["out"]) / Path(name).name).with_suffix(".py").write_text(SONG.format("in the cwd"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "commands.json")],
        input=stdin,
        stdin=None if stdin else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "CANARY": str(sung)},
        cwd=places["model"],
        timeout=300,
    )
    output = done.stdout + done.stderr
    codes = dict(line[1:].split("=") for line in done.stdout.splitlines() if line.startswith("@"))
    return codes, output, sung.read_text() if sung.exists() else ""


def test_nothing_of_a_sound_checkpoint_is_run(places, tmp_path):
    """All commands do their work: what could be run is passed by."""
    codes, output, sung = run(COMMANDS, places, tmp_path, "y\n" * 100)
    assert sung == "", sung
    assert codes == dict.fromkeys(COMMANDS, "0"), output
    assert "run the custom code" not in output and "trust_remote_code" not in output


HOSTILE = {
    "a model as tokenizer": ("tokenizer_config.json", {"tokenizer_class": "AutoModelForCausalLM"}),
    "an auto class": ("tokenizer_config.json", {"tokenizer_class": "AutoTokenizer"}),
    "a processor": ("tokenizer_config.json", {"tokenizer_class": "AutoProcessor"}),
    "a class of its own": ("tokenizer_config.json", {"tokenizer_class": "tokenization_x.X"}),
    "a kernel": ("config.json", {"attn_implementation": "someone/kernel"}),
    "a kernel, privately": ("config.json", {"_attn_implementation": "someone/kernel:f"}),
    "a kernel for a part": (
        "config.json",
        {"attn_implementation": {"": "sdpa", "text_config": "someone/kernel"}},
    ),
    "a kernel in a part": ("config.json", {"text_config": {"attn_implementation": "someone/kernel"}}),
    "kernels": ("config.json", {"use_kernels": True}),
    "experts of a kernel": ("config.json", {"experts_implementation": "someone/kernel"}),
    "other weights": ("config.json", {"transformers_weights": "../data/model.safetensors"}),
    "a quantiser": ("config.json", {"quantization_config": {"quant_method": "modeling_x"}}),
    "a model type of its own": ("config.json", {"model_type": "x"}),
}


ASKING = ("a model as tokenizer", "a class of its own", "a kernel")  # at which transformers would ask


@pytest.mark.parametrize("names", [HOSTILE, ASKING], ids=["answered with yes", "nobody there"])
def test_what_asks_for_code_is_refused_without_a_question(names, places, tmp_path):
    commands = {}
    for name in names:
        folder = tmp_path / name.replace(" ", "-")
        shutil.copytree(places["model"], folder)
        change(folder / HOSTILE[name][0], **HOSTILE[name][1])
        commands[f"doctor: {name}"] = ["doctor", str(folder)]
        if name in ASKING:
            commands[f"generate: {name}"] = ["generate", "hi", "--model", str(folder)]
    pickled, megatron = (Path(shutil.copytree(places["adapter"], tmp_path / name)) for name in ("pt", "meg"))
    (pickled / "adapter_model.safetensors").unlink()
    commands["a pickled adapter"] = ["generate", "hi", "--model", "{model}", "--peft", str(pickled)]
    change(megatron / "adapter_config.json", megatron_config={"tensor_model_parallel_size": 1})
    commands["megatron"] = ["merge", "{model}", str(megatron), "{out}/merged"]
    codes, output, sung = run(commands, places, tmp_path, "y\n" * 100 if names is HOSTILE else None)
    assert sung == "", sung
    assert codes == dict.fromkeys(commands, "2"), output
    assert "Traceback" not in output and "run the custom code" not in output
    assert output.count("its class 'AutoModelForCausalLM' in tokenizer_config.json is not known") == 2


def test_the_canaries_sing(places, tmp_path, monkeypatch):
    """What the tests above look for would be seen."""
    monkeypatch.setenv("CANARY", str(tmp_path / "sung"))
    with pytest.raises(pickle.UnpicklingError):  # what it makes is no tensor
        torch.load(Path(places["adapter"]) / "adapter_model.bin")
    assert not (tmp_path / "sung").exists()
    pickle.loads((Path(places["adapter"]) / "adapter_model.bin").read_bytes())
    exec((Path(places["model"]) / "modeling_x.py").read_text())
    assert len((tmp_path / "sung").read_text().split()) == 2
