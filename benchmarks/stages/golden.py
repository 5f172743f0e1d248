"""Logits and transcripts of the published codes (../shared/golden/README.md), on this device."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM
from stages.bench import Bench, Figures

MODELS = {"llada-tiny": LLaDAModelLM, "llada-tiny-gqa": LLaDAModelLM, "dream-tiny": DreamModel}
SETTINGS = ("gen_length", "block_length", "steps", "cfg_scale", "threshold", "factor")
MEASURE = {"maskgit_plus": "low_confidence", "entropy": "entropy", "topk_margin": "margin"}
ROOT = Path(__file__).resolve().parents[2]


def golden(bench: Bench) -> None:
    """Every small model, in both dtypes: in float32 logits to 5e-4 and transcripts exactly are wanted."""
    folder = golden_folder()
    if folder is None:
        bench.send("all", {"skipped": "no .bundle/golden: run --make-bundle first"})
        return
    for name in MODELS:
        for dtype_name, dtype in bench.dtypes.items():
            load = partial(load_golden, folder / name, dtype, bench.device)
            bench.attempt(f"{name}, {dtype_name}, logits", logits, folder / name, load)
            bench.attempt(f"{name}, {dtype_name}, transcripts", transcripts, folder / name, load, bench)


def golden_folder() -> Path | None:
    """The bundle's copy, or the reference material beside the checkout."""
    places = (ROOT / ".bundle" / "golden", ROOT.parent / "shared" / "golden")
    return next((place for place in places if all((place / name).is_dir() for name in MODELS)), None)


def load_golden(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """A model of the golden files."""
    return MODELS[folder.name].from_pretrained(folder, dtype=dtype).to(device).eval()


@torch.inference_mode()
def logits(folder: Path, load: Any) -> Figures:
    """Greatest difference from the stored logits, which span about +-16, and the relative one."""
    model, stored = load(), load_file(folder / "logits.safetensors")
    # Dream's are stored as the model returns them.
    kind = "logits" if "len7.logits" in stored else "logits_raw"
    greatest, squares, of = 0.0, 0.0, 0.0
    for name in ("len7", "len33", "len64", "leftpad", "rightpad"):
        if f"{name}.{kind}" not in stored:
            continue
        mask = stored.get(f"{name}.attention_mask")
        inputs = [
            None if part is None else part.to(model.device) for part in (stored[f"{name}.input_ids"], mask)
        ]
        ours, theirs = model(*inputs).logits.float().cpu(), stored[f"{name}.{kind}"]
        real: Tensor = torch.ones(ours.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
        error = (ours - theirs)[real]
        greatest = max(greatest, float(error.abs().max()))
        squares, of = squares + float(error.square().sum()), of + float(theirs[real].square().sum())
    return {"greatest_difference": greatest, "relative": (squares / of) ** 0.5}


def transcripts(folder: Path, load: Any, bench: Bench) -> Figures:
    """How many decodings end in the published ids, and how many commit them in the published order."""
    model, stored = load(), json.loads((folder / "decode.json").read_text())
    chosen = [t for t in stored["single"] if t.get("alg") != "origin"][:: bench.small(40, 1)]
    config_of = dream_config if "dream" in folder.name else llada_config
    requests = [Request(tuple(stored["prompts"][t["prompt"]]), config_of(t)) for t in chosen]
    outs = run(model, requests, mask_id=stored["mask_token_id"], batch_size=48)
    same_ids = same_order = 0
    for transcript, request, out in zip(chosen, requests, outs, strict=True):
        first = len(request.ids)
        same_ids += [*request.ids, *out.ids] == transcript["final_ids"]
        order = [[first + i for i, _, _ in step] for step in out.history()]
        same_order += order == [step for step in transcript["unmask_order"] if step]
    return {"transcripts": len(chosen), "same_ids": same_ids, "same_order": same_order}


def llada_config(transcript: dict[str, Any]) -> DecodingConfig:
    """The settings of a transcript of LLaDA's decoders."""
    values = {name: transcript[name] for name in SETTINGS if transcript.get(name) is not None}
    schedule = next((name for name in ("threshold", "factor") if name in values), "fixed")
    last = transcript["algo"].split("_")[-1]
    cache = last if last in ("prefix", "dual") else "none"
    return DecodingConfig(**values, schedule=schedule, cache=cache, early_stop=False)


def dream_config(transcript: dict[str, Any]) -> DecodingConfig:
    """The settings of a transcript of Dream's decoders."""
    length = transcript.get("gen_length") or transcript["max_new_tokens"]
    if transcript["alg"] == "confidence_threshold":
        settings: dict[str, Any] = dict(schedule="threshold", threshold=transcript["threshold"])
    else:
        settings = dict(schedule="dream", remasking=MEASURE[transcript["alg"]])
    if transcript["algo"] == "diffusion_generate":
        settings |= dict(block_length=length, eps=transcript["eps"], top_k=transcript["top_k"] or 0)
        settings |= dict(confidence_from="sampling")  # with top_k the reference renormalises before it scores
    else:
        settings |= dict(block_length=transcript["block_length"], cache=transcript["algo"].split("_")[-1])
    return DecodingConfig(gen_length=length, steps=transcript["steps"], early_stop=False, **settings)
