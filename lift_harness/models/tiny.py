"""The shape and the tokenizer of `lift-tiny` and `lift-tiny-block`, the small models inside the package.

The tokenizer is a byte-level BPE that is not split at spaces: what never varies between examples (the
instructions, the tags) becomes a handful of tokens, which is what makes training and decoding on a
laptop CPU affordable. Numbers below 100 are one token each, the digits of a grid stay apart, and the
cell names of Sudoku traces are one token each.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lift_harness.models.configuration_backbone import SDARConfig
from lift_harness.models.configuration_llada import LLaDAConfig

# The special tokens of LLaDA-8B-Instruct that its chat format and the diffusion use.
SPECIAL_TOKENS = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|mdm_mask|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]

# Kept apart from what stands around them: cell names, numbers of one or two digits, digits of longer runs.
NUMBER_OR_CELL = r" r[1-4]c[1-4]=|(?<![0-9])[0-9]{1,2}(?![0-9])|[0-9]"

# LLaDA's chat format.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first -%}{{ bos_token }}{%- endif -%}
{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int = 2048) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `texts` (plain text without special tokens).

    Merging stops where no pair occurs twice, usually well before `vocab_size`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(NUMBER_OR_CELL), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        mask_token="<|mdm_mask|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def tiny_config(
    tokenizer: PreTrainedTokenizerFast,
    d_model: int = 128,
    n_layers: int = 4,
    mlp_hidden_size: int = 512,
    block_size: int | None = None,
) -> LLaDAConfig | SDARConfig:
    """LLaDA's architecture at about a million parameters, or with a block size SDAR's; ids of `tokenizer`."""
    ids = {
        "mask_token_id": tokenizer.mask_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if block_size is not None:
        return SDARConfig(
            hidden_size=d_model,
            num_hidden_layers=n_layers,
            num_attention_heads=d_model // 32,
            num_key_value_heads=d_model // 32,
            head_dim=32,
            intermediate_size=mlp_hidden_size,
            block_size=block_size,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            rope_theta=10000.0,
            architectures=["SDARForCausalLM"],
            **ids,
        )
    return LLaDAConfig(
        d_model=d_model,
        n_layers=n_layers,
        n_heads=d_model // 32,
        mlp_hidden_size=mlp_hidden_size,
        vocab_size=len(tokenizer),
        max_sequence_length=512,
        rope_theta=10000.0,
        architectures=["LLaDAModelLM"],
        **ids,
    )
