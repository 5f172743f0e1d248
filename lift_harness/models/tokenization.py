"""A checkpoint's tokenizer, without running code from it, and the ids that it and config.json agree on.

Nothing is guessed: what the two say must agree, and what neither says must be given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2TokenizerFast

from lift_harness.errors import LiftError, first_line
from lift_harness.models.bare_folder import bare_tokenizer
from lift_harness.models.chat import render_chat
from lift_harness.models.checkpoint import member, quiet, read_json

# What the published checkpoints call their mask where neither config.json nor the tokenizer says which it is:
# LLaDA2, LLaDA-MoE and dllm's; SDAR; Fast-dLLM v2; iLLaDA.
MASKS = ("<|mask|>", "<MASK>", "|<MASK>|", "<[MASK]>")

# Classes that a checkpoint's repository defines, and the class of transformers that does the same.
# Dream's is Qwen2's with other special tokens, which are in the files.
SAME_AS: dict[str, Any] = {"DreamTokenizer": Qwen2TokenizerFast}
# Of transformers, here without "Fast" at the end: what makes a tokenizer from its files, and nothing else.
CLASSES = frozenset(
    (
        "AlbertTokenizer",
        "BartTokenizer",
        "BertTokenizer",
        "BigBirdTokenizer",
        "CamembertTokenizer",
        "CodeGenTokenizer",
        "CodeLlamaTokenizer",
        "CohereTokenizer",
        "DebertaV2Tokenizer",
        "DistilBertTokenizer",
        "ElectraTokenizer",
        "GPT2Tokenizer",
        "GPTNeoXTokenizer",
        "GemmaTokenizer",
        "LlamaTokenizer",
        "MPNetTokenizer",
        "PreTrainedTokenizer",
        "Qwen2Tokenizer",
        "RobertaTokenizer",
        "T5Tokenizer",
        "TokenizersBackend",
        "XLMRobertaTokenizer",
    )
)
BY_MODEL_TYPE = {"Dream": "DreamTokenizer"}  # where tokenizer_config.json names no class


@dataclass(frozen=True)
class Special:
    """A special id, its token, and what said so."""

    id: int
    token: str
    source: str


def load_tokenizer(folder: Path, model_type: str | None = None, chat_template: str | None = None) -> Any:
    """The tokenizer in `folder`.

    Args:
        folder: the checkpoint.
        model_type: of its config.json.
        chat_template: text or file of a template to use instead of the checkpoint's.

    Raises:
        LiftError: no tokenizer there, one that needs code of its own, or a template that does not render.
    """
    named = named_class(folder)
    known = SAME_AS.get(named or BY_MODEL_TYPE.get(model_type or "", ""), AutoTokenizer)
    bare = bare_tokenizer(folder, model_type, named)
    try:
        with quiet():  # transformers notes that the class is not the named one
            tokenizer = known.from_pretrained(bare.name, trust_remote_code=False)
    # Damaged files raise plain Exceptions in `tokenizers`, or panic, which is none; KeyError: transformers 4,
    # for a model type not its own and no tokenizer_class.
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        why = first_line(error).replace(bare.name, str(folder))
        raise LiftError(f"no tokenizer in {str(folder)!r}: {why}") from error
    tokenizer.name_or_path = str(folder)
    if isinstance(tokenizer.chat_template, dict):  # several, by name
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    if not isinstance(tokenizer.chat_template, str | None):
        raise LiftError(f"{folder}: its chat template is no text ({tokenizer.chat_template!r:.60})")
    if not len(tokenizer) or (known is not AutoTokenizer and not _has_vocabulary(folder)):
        raise LiftError(f"no tokenizer in {str(folder)!r}: no tokenizer.json, no vocab.json and merges.txt")
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template)
    if tokenizer.chat_template:
        check_template(tokenizer, str(folder) if chat_template is None else "chat_template")
    return tokenizer


def named_class(folder: Path) -> str | None:
    """The tokenizer class that a checkpoint names.

    Raises:
        LiftError: one that is not in the list: code of its own, or no tokenizer at all.
    """
    for file in ("tokenizer_config.json", "config.json"):
        if not (folder / file).exists():
            continue
        named = read_json(member(folder, file)).get("tokenizer_class")
        if named is None:
            continue
        if not isinstance(named, str) or (named not in SAME_AS and named.removesuffix("Fast") not in CLASSES):
            raise LiftError(
                f"no tokenizer in {str(folder)!r}: its class {named!r} in {file} is not known, and code of a "
                "checkpoint's own is not run; convert it to a tokenizer.json (PreTrainedTokenizerFast), or "
                "add its like to SAME_AS in models/tokenization.py"
            )
        return named
    return None


def read_template(text_or_file: str) -> str:
    """A chat template, given as text or as the file that holds it."""
    if "{" in text_or_file:
        return text_or_file
    try:
        return Path(text_or_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LiftError(
            f"chat_template={text_or_file!r} is neither a template (it has no braces) nor a readable file"
        ) from error


def check_template(tokenizer: Any, where: str) -> str:
    """One user turn through the chat template: the text that a model would be given.

    Raises:
        LiftError: the template does not render, or it drops what the user said.
    """
    said = "2+3=?"
    try:
        text = render_chat(tokenizer, [{"role": "user", "content": said}])
    except LiftError as error:
        raise LiftError(f"{where}: {error}") from error
    if said not in text:
        raise LiftError(f"{where}: the chat template leaves out what the user said; it renders {text!r}")
    return text


def resolve_ids(
    tokenizer: Any,
    config: dict[str, Any],
    embedding_rows: int,
    *,
    where: str,
    mask_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> dict[str, Special]:
    """The ids of "mask", "eos" and "pad", and set them in the tokenizer.

    An id that is given is used; otherwise that of config.json and the tokenizer's, which must be the same
    if both have one. A mask that neither names is the tokenizer's token of one of the `MASKS`. Encoders that
    fill masks end a text with their separator. Padding is hidden from the model, so that end-of-text does
    for it.

    Args:
        tokenizer: as loaded.
        config: of config.json as it is written, without defaults.
        embedding_rows: ids that the model has.
        where: the checkpoint, for messages.
        mask_token_id: to use instead.
        eos_token_id: to use instead.
        pad_token_id: to use instead.

    Raises:
        LiftError: the two disagree, neither has a mask or end-of-text token, or an id is outside the
            vocabulary of the model or the tokenizer.
    """
    vocabulary = set(tokenizer.get_vocab().values())
    highest = max(vocabulary)
    if highest >= embedding_rows:
        raise LiftError(
            f"{where}: the tokenizer's ids go up to {highest}, the model has {embedding_rows} embedding "
            "rows; the two do not belong together"
        )
    given = {"mask": mask_token_id, "eos": eos_token_id, "pad": pad_token_id}
    found: dict[str, Special] = {}
    for kind, value in given.items():
        chosen, source = _choose(kind, value, tokenizer, config, where, found.get("eos"))
        if not 0 <= chosen < embedding_rows:
            raise LiftError(
                f"{where}: {kind}_token_id={chosen} ({source}) is outside the model's vocabulary of "
                f"{embedding_rows} ids"
            )
        if chosen not in vocabulary:
            raise LiftError(
                f"{where}: {kind}_token_id={chosen} ({source}) is not in the tokenizer ({len(tokenizer)} "
                "tokens); the two do not belong together"
            )
        found[kind] = Special(chosen, tokenizer.convert_ids_to_tokens(chosen), source)
        setattr(tokenizer, f"{kind}_token", found[kind].token)
    if found["mask"].id == found["eos"].id:
        raise LiftError(f"{where}: mask and end-of-text are both id {found['mask'].id}; they must differ")
    return found


def _choose(
    kind: str, given: int | None, tokenizer: Any, config: dict[str, Any], where: str, eos: Special | None
) -> tuple[int, str]:
    """The id of one kind, and where it comes from."""
    key = f"{kind}_token_id"
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int):
            raise LiftError(f"{key}={given!r} must be a whole number")
        return given, "as given"
    of_config, of_tokenizer = config.get(key), getattr(tokenizer, key)
    several = of_config if isinstance(of_config, list) else [] if of_config is None else [of_config]
    if any(isinstance(one, bool) or not isinstance(one, int) for one in several):
        raise LiftError(f"{where}: config.json has {key}={of_config!r:.60}, which is no id")
    if several and of_tokenizer is not None:
        if of_tokenizer not in several:
            raise LiftError(
                f"{where}: config.json has {key}={of_config}, the tokenizer {of_tokenizer} "
                f"({tokenizer.convert_ids_to_tokens(of_tokenizer)!r}); "
                f"make them agree, or say which with {key}="
            )
        return of_tokenizer, "config.json and tokenizer"
    if several:
        return several[0], "config.json"
    if of_tokenizer is not None:
        return of_tokenizer, "tokenizer"
    if kind == "mask" and (named := [token for token in MASKS if token in tokenizer.get_vocab()]):
        return tokenizer.convert_tokens_to_ids(named[0]), f"the tokenizer's token {named[0]}"
    if kind == "eos" and tokenizer.sep_token_id is not None:
        return tokenizer.sep_token_id, "tokenizer's separator"
    if kind == "pad" and eos is not None:
        return eos.id, "end-of-text"
    name = {"mask": "a mask token", "eos": "an end-of-text token"}[kind]
    raise LiftError(f"{where}: neither config.json nor the tokenizer has {name}; give its id with {key}=")


def _has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer was loaded, and not made up: Qwen2's class accepts a folder without its files."""
    both = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return both or (folder / "tokenizer.json").is_file()
