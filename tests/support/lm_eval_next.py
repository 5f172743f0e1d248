"""Stands in for lm-eval 0.5's task classes (unreleased): the same interface, as little inside as will do.

Written from the interface at `v0.5.0.dev1`: `lm_eval/api/task/` and `lm_eval/scorers/_base.py`.
"""

import abc
from itertools import chain, groupby

from lm_eval.api.instance import Instance
from lm_eval.config.task import TaskConfig


class Scorer:
    """Filters, scores and averages under one name."""

    def __init__(self, name, metrics):
        self.name, self.metrics, self.values = name, metrics, {}

    def set_results(self, scores):
        """From {doc_id: {metric: [value, ...]}}; of several values without a reduction the first counts."""
        for metrics in scores.values():
            for metric, values in metrics.items():
                self.values.setdefault(metric, []).append(values[0])

    def aggregate(self, overrides):
        return {f"{metric},{self.name}": overrides[metric](values) for metric, values in self.values.items()}


class Task(abc.ABC):
    OUTPUT_TYPE = None

    def __init__(self, config):
        self._config = config if isinstance(config, TaskConfig) else TaskConfig(**config)
        self.task = self._config.task
        self.VERSION = self.config.metadata.get("version", "Yaml")
        self.OUTPUT_TYPE = self._config.output_type
        self._dataset = self._instances = None
        self._scorers = [Scorer("none", ["exact_match"])]

    @property
    def config(self):
        return self._config

    @property
    def task_name(self):
        return self.config.task

    @property
    def dataset(self):
        if self._dataset is None:
            self.download(self.config.dataset_kwargs)
        return self._dataset

    @dataset.setter
    def dataset(self, value):
        self._dataset = value

    def download(self, dataset_kwargs=None, **kwargs):
        self._dataset = self.config.custom_dataset(**{**dataset_kwargs, **self.config.metadata})

    @property
    def eval_docs(self):
        return self.dataset[self.config.test_split]

    @property
    def instances(self):
        return self._instances or []

    @staticmethod
    def _resolve_field(doc, field=None):
        return field

    def get_config(self, key):
        return getattr(self._config, key, None)

    def set_config(self, key, value, update=False):
        if update:
            getattr(self._config, key).update(value)
        else:
            setattr(self._config, key, value)

    def set_fewshot_seed(self, seed=None):
        self._fewshot_seed = seed

    def override_metric(self, metric_name):
        self._scorers = [Scorer("none", [metric_name])]

    def doc_to_text(self, doc, doc_to_text=None):
        raise NotImplementedError

    def doc_to_target(self, doc, doc_to_target=None):
        raise NotImplementedError

    def fewshot_context(
        self,
        doc,
        num_fewshot,
        system_instruction=None,
        apply_chat_template=False,
        fewshot_as_multiturn=False,
        chat_template=None,
        gen_prefix=None,
    ):
        question, prefix = self.doc_to_text(doc), gen_prefix or ""
        if not apply_chat_template:
            return question + (self.config.target_delimiter if prefix else "") + prefix
        turns = [{"role": "user", "content": question}]
        turns += [{"role": "assistant", "content": prefix}] if prefix else []
        return chat_template(turns, add_generation_prompt=not prefix)

    @abc.abstractmethod
    def construct_requests(self, doc, ctx, *, doc_id, metadata=None, apply_chat_template=False, **kwargs): ...

    def build_all_requests(
        self,
        *,
        limit=None,
        samples=None,
        rank=0,
        world_size=1,
        cache_requests=False,
        rewrite_requests_cache=False,
        system_instruction=None,
        apply_chat_template=False,
        fewshot_as_multiturn=False,
        chat_template=None,
        tokenizer_name="",
    ):
        made = []
        for doc_id, doc in list(enumerate(self.eval_docs))[:limit]:
            context = self.fewshot_context(
                doc,
                num_fewshot=self.config.num_fewshot or 0,
                system_instruction=system_instruction,
                apply_chat_template=apply_chat_template,
                fewshot_as_multiturn=fewshot_as_multiturn,
                chat_template=chat_template,
                gen_prefix=self._resolve_field(doc, self.config.gen_prefix),
            )
            one = self.construct_requests(
                doc=doc,
                ctx=context,
                doc_id=doc_id,
                apply_chat_template=apply_chat_template,
                chat_template=chat_template,
            )
            made += one if isinstance(one, list) else [one]
        self._instances = made
        return made

    def apply_filters(self):
        for one in self._instances:
            one.filtered_resps["none"] = one.resps

    def process_instances(self):
        self.apply_filters()
        for scorer in self._scorers:
            scores = {}
            for doc_id, group in groupby(self._instances, key=lambda one: one.doc_id):
                of_doc = list(group)
                responses = list(chain.from_iterable(one.filtered_resps[scorer.name] for one in of_doc))
                metrics = self.process_results(of_doc[0].doc, responses)
                scores[doc_id] = {k: v if isinstance(v, list) else [v] for k, v in metrics.items()}
            scorer.set_results(scores)

    def process_results(self, doc, results):
        return None

    def aggregation(self):
        return {}

    def higher_is_better(self):
        return {}

    def aggregate(self, bootstrap_iters=100000):
        (scorer,) = self._scorers
        return scorer.aggregate(self.aggregation()), len(self._instances)


class GenerateTask(Task):
    OUTPUT_TYPE = "generate_until"

    def construct_requests(self, doc, ctx, *, doc_id, metadata=None, apply_chat_template=False, **kwargs):
        kwargs.pop("chat_template", None)
        return [
            Instance(
                request_type=self.OUTPUT_TYPE,
                doc=doc,
                arguments=(ctx, dict(self.config.generation_kwargs)),
                idx=0,
                task_name=self.task_name,
                doc_id=doc_id,
                repeats=self.config.repeats,
                metadata=(self.task_name, doc_id, self.config.repeats),
            )
        ]
