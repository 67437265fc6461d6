"""The config of one trial: frozen, keyword-only, validating itself, round-tripping to a plain dict."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from model.tasks import LOSSES, Loss, PairEncoding, Task

Precision = Literal["fp32", "bf16"]
PrefixFormat = Literal["fp16", "fp32"]
STRICT = ConfigDict(extra="forbid", strict=True)
CONFIG_VERSION = 2
"""Raised when a field changes its meaning: a sweep of another version is refused, not mixed."""


class ConfigError(ValueError):
    """A config that cannot be trained; its text is one line a problem, each with what is allowed."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeadConfig:
    """The layers between the pooled vector and the tasks' outputs (the study's exp4)."""

    common_layers: Annotated[int, Field(ge=0, le=64)] = 1
    """Linear layers hidden -> hidden shared by all tasks; 0 for none."""
    task_layers: Annotated[int, Field(ge=1, le=64)] = 1
    """Linear layers of each task, the output layer included."""
    activation: Literal["none", "relu", "gelu", "tanh"] = "none"
    """After every layer but the output. The study's literal reading is none."""
    normalisation: Literal["none", "layer"] = "none"
    """LayerNorm after every layer but the output."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """On the pooled vector, before all layers."""
    inner_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """After every layer but the output."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialConfig:
    """Everything that one training run depends on, but for the encoder and the data (the sweep's plan)."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = ("sentiment", "paraphrase", "similarity")
    """Names in the registry of model/tasks.py; one name is the single-task baseline."""
    unfrozen_layers: Annotated[int, Field(ge=0)] | Literal["all"] = 2
    """How many top encoder layers train, 0..L; "all" means the embeddings too."""
    prefix_dropout: bool = False
    """True is the study's way: dropout in the frozen layers too, which are then computed anew at every step."""
    prefix_format: PrefixFormat = "fp16"
    """What the frozen layers' output is rounded to, kept or computed anew: half the size of fp32, worst relative
    error of a gradient 3e-3."""
    train_pooler: bool = True
    """False with unfrozen_layers=0 trains the heads alone."""
    heads: HeadConfig = HeadConfig()
    pair_encoding: Mapping[str, PairEncoding] = Field(default_factory=dict)
    """Task to separate or joint, where it differs from the task's own (study: paraphrase separate)."""
    losses: Mapping[str, Loss] = Field(default_factory=dict)
    """Task to loss, where it differs from the kind's own. cosine: regression pairs, encoded separately."""
    loss_weights: Mapping[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Task to the factor of its loss; 1 where it is not named."""
    sampling: Literal["proportional", "uniform", "annealed"] = "proportional"
    """How an epoch's batches are shared out. proportional: every example once. uniform: as many batches a
    task. annealed: proportional to size ** a, a falling from 1 to 0.2 over the epochs (Stickland and Murray
    2019, section 3.3). The number of batches an epoch is the same for all three."""
    max_train_examples: Annotated[int, Field(ge=1)] | None = None
    """Cap on the training examples of each task, chosen by a hash of their sentences; None for all."""
    max_tokens: Annotated[int, Field(ge=8, le=512)] = 512
    """Longest input in tokens, [CLS] and [SEP] included; longer ones are cut, the longer sentence first."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Examples a step; a step has one task."""
    learning_rate: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 2e-5
    """AdamW's, in the first epoch."""
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Factor on the learning rate after each epoch."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """AdamW's decoupled decay on matrices; biases and LayerNorm are left out. The study's code has 0."""
    precision: Precision = "fp32"
    """Of matrix products; bf16 takes a third to two thirds less time where the processor has it. Weights stay fp32."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the heads' first weights, the order of the examples and batches, and dropout."""


_ADAPTER: TypeAdapter[TrialConfig] = TypeAdapter(TrialConfig)


def config_to_dict(config: TrialConfig) -> dict[str, Any]:
    """Return plain values (lists for tuples) that `config_from_dict` turns back into an equal config."""
    plain: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return plain


def config_from_dict(values: Mapping[str, Any]) -> TrialConfig:
    """Return the validated config. Raises ConfigError that names each wrong field and what is allowed."""
    try:
        return _ADAPTER.validate_json(_json(values))
    except ValidationError as error:
        raise ConfigError("; ".join(explain(error))) from error


def with_settings(config: TrialConfig, settings: Mapping[str, Any]) -> TrialConfig:
    """Return the config with dotted fields replaced, as in {"heads.dropout": 0.5}; validated."""
    values = config_to_dict(config)
    for path, value in settings.items():
        *parents, last = path.split(".")
        level = values
        for parent in parents:
            if not isinstance(level.get(parent), dict):
                raise ConfigError(unknown_field(path))
            level = level[parent]
        if last not in level and path not in _open_paths(parents):
            raise ConfigError(unknown_field(path))
        level[last] = value
    return config_from_dict(values)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a plain config as dotted paths to values, in the fields' order."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def field_paths(kind: type = TrialConfig, prefix: str = "") -> list[str]:
    """Return the dotted names of all fields, as `--set` takes them."""
    paths = []
    for field in fields(kind):
        inner = HeadConfig if field.name == "heads" else field.type
        if isinstance(inner, type) and is_dataclass(inner):
            paths += field_paths(inner, f"{prefix}{field.name}.")
        else:
            paths.append(f"{prefix}{field.name}")
    return paths


def unknown_field(path: str) -> str:
    """Return the line for a field that does not exist, with the nearest that does."""
    allowed = field_paths()
    close = get_close_matches(path, allowed, n=1) or get_close_matches(path.rsplit(".", maxsplit=1)[-1], allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown field {path!r}{hint}; the fields are {', '.join(allowed)}"


SHOWN_LIMIT = 200
"""Characters of a value that an error shows."""


def explain(error: ValidationError) -> list[str]:
    """Return one line for each problem that pydantic found, in this project's words."""
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"] if part not in ("int", "constrained-int"))
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            lines.append(unknown_field(path))
        else:
            path = path.removesuffix(".literal['all']")
            given = repr(problem["input"])
            shown = given if len(given) <= SHOWN_LIMIT else f"{given[:SHOWN_LIMIT]}…"
            lines.append(f"{path} is {shown}: {problem['msg'].lower()}")
    return list(dict.fromkeys(lines))


def check_against(config: TrialConfig, *, layers: int, positions: int, tasks: Mapping[str, Task]) -> list[str]:
    """Return what makes this config impossible for this encoder and these tasks; empty where it is fine."""
    chosen = [tasks[name] for name in config.tasks if name in tasks]
    problems = [*_depth_problems(config, layers, positions), *_name_problems(config, tasks)]
    for task in chosen:
        problems += _task_problems(config, task)
    if chosen and not _trains_something(config, chosen):
        problems.append("nothing would train: no encoder layer, no pooler, and heads without a layer of their own")
    if chosen and all(config.loss_weights.get(task.name, 1.0) == 0 for task in chosen):
        problems.append("loss_weights are all 0: nothing would train")
    return problems


def _trains_something(config: TrialConfig, chosen: Sequence[Task]) -> bool:
    """Return whether any parameter trains: with the cosine loss a head may have no layer at all."""
    has_layer = config.heads.common_layers > 0 or config.heads.task_layers > 1
    has_output = any(loss_of(config, task) != "cosine" for task in chosen)
    return config.train_pooler or config.unfrozen_layers != 0 or has_layer or has_output


def _depth_problems(config: TrialConfig, layers: int, positions: int) -> list[str]:
    problems = []
    if config.unfrozen_layers != "all" and config.unfrozen_layers > layers:
        problems.append(
            f'unfrozen_layers is {config.unfrozen_layers}: the encoder has {layers} layers; 0..{layers} or "all"'
        )
    if config.max_tokens > positions:
        problems.append(f"max_tokens is {config.max_tokens}: the encoder has {positions} positions")
    if not config.train_pooler and config.unfrozen_layers != 0:
        problems.append("train_pooler=False goes with unfrozen_layers=0: what is above a trained layer trains")
    return problems


def _name_problems(config: TrialConfig, tasks: Mapping[str, Task]) -> list[str]:
    problems = [
        f"unknown task {name!r}{_near(name, tasks)}; the tasks are {', '.join(tasks)}"
        for name in config.tasks
        if name not in tasks
    ]
    if len(set(config.tasks)) != len(config.tasks):
        problems.append(f"tasks names one twice: {', '.join(config.tasks)}")
    return problems + [
        f"{field} names {name!r}, which is not among this config's tasks"
        for field in ("pair_encoding", "losses", "loss_weights")
        for name in getattr(config, field)
        if name not in config.tasks
    ]


def _task_problems(config: TrialConfig, task: Task) -> list[str]:
    problems = []
    loss = loss_of(config, task)
    if loss not in LOSSES[task.kind]:
        allowed = " or ".join(LOSSES[task.kind])
        problems.append(f"losses.{task.name} is {loss!r}: a {task.kind} task takes {allowed}")
    if loss == "cosine" and (not task.is_pair or encoding_of(config, task) != "separate"):
        problems.append(f"losses.{task.name} is 'cosine', which needs pair_encoding.{task.name}='separate'")
    if task.name in config.pair_encoding and not task.is_pair:
        problems.append(f"pair_encoding.{task.name}: {task.name} has single sentences, not pairs")
    return problems


def encoding_of(config: TrialConfig, task: Task) -> PairEncoding:
    """Return how this config encodes the task's pairs."""
    return config.pair_encoding.get(task.name, task.pair_encoding)


def loss_of(config: TrialConfig, task: Task) -> Loss:
    """Return the loss that this config trains the task with."""
    return config.losses.get(task.name, LOSSES[task.kind][0])


def _open_paths(parents: list[str]) -> set[str]:
    """Return the paths below a field that maps task names, where any name may be set."""
    if parents in (["pair_encoding"], ["losses"], ["loss_weights"]):
        from model.tasks import TASKS

        return {f"{parents[0]}.{name}" for name in TASKS}
    return set()


def _near(name: str, names: Mapping[str, Task]) -> str:
    close = get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _json(values: Mapping[str, Any]) -> str:
    import json

    return json.dumps(values)
