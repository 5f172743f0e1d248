"""What the tests share: no network, repeatable arithmetic, and tiny models in the official format."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
# One thread: these models are too small for two, and on a busy machine two wait for each other (300 s in
# place of 4 for a golden transcript test, beside a training). In the environment, so that it holds for the
# processes that tests start: sums of two threads differ from those of one in the last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from support.llada_reference import write_checkpoint
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def repeatable():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # On a GPU some operations (cumsum) have no deterministic form.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    transformers_logging.disable_progress_bar()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout: reference files are not here")
    return folder


@pytest.fixture(scope="session")
def llada_folder(tmp_path_factory):
    """llada_folder(shape): a random checkpoint in the official format (`llada_reference.SHAPES`)."""
    root, made = tmp_path_factory.mktemp("llada"), {}

    def folder(shape: str = "mha", seed: int = 0) -> Path:
        if (shape, seed) not in made:
            made[shape, seed] = root / f"{shape}-{seed}"
            write_checkpoint(made[shape, seed], shape, seed)
        return made[shape, seed]

    return folder


@pytest.fixture(scope="session")
def llada(llada_folder):
    """llada(shape): that checkpoint as a new model in eval mode, float32."""
    from lift_harness.models.modeling_llada import LLaDAModelLM

    def model(shape: str = "mha", seed: int = 0) -> LLaDAModelLM:
        return LLaDAModelLM.from_pretrained(llada_folder(shape, seed)).eval()

    return model


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer of `lift-tiny`, trained on a little arithmetic."""
    from lift_harness.models.tiny import train_tokenizer
    from lift_harness.training.sources.synthetic import generated

    records = generated("arithmetic", 64, seed=5)
    texts = [text for record in records for text in (record.user, record.response)]
    return train_tokenizer(texts, vocab_size=400)


@pytest.fixture(scope="session")
def tiny_model(tokenizer):
    """tiny_model(seed): a small untrained model with the ids of `tokenizer`."""
    from lift_harness.models.modeling_llada import LLaDAModelLM
    from lift_harness.models.tiny import tiny_config

    def model(seed: int = 0) -> LLaDAModelLM:
        torch.manual_seed(seed)
        return LLaDAModelLM(tiny_config(tokenizer, d_model=64, n_layers=2, mlp_hidden_size=96))

    return model
