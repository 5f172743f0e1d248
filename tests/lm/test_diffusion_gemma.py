"""DiffusionGemma: a small random one through `lift_dlm`, against transformers' own `generate`."""

import json
import shutil
from types import SimpleNamespace

import lm_eval
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from transformers import LogitsProcessor, LogitsProcessorList

from lift_harness.errors import LiftError
from lift_harness.keyed_random import keyed_bits
from lift_harness.lm.before_loading import check_call
from lift_harness.lm.diffusion_gemma import SETTINGS, Settings
from lift_harness.lm.model import LiftDLM
from lift_harness.models import load_model

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"), reason="transformers 5.13 has the model"
)
CANVAS = 8
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "num_global_key_value_heads": 1,
    "sliding_window": 32,
    "max_position_embeddings": 512,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 16,
}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
PUBLISHED = {"max_denoising_steps": 6, "t_min": 0.3, "t_max": 0.9, "max_length": 9, "max_new_tokens": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A checkpoint with a generation_config.json; nothing ends its texts but what a test says."""
    folder = tmp_path_factory.mktemp("diffusion-gemma") / "model"
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    vision = VISION | {"num_key_value_heads": 1, "head_dim": 16, "position_embedding_size": 16}
    config = transformers.DiffusionGemmaConfig(
        text_config=TEXT | ids, vision_config=vision, canvas_length=CANVAS
    )
    torch.manual_seed(0)
    model = transformers.DiffusionGemmaForBlockDiffusion(config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sampler = {"entropy_bound": 0.2, "_cls_name": "EntropyBoundSamplerConfig"}
    written = PUBLISHED | {"sampler_config": sampler, "eos_token_id": [tokenizer.eos_token_id]}
    (folder / "generation_config.json").write_text(json.dumps(written))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """lm-eval lists the installed packages after every evaluation, which takes seconds."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def instance(text, repeats=1, **kwargs):
    return Instance("generate_until", {}, (text, kwargs), 0, metadata=("other", 0, repeats))


def answers(lm, *instances):
    """Texts, and the generations they are of."""
    seen = []
    lm.on_response = lambda one, out: seen.append((one, out))
    return lm.generate_until(list(instances), disable_tqdm=True), seen


class Recording(LogitsProcessor):
    def __init__(self):
        self.logits = []

    def __call__(self, input_ids, scores, cur_step):
        self.logits.append((input_ids.shape[1], scores[0].double()))
        return scores


def official(folder, ids, seed, new):
    """transformers' own output, with the logits of each pass."""
    model = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(folder).eval()
    recording = Recording()
    torch.manual_seed(seed)
    out = model.generate(
        torch.tensor([ids]),
        max_new_tokens=new,
        max_length=None,
        logits_processor=LogitsProcessorList([recording]),
    )
    return out.sequences[0, len(ids) :].tolist(), float(out.tokens_per_forward), recording.logits


def test_defaults_are_those_of_transformers():
    theirs = transformers.DiffusionGemmaGenerationConfig._get_default_generation_params()
    theirs["gen_length"] = theirs.pop("max_new_tokens")
    theirs["entropy_bound"] = theirs.pop("sampler_config").entropy_bound
    assert Settings().recorded == theirs | {"seed": 0}


def test_tokens_passes_and_confidences_are_those_of_generate(folder):
    """Of each sample, with its own seed; and torch's own generator stays as it was."""
    lm = LiftDLM(pretrained=str(folder), seed=3)
    one = instance("1 + 2 =", 2, max_gen_toks=3 * CANVAS)
    torch.manual_seed(11)
    _, seen = answers(lm, one, one)
    assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(11)).item()
    for asked, out in seen:
        seed = int(keyed_bits(103, 3, asked.key, asked.sample)) % 2**63
        ids, rate, logits = official(folder, asked.prompt, seed, 3 * CANVAS)
        assert out.ids == ids and len(ids) == 3 * CANVAS
        assert out.forward_passes == len(logits) == round(len(ids) / rate)
        for i, token in enumerate(ids):
            start = len(asked.prompt) + i // CANVAS * CANVAS
            passes = [n for n, (length, _) in enumerate(logits) if length == start]
            likeliest = [int(logits[n][1][i % CANVAS].argmax()) for n in passes]
            sure = logits[passes[-1]][1][i % CANVAS].softmax(-1)[token]
            assert out.confidence[i] == pytest.approx(float(sure), rel=1e-4)
            settled = max((k + 1 for k, best in enumerate(likeliest) if best != token), default=0)
            assert out.step[i] == passes[settled]
    assert seen[0][1].ids != seen[1][1].ids
    counts = lm.get_model_info()["decoding_statistics"]
    assert counts["forward_passes"] == counts["calls"] == sum(out.forward_passes for _, out in seen)
    assert counts["tokens_per_forward_pass"] == round(6 * CANVAS / counts["forward_passes"], 3)


def test_a_text_ends_at_its_end_of_text_and_at_stop_strings(folder, tokenizer):
    """After the canvas that has it: later ones are not decoded."""
    lm = LiftDLM(pretrained=str(folder))
    (whole,), [(_, out)] = answers(lm, instance("1 + 2 =", max_gen_toks=3 * CANVAS))
    second = out.ids[CANVAS : 2 * CANVAS]
    end = next(token for token in second if token not in out.ids[:CANVAS])
    before = out.ids[: out.ids.index(end)]
    fewer = sum(step <= out.step[2 * CANVAS - 1] for step in range(out.forward_passes))
    lm.model.ends = [end]
    _, [(_, ended)] = answers(lm, instance("1 + 2 =", max_gen_toks=3 * CANVAS))
    assert ended.ids == [*before, end] and fewer <= ended.forward_passes < out.forward_passes
    lm.model.ends = [tokenizer.eos_token_id]
    stop = tokenizer.decode(second)
    (text,), [(_, stopped)] = answers(lm, instance("1 + 2 =", max_gen_toks=3 * CANVAS, until=[stop]))
    assert text == whole.split(stop)[0] and stop in whole
    assert len(stopped.ids) == 2 * CANVAS and stopped.forward_passes == ended.forward_passes


def test_through_lm_eval_with_its_own_settings_and_a_cache(folder, tmp_path):
    def evaluate(**more):
        found = lm_eval.simple_evaluate(
            model="lift_dlm",
            model_args=f"pretrained={folder},max_denoising_steps=4,response_cache={tmp_path / 'kept'}",
            tasks=["lift_sudoku_mini"],
            task_manager=TaskManager(include_defaults=False),
            limit=2,
            bootstrap_iters=0,
            gen_kwargs="entropy_bound=0.5",
            **more,
        )
        return found["config"], [sample["resps"] for sample in found["samples"]["lift_sudoku_mini"]]

    config, texts = evaluate()
    used = config["decoding"]["lift_sudoku_mini"]
    expected = {"max_denoising_steps": 4, "entropy_bound": 0.5, "t_min": 0.3, "t_max": 0.9, "gen_length": 40}
    assert {name: used[name] for name in expected} == expected and set(SETTINGS) <= set(used)
    assert not {"schedule", "cache", "steps", "temperature"} & set(used)
    statistics = config["decoding_statistics"]
    assert 0 < statistics["forward_passes"] <= 2 * 5 * 4 and statistics["from_cache"] == 0
    again, same = evaluate()
    assert same == texts and again["decoding_statistics"]["from_cache"] == 2
    assert "forward_passes" not in again["decoding_statistics"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("schedule=threshold", "schedule='threshold': DiffusionGemma's decoder has only gen_length, max_den"),
        ("cache=dual", "cache='dual': DiffusionGemma's decoder has only"),
        ("temperature=0.5", "temperature=0.5: DiffusionGemma's decoder has only"),
        ("t_min=0.9,t_max=0.2", "DiffusionGemma: .*t_max"),
        ("entropy_bound=-1.0", "DiffusionGemma: .*entropy_bound"),
        ("gen_length=0", "gen_length=0 must be a whole number of at least 1"),
        ("peft=somewhere", "peft='somewhere': DiffusionGemma takes no such argument"),
        ("block_size=8", "block_size=8: DiffusionGemma takes no such argument"),
        ("mask_token_id=3", "mask_token_id=3: DiffusionGemma takes no such argument"),
    ],
)
def test_what_it_has_not_is_refused_before_its_weights_are_read(folder, monkeypatch, arguments, said):
    monkeypatch.setattr("lift_harness.lm.diffusion_gemma.read_weights", lambda *args, **options: 1 / 0)
    call = {
        "model": "lift_dlm",
        "model_args": f"pretrained={folder},{arguments}",
        "tasks": ["lift_sudoku_mini"],
    }
    with pytest.raises(LiftError, match=said) as error:
        check_call(call)
    assert "\n" not in str(error.value)


def test_only_evaluations_take_it(folder, monkeypatch):
    with pytest.raises(LiftError, match="DiffusionGemma is only evaluated"):
        load_model(str(folder))
    lm = LiftDLM(pretrained=str(folder))
    for kind, arguments in (("loglikelihood", ("1 +", " 2")), ("loglikelihood_rolling", ("1 + 2",))):
        with pytest.raises(LiftError, match="DiffusionGemma has no mask token, and its likelihood is not"):
            getattr(lm, kind)([Instance(kind, {}, arguments, 0, metadata=("other", 0, 1))], disable_tqdm=True)
    with pytest.raises(LiftError, match="unknown decoding setting 't_min'"):
        call = {"model": "lift_dlm", "model_args": "pretrained=lift-tiny,t_min=0.2", "tasks": ["lift_mini"]}
        check_call(call)
    old = SimpleNamespace(__version__="4.57.6")
    monkeypatch.setattr("lift_harness.lm.diffusion_gemma.transformers", old)
    with pytest.raises(LiftError, match=r"DiffusionGemma needs transformers 5\.13, this is 4\.57\.6"):
        LiftDLM(pretrained=str(folder))


@pytest.mark.parametrize("wrong", [{"sampler_config": "fast"}, {"eos_token_id": ["</s>"]}])
def test_a_generation_config_that_is_none_is_one_line(folder, tmp_path, wrong):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(wrong))
    with pytest.raises(LiftError, match="generation_config.json: its sampler_config is no mapping, or its"):
        LiftDLM(pretrained=str(tmp_path / "model"))


def test_logits_that_are_no_numbers_are_an_error(folder):
    lm = LiftDLM(pretrained=str(folder))
    lm.model.inner.lm_head.weight.data[5] = torch.nan
    with pytest.raises(LiftError, match="other doc 0: the model's logits are NaN or infinite"):
        answers(lm, instance("1 + 2 =", max_gen_toks=CANVAS))
