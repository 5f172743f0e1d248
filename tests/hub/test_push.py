"""`lift-harness push`: what arrives, and what is refused before anything does."""

import json
import re

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file
from support.hub_server import TOKEN

from lift_harness.cli import main
from lift_harness.hub.card import Training, card
from lift_harness.hub.push import prepare, push
from lift_harness.models import load_model
from lift_harness.pipeline.recipe import load_recipe


def typed(monkeypatch, capsys, *words):
    """(exit code, standard output, standard error) of a command."""
    monkeypatch.setattr("sys.argv", ["lift-harness", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    return stopped.value.code or 0, out, err


def test_what_arrives_is_what_was_trained(finished, hub, monkeypatch, capsys):
    code, out, err = typed(monkeypatch, capsys, "push", finished, "me/tiny")
    assert code == 0, err
    files = hub.repos["me/tiny"]["main"]
    adapter = finished / "lift-h3/train/adapter"
    weights = ("adapter_config.json", "adapter_model.safetensors")
    assert sorted(files) == ["README.md", *weights, "report.html"]
    assert {name: files[name] for name in weights} == {
        name: (adapter / name).read_bytes() for name in weights
    }
    assert files["report.html"].startswith(b"<!DOCTYPE html>") and b"lift-h3" in files["report.html"]
    assert hub.private == {"me/tiny"}
    assert re.search(rf"^pushed: +{hub.endpoint}/me/tiny/commit/\w+$", err, flags=re.MULTILINE)
    assert err.endswith("load it: lift-harness chat --model lift-tiny --peft me/tiny\n")
    assert f"{(adapter / weights[1]).stat().st_size:,} bytes  {weights[1]}\n" in out


def test_the_card_says_what_the_results_say(finished, hub):
    push(finished / "lift-h3", "me/tiny", public=True)
    assert hub.private == set()
    shown = ModelCard(hub.repos["me/tiny"]["main"]["README.md"].decode())
    scores = json.loads((finished / "results.json").read_text())["scores"]["lift-h3"]["lift_sudoku_mini"]
    found = {result.metric_type: result for result in shown.data.eval_results}
    assert found.keys() == {"acc", "solved"}
    for metric, result in found.items():
        assert result.metric_value == pytest.approx(100 * scores[metric]["value"], abs=0.005)
        low, high = result.metric_args["interval_95"]
        assert low <= result.metric_value <= high and result.metric_args["problems"] == 1
        assert f"{result.metric_value:.1f} ({low:.1f}–" in shown.text
    assert shown.data.library_name == "peft" and "base_model" not in shown.data.to_dict()
    assert "objective:" in shown.text and "name: lift-h3" in shown.text and "name: vanilla" not in shown.text


@pytest.mark.parametrize(
    ("model", "metadata"), [("GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-8B-Instruct"), ("./x/y", None)]
)
def test_a_base_of_the_hub_is_named_to_the_hub(model, metadata):
    recipe = load_recipe("llada-8b-s1k-lift3", [f"model={model}"])
    head = ModelCard(card(Training(recipe, recipe.methods[0], 7), "me/x")).data
    assert (
        head.base_model == metadata and head.datasets == ["simplescaling/s1K"] and head.eval_results is None
    )


def test_a_base_whose_files_name_no_blocks_is_loaded_with_them():
    recipe = load_recipe("a2d-qwen3-0.6b-gsm8k")
    text, whole = card(Training(recipe, recipe.methods[0], 0), "me/x"), {"training.lora": None}
    assert "--peft me/x --model_args block_size=32\n" in text
    assert ",peft=me/x,block_size=32 --tasks" in text and 'peft="me/x", block_size=32)' in text
    recipe = load_recipe("a2d-qwen3-0.6b-gsm8k", values=whole)  # in the files of the checkpoint
    assert "block_size=32" not in card(Training(recipe, recipe.methods[0], 0), "me/x")


def test_texts_of_a_recipe_end_no_block_and_make_no_html():
    bad = "```\n\n<script>x</script> | [a](b)\u202e\x1b[31m\n---\n````yaml"
    recipe = load_recipe("quickstart", values={"description": bad, "model": "a`b\nc"})
    text = card(Training(recipe, recipe.methods[0], 0))
    before, _, block = text.partition("## How it was trained")
    assert re.findall(r"(?<!\\)<script>|(?<!\\)\[a\]", before) == []
    assert "<script>" in before and "\u202e" not in text and "\x1b" not in text
    fence = re.search(r"^(`+)yaml$", block, flags=re.MULTILINE)[1]
    assert block.count(f"\n{fence}\n") == 1 and block.endswith(f"\n{fence}\n") and len(fence) > 4


def test_a_pushed_adapter_is_loaded_by_its_name(finished, hub):
    _, address = push(finished, "me/tiny")
    commit = address.rpartition("/")[2]
    local = load_model("lift-tiny", peft=str(finished / "lift-h3/train/adapter"))[0].state_dict()
    for name in ("me/tiny", f"me/tiny@{commit}"):
        found = load_model("lift-tiny", peft=name)[0].state_dict()
        assert all(torch.equal(found[key], value) for key, value in local.items())


def test_all_weights_of_one_seed_are_a_checkpoint(trained, hub):
    pushed, _ = push(trained / "lift-h3/seed-1", "me/whole")
    files = hub.repos["me/whole"]["main"]
    weights = trained / "lift-h3/seed-1/train/checkpoint"
    assert files["model.safetensors"] == (weights / "model.safetensors").read_bytes()
    assert "## Results" not in pushed.card and "seed 1" in pushed.card and "seeds: 1" in pushed.card
    loaded = load_model("me/whole")[0].state_dict()
    expected = load_file(weights / "model.safetensors")
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


def test_a_dry_run_verifies_and_sends_nothing(finished, hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    code, out, err = typed(monkeypatch, capsys, "push", finished, "me/tiny", "--dry-run")
    assert code == 0, err
    assert hub.asked == [] and "nothing was sent" in out
    assert prepare(finished, "me/tiny").card in out
    for name, size in prepare(finished, "me/tiny").sizes.items():
        assert f"{size:,} bytes  {name}\n" in out


def test_update_sends_to_what_is_there(finished, hub):
    hub.add("me/tiny", {"notes.txt": b"mine", "README.md": b"old"})
    push(finished, "me/tiny", update=True)
    files = hub.repos["me/tiny"]["main"]
    assert files["notes.txt"] == b"mine" and files["README.md"] != b"old" and len(files) == 5


# ---------------------------------------------------------------- refused


def no_token(hub, run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")


def taken(hub, run, monkeypatch):
    hub.add("me/tiny", {"x": b""})


def not_mine(hub, run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}x")


def broken(hub, run, monkeypatch):
    hub.broken.add("/commit/")


def nobody_there(hub, run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def damaged_weights(hub, run, monkeypatch):
    file = run / "lift-h3/train/adapter/adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"0000")


def linked_elsewhere(hub, run, monkeypatch):
    file = run / "lift-h3/train/adapter/adapter_config.json"
    file.rename(run.parent / "elsewhere.json")
    file.symlink_to(run.parent / "elsewhere.json")


def damaged_answers(hub, run, monkeypatch):
    (file,) = (run / "base/eval/one").glob("samples_*.jsonl")
    file.write_text(file.read_text().replace('"acc"', '"acd"'))


def other_results(hub, run, monkeypatch):
    file = run / "results.json"
    file.write_text(file.read_text().replace("0.0", "0.9", 1))


def unfinished(hub, run, monkeypatch):
    (run / "lift-h3/train.json").unlink()


@pytest.mark.parametrize(
    ("harm", "words", "said", "calls"),
    [
        (no_token, ["me/tiny"], "no token for the Hub: run `hf auth login`", 0),
        (taken, ["me/tiny"], "(409): there is such a repository already; --update", 1),
        (not_mine, ["me/tiny"], "(401): the token may not write there", 1),
        (None, ["you/tiny"], "(403): the token may not write there", 1),
        (None, ["me/none", "--update"], "(404): there is no such repository; without --update", None),
        (broken, ["me/tiny"], "me/tiny was made and is empty: once it is put right, --update", None),
        (nobody_there, ["me/tiny"], "cannot reach the Hub for 'me/tiny' (", 0),
        (damaged_weights, ["me/tiny"], "adapter_model.safetensors is not as it was written; it is not", 0),
        (linked_elsewhere, ["me/tiny"], "adapter_config.json leads out of its folder", 0),
        (damaged_answers, ["me/tiny"], ".jsonl is not as it was written; it is not pushed", 0),
        (other_results, ["me/tiny"], "results.json is not the one that the run wrote", 0),
        (unfinished, ["me/tiny"], "train.json: no record of a finished stage", 0),
        (None, ["tiny"], "'tiny' is no repository's name; write owner/name", 0),
        (None, ["me/tiny", "--public", "--update"], "--public is of a new repository", 0),
    ],
)
def test_what_cannot_be_pushed_is_one_line(harm, words, said, calls, copied, hub, monkeypatch, capsys):
    if harm:
        harm(hub, copied, monkeypatch)
    code, out, err = typed(monkeypatch, capsys, "push", copied, *words)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and said in err
    sent = [call for call in hub.asked if call.startswith("POST /api/repos") or "/commit/" in call]
    assert calls is None or len(sent) == calls
    assert not any(
        "adapter_model.safetensors" in files for repo in hub.repos.values() for files in repo.values()
    )
    assert not (copied / ".lock").exists()


def test_a_place_that_is_no_training(finished, trained, tmp_path, hub, monkeypatch, capsys):
    for place, said in {
        tmp_path: "is no run of train-eval, and in none",
        finished / "lift-h4": "has no training 'lift-h4'; did you mean lift-h3?",
        trained / "lift-h3": "holds 2 trainings; give one of them: ",
        trained: "holds 2 trainings; give one of them: ",
    }.items():
        code, _, err = typed(monkeypatch, capsys, "push", place, "me/tiny")
        assert code == 2 and said in err and err.count("\n") == 1
    assert hub.asked == []


def test_an_error_of_the_library_is_what_the_lines_are_made_of(hub):
    """The server stands for the Hub only if the library takes its answers for the Hub's."""
    from huggingface_hub import HfApi

    with pytest.raises(HfHubHTTPError) as error:
        HfApi().create_repo("you/x")
    assert error.value.response.status_code == 403
