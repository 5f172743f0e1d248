"""What can be refused before weights are loaded: model args, samples, settings, prompts that do not fit.

The requests are resolved by the code that resolves them for the model (`requests.first_sample`); of each task
the longest prompt is tokenised, with the tokenizer only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from lm_eval.tasks import TaskManager
from lm_eval.utils import simple_parse_args_string

from lift_harness.lm import diffusion_gemma
from lift_harness.lm.arguments import DEFAULT_MODEL, LOADING, check_arguments, checked_batch_size
from lift_harness.lm.model import LiftDLM
from lift_harness.lm.requests import SETTINGS, first_sample
from lift_harness.models.configuration_backbone import check_block_size
from lift_harness.models.loading import check_attention, check_dtype, quantise
from lift_harness.models.without_weights import is_diffusion_gemma, shape_of, tokenizer_of
from lift_harness.tasks.catalog import is_ours
from lift_harness.tasks.protocol import ProtocolTask

IDS = ("mask_token_id", "eos_token_id", "pad_token_id")
PARAMETERS = {
    name: parameter.default
    for name, parameter in inspect.signature(LiftDLM).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
}


class Unloaded:
    """Stands for a `LiftDLM` whose weights are not loaded: what tasks and requests ask of it.

    Raises:
        LiftError: model args that mean nothing, or a checkpoint without usable small files.
    """

    takes_protocol = True

    def __init__(self, model_args: Mapping[str, Any]) -> None:
        check_model_args(model_args)
        given = {**PARAMETERS, **model_args}
        self.truncate, self.use_chat_template = given["truncate"], given["chat_template"]
        known = (*SETTINGS, *diffusion_gemma.SETTINGS)
        self.settings = {name: value for name, value in model_args.items() if name in known}
        name = given["pretrained"] or DEFAULT_MODEL
        if is_diffusion_gemma(name, given["revision"]):
            others = {name: model_args[name] for name in (*LOADING, "peft") if name in model_args}
            small = {"revision": given["revision"], "chat_template": given["chat_template_file"], **others}
            self.model, self.tokenizer = diffusion_gemma.load(name, device="meta", **small)
            self.context_length = self.model.config.max_position_embeddings
            return
        self.model = shape_of(name, given["revision"], model_args.get("block_size"))
        self.tokenizer, self.context_length = tokenizer_of(
            name,
            given["revision"],
            given["chat_template_file"],
            **{name: model_args.get(name) for name in IDS},
        )

    # The model's own: they ask for the tokenizer and `use_chat_template` only.
    apply_chat_template = LiftDLM.apply_chat_template
    protocol_chat_template = LiftDLM.protocol_chat_template


def check_model_args(model_args: Mapping[str, Any]) -> None:
    """Refuse arguments of `LiftDLM` that it would refuse, or that loading would."""
    others = {name: value for name, value in model_args.items() if name not in (*PARAMETERS, *LOADING)}
    given = {**PARAMETERS, **model_args}
    checked = (given[name] for name in ("truncate", "mc_num", "exact_tokens", "greedy_check"))
    check_arguments(others, *checked)
    checked_batch_size(given["batch_size"])
    if given.get("attn_implementation") is not None:
        check_attention(given["attn_implementation"])
    if given.get("block_size") is not None:
        check_block_size(given["block_size"])
    quantise(given.get("load_in_8bit", False), given.get("load_in_4bit", False), check_dtype(given["dtype"]))


def check_sandbox(tasks: Iterable[ProtocolTask], allow_unisolated: bool) -> None:
    """Refuse tasks that run generated code where no sandbox can be had; each kind of benchmark looks once."""
    for ready in {task.benchmark.ready for task in tasks if task.benchmark.ready}:
        ready(allow_unisolated)


def check_requests(
    tasks: Iterable[ProtocolTask],
    model: Unloaded,
    *,
    gen_kwargs: Mapping[str, Any] | None = None,
    samples: int | None = None,
    limit: int | None = None,
) -> None:
    """Refuse what generation would refuse; tasks keep the settings that they are given here.

    Args:
        tasks: of ours.
        model: whose weights are to be loaded.
        gen_kwargs: decoding settings, above those of the task and of the model.
        samples: answers a problem; None: as many as the task says.
        limit: problems a task; None: all.

    Raises:
        LiftError: settings that are wrong or do not go together, several samples at temperature 0, a prompt
            that does not fit the context.
    """
    for task in tasks:
        if samples is not None:
            task.set_config("repeats", samples)
        if gen_kwargs:
            task.set_config("generation_kwargs", dict(gen_kwargs), update=True)
        task.bind(model, False)
        docs = enumerate(islice(task.eval_docs, task.count(limit)))
        number, doc = max(docs, key=lambda numbered: len(task.doc_to_text(numbered[1])))
        context = task.fewshot_context(
            doc, num_fewshot=task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(doc)
        )
        place = (task.task_name, number, task.config.repeats)
        first_sample(model, task.construct_requests(doc, context, metadata=place))  # type: ignore[arg-type]


# ---------------------------------------------------------------- lm-eval's own call


def check_call(arguments: Mapping[str, Any]) -> None:
    """The same for `simple_evaluate(model="lift_dlm", ...)`: model args, and the requests of tasks of ours.

    Args:
        arguments: of `simple_evaluate`, by name.
    """
    model = Unloaded(parsed(arguments.get("model_args")))
    tasks = arguments.get("tasks")
    listed = tasks if isinstance(tasks, list) else []  # what is no list is lm-eval's to refuse
    full = (name for name in listed if isinstance(name, str) and name.startswith("lift_"))
    names = list(filter(is_ours, full))
    if not names:
        return
    metadata = arguments.get("metadata")
    manager = arguments.get("task_manager") or TaskManager(include_defaults=False, metadata=metadata)
    loaded = [task for task in manager.load(names)["tasks"].values() if isinstance(task, ProtocolTask)]
    if (shots := arguments.get("num_fewshot")) is not None:
        for task in loaded:
            task.set_config("num_fewshot", shots)
    limit = arguments.get("limit")
    check_requests(
        loaded,
        model,
        gen_kwargs=parsed(arguments.get("gen_kwargs")),
        limit=int(limit) if limit and limit >= 1 else None,
    )


def parsed(arguments: Any) -> dict[str, Any]:
    """Arguments as lm-eval takes them: a mapping, or "KEY=VALUE,..."."""
    return simple_parse_args_string(arguments) if isinstance(arguments, str) else dict(arguments or {})
