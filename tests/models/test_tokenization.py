"""Tokenizers load without code from the checkpoint, and no id is guessed."""

import json
import shutil

import pytest
from support.checkpoints import DREAM, LLADA, official_shapes, random_tensors, write_checkpoint, write_weights
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.chat import end_of_turn_id, render_chat, stop_ids

# Qwen2's, as its tokenizer.json has it.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are a helpful assistant."
    "<|im_end|>\\n' }}{%- endif %}{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
TEXTS = [
    "What is 12 + 345? Let's see: it's 357.",
    "Füße, naïve, \u65e5\u672c\u8a9e, e\u0301 and \u00e9 \U0001f600",
    "  two  spaces\n\n\tand a tab\r\n",
    "def f(x):\n    return x**2  # done",
]


def reference_tokenizer() -> Tokenizer:
    """Qwen2's pipeline put together by hand, trained on a few lines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=390, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 20, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def dream_source(tmp_path_factory):
    """A folder with the files of Dream-v0-Instruct-7B, at a tiny size."""
    folder = tmp_path_factory.mktemp("dream")
    plain = reference_tokenizer()
    plain.model.save(str(folder))  # vocab.json and merges.txt
    first = plain.get_vocab_size()
    flags = dict(lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
    added = {str(first + n): {"content": token, **flags} for n, token in enumerate(SPECIAL)}
    tokenizer_config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL[1:],
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "bos_token": "<|beginoftext|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "errors": "replace",
        "mask_token": "<|mask|>",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "DreamTokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    # As in the official repository: code that would run if it were trusted.
    (folder / "tokenization_dream.py").write_text("raise SystemExit('remote code ran')")
    ids = {"mask_token_id": first + 4, "eos_token_id": first, "pad_token_id": first, "bos_token_id": first}
    config = DREAM | ids
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder, random_tensors(official_shapes(config)))
    return folder


@pytest.fixture
def dream(dream_source, tmp_path):
    """A copy to change."""
    return shutil.copytree(dream_source, tmp_path / "model")


@pytest.fixture
def llada(tokenizer, tmp_path):
    return write_checkpoint(tmp_path / "model", tokenizer, LLADA)


def change(file, **changes):
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "drop"}))


def error_of(folder, **options):
    with pytest.raises(LiftError) as error:
        load_model(str(folder), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- Dream's


def test_dreams_tokenizer_is_qwen2s_with_its_special_tokens(dream_source):
    _, tokenizer = load_model(str(dream_source))
    reference = reference_tokenizer()
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == reference.encode(text).ids
        assert tokenizer.decode(ids) == reference.decode(ids)
    first = reference.get_vocab_size()
    assert tokenizer("a<|mask|><|mask|>b")["input_ids"] == [
        *reference.encode("a").ids,
        first + 4,
        first + 4,
        *reference.encode("b").ids,
    ]
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL] == list(range(first, first + 5))
    assert tokenizer.decode([first + 4, first], skip_special_tokens=True) == ""


def test_dreams_ids_and_template(dream_source):
    model, tokenizer = load_model(str(dream_source))
    assert (tokenizer.mask_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|mask|>",
        "<|endoftext|>",
        "<|endoftext|>",
    )
    assert model.config.mask_token_id == tokenizer.mask_token_id
    assert render_chat(tokenizer, [{"role": "user", "content": "Hi"}]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert end_of_turn_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert stop_ids(tokenizer) == (end_of_turn_id(tokenizer), tokenizer.eos_token_id)


@pytest.mark.parametrize("named", ["drop", "DreamTokenizer", "Qwen2Tokenizer"])
def test_dreams_tokenizer_under_the_names_it_may_have(dream, named):
    change(dream / "tokenizer_config.json", tokenizer_class=named, auto_map="drop")
    _, tokenizer = load_model(str(dream))
    assert tokenizer(TEXTS[0])["input_ids"] == reference_tokenizer().encode(TEXTS[0]).ids
    assert tokenizer.mask_token == "<|mask|>"


def test_dreams_tokenizer_saved_and_loaded_again(dream, tmp_path):
    model, tokenizer = load_model(str(dream))
    model.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    _, again = load_model(str(tmp_path / "again"))
    for text in TEXTS:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.chat_template == tokenizer.chat_template and again.mask_token_id == tokenizer.mask_token_id


def test_dream_without_its_vocabulary(dream):
    (dream / "merges.txt").unlink()
    assert "no tokenizer in" in error_of(dream)


def test_a_tokenizer_that_needs_code_of_its_own_is_refused(dream):
    auto_map = {"AutoTokenizer": ["tokenization_dream.OtherTokenizer", None]}
    change(dream / "tokenizer_config.json", tokenizer_class="OtherTokenizer", auto_map=auto_map)
    assert (
        "its class 'OtherTokenizer' in tokenizer_config.json is not known, and code of a checkpoint's own"
        in error_of(dream)
    )


# ---- LLaDA's


def test_lladas_mask_token_is_known_from_config_json(llada, tokenizer):
    """The official tokenizer has the token, and does not call it its mask token."""
    change(llada / "tokenizer_config.json", mask_token="drop")
    _, loaded = load_model(str(llada))
    assert loaded.mask_token == "<|mdm_mask|>" and loaded.mask_token_id == tokenizer.mask_token_id
    ids = loaded("<|mdm_mask|>", add_special_tokens=False)["input_ids"]
    assert ids == [tokenizer.mask_token_id]


def test_ids_missing_from_config_json_are_the_tokenizers(llada, tokenizer):
    change(llada / "config.json", mask_token_id="drop", eos_token_id="drop", pad_token_id="drop")
    model, loaded = load_model(str(llada))
    for key in ("mask_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(model.config, key) == getattr(loaded, key) == getattr(tokenizer, key)


def test_padding_falls_back_to_end_of_text(llada, tokenizer):
    change(llada / "config.json", pad_token_id=None)
    change(llada / "tokenizer_config.json", pad_token="drop")
    assert load_model(str(llada))[1].pad_token_id == tokenizer.eos_token_id


def test_given_ids_are_used(llada):
    model, loaded = load_model(str(llada), mask_token_id=7, eos_token_id=5, pad_token_id=8)
    for where in (model.config, loaded):
        assert (where.mask_token_id, where.eos_token_id, where.pad_token_id) == (7, 5, 8)


def test_a_list_of_end_of_text_ids(llada, tokenizer):
    change(llada / "config.json", eos_token_id=[5, tokenizer.eos_token_id])
    assert load_model(str(llada))[1].eos_token_id == tokenizer.eos_token_id


# ---- templates


def test_a_given_template_as_text_and_as_file(llada, tmp_path):
    text = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    file = tmp_path / "template.jinja"
    file.write_text(text)
    for given in (text, str(file)):
        _, loaded = load_model(str(llada), chat_template=given)
        assert render_chat(loaded, [{"role": "user", "content": "Hi"}]) == "[Hi]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no-such-file.jinja", "neither a template (it has no braces) nor a readable file"),
        ("{% for %}", "chat_template: the chat template does not render"),
        ("{{ raise_exception('no') }}", "chat_template: the chat template does not render: no"),
        ("{{ 'constant' }}", "leaves out what the user said"),
    ],
)
def test_a_given_template_that_is_none(llada, given, message):
    assert message in error_of(llada, chat_template=given)


# ---- contradictions


@pytest.mark.parametrize("key", ["mask_token_id", "eos_token_id", "pad_token_id"])
def test_config_and_tokenizer_that_disagree(llada, tokenizer, key):
    change(llada / "config.json", **{key: 9})
    message = error_of(llada)
    assert f"config.json has {key}=9, the tokenizer {getattr(tokenizer, key)}" in message
    assert f"say which with {key}=" in message
    load_model(str(llada), **{key: getattr(tokenizer, key)})


def test_no_mask_token_anywhere(llada):
    change(llada / "config.json", mask_token_id="drop")
    change(llada / "tokenizer_config.json", mask_token="drop")
    message = error_of(llada)
    assert (
        "neither config.json nor the tokenizer has a mask token; give its id with mask_token_id=" in message
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5000, "mask_token_id=5000 (as given) is outside the model's vocabulary of 404"),
        (-1, "is outside the model's vocabulary"),
        (402, "mask_token_id=402 (as given) is not in the tokenizer (400 tokens)"),
        ("<mask>", "mask_token_id='<mask>' must be a whole number"),
        (1, "mask and end-of-text are both id 1"),
    ],
)
def test_given_mask_ids_that_cannot_be(llada, given, message):
    assert message in error_of(llada, mask_token_id=given)


def test_more_tokens_than_embedding_rows(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path / "model", tokenizer, LLADA, vocab_size=350, embedding_size=350)
    assert "the tokenizer's ids go up to 399" in error_of(folder)
    assert "the model has 350 embedding rows" in error_of(folder)
