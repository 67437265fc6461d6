"""What a search space and a command line mean, checked without torch, Ray or MLflow: all that is wrong, at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import (
    ConfigError,
    TrialConfig,
    check_against,
    config_to_dict,
    flatten,
    with_settings,
)
from model.data import Corpus, load_corpus, too_uniform
from model.encoder_files import EncoderError, EncoderSource, find_encoder
from model.sealed import Seal, seal
from model.table_file import DataError
from model.tasks import TASKS, Task
from orchestrator.errors import collected, refuse
from orchestrator.spec import MOST_TRIALS, LoadedSweep, on_seed

if TYPE_CHECKING:
    from orchestrator.probing import Point


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line's say, already merged with the profile's."""

    name: str
    profile: str
    encoder: str
    data: str
    profile_settings: Mapping[str, Any]
    """Hold where the file neither varies the field nor gives it a value other than the default."""
    settings: Mapping[str, Any]
    """Hold everywhere; a field that the sweep varies is an error."""
    trials: int | None
    max_dev_examples: int | None
    seed: int
    gpus_per_trial: float | None
    cpus_per_trial: float | None
    strict_data: bool = False


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """A sweep of which all is known but what there is to run it on."""

    loaded: LoadedSweep
    options: Options
    configs: list[TrialConfig]
    """The list, each config once a seed, or points of the space."""
    baseline: TrialConfig
    varies: list[str]
    settings: dict[str, Any]
    """What profile and command line set in every config."""
    tasks: list[Task]
    encoder: EncoderSource
    corpus: Corpus
    """What trials may read: the test set is not in it."""
    sealed: Mapping[str, Seal]
    """The test set of each task."""


@dataclass(frozen=True, kw_only=True)
class _Configs:
    """The configs that a file and a command line mean together."""

    configs: list[TrialConfig]
    baseline: TrialConfig
    varies: list[str]
    settings: dict[str, Any]
    called: list[str]
    """Each config's name in an error."""


def inspect(loaded: LoadedSweep, options: Options) -> Inspected:
    """Return what a file and a command line mean. Raises SweepError with all problems."""
    found: list[str] = []
    meant = _configs(loaded, options, found)
    everything = [*meant.configs, meant.baseline]
    encoder = collected(lambda: find_encoder(options.encoder), found, (EncoderError,))
    tasks = _tasks(everything)
    corpus = collected(lambda: load_corpus(options.data, tasks, strict=options.strict_data), found, (DataError,))
    sealed: dict[str, Seal] | None = None
    if corpus is not None:
        whole = corpus
        corpus, sealed = collected(lambda: seal(options.data, tasks, whole), found, (DataError,)) or (corpus, None)
        found += _without_a_metric(corpus, options.max_dev_examples)
    if encoder is not None:
        found += _impossible(everything, [*meant.called, "baseline"], encoder, loaded)
    found += _incomparable(meant, loaded)
    if options.trials is not None and loaded.sweep.configs:
        found.append(f"--trials {options.trials}: {loaded.path} is an exact list, which is trained whole")
    total = loaded.sweep.total(options.trials)
    if total > MOST_TRIALS:
        found.append(f"{loaded.path}:{loaded.line}: {total:,} trials, at most {MOST_TRIALS:,} are one sweep")
    refuse(found)
    assert encoder is not None
    assert corpus is not None
    assert sealed is not None
    return Inspected(
        loaded=loaded,
        options=options,
        configs=meant.configs,
        baseline=meant.baseline,
        varies=meant.varies,
        settings=meant.settings,
        tasks=tasks,
        encoder=encoder,
        corpus=corpus,
        sealed=sealed,
    )


def _without_a_metric(corpus: Corpus, cap: int | None) -> list[str]:
    """Return a line for each dev split of which a cap leaves examples that its metric says nothing of."""
    wrong = (too_uniform(splits["dev"].capped(cap)) for splits in corpus.values())
    return [f"--max-dev-examples {cap}: {problem}" for problem in wrong if problem]


def _impossible(
    configs: Sequence[TrialConfig], called: Sequence[str], encoder: EncoderSource, loaded: LoadedSweep
) -> list[str]:
    """Return what is wrong with configs for this encoder and these tasks; what several share is told once."""
    shape = encoder.config
    first: dict[str, str] = {}
    for config, name in zip(configs, called, strict=True):
        for problem in check_against(
            config, layers=shape.num_hidden_layers, positions=shape.max_position_embeddings, tasks=TASKS
        ):
            first.setdefault(problem, name)
    return [f"{loaded.path}:{loaded.line}: {problem} ({name})" for problem, name in first.items()]


def _incomparable(meant: _Configs, loaded: LoadedSweep) -> list[str]:
    """Return a line where a space varies the tasks: its searcher would compare means over different things."""
    wanted = set(meant.baseline.tasks)
    other = next((config.tasks for config in meant.configs if set(config.tasks) != wanted), None)
    if loaded.sweep.space is None or other is None:
        return []
    said = (
        f"the space has a config with the tasks {', '.join(other)}, the baseline has {', '.join(meant.baseline.tasks)}"
    )
    return [f"{loaded.path}:{loaded.line}: {said}: a searcher cannot compare their scores; configs=[...] takes both"]


def check_alone(
    loaded: LoadedSweep | None, *, settings: Mapping[str, Any], encoder: str | None, data: str | None, strict: bool
) -> None:
    """Check each of what is known on its own, where not all is known. Raises SweepError with all problems."""
    found: list[str] = []
    if loaded is not None and loaded.sweep.space:
        collected(lambda: _probed(loaded), found)
    if loaded is not None:
        found += _wrong_settings(loaded.sweep.baseline, settings)
    if encoder is not None:
        collected(lambda: find_encoder(encoder), found, (EncoderError,))
    if data is not None:
        known = _tasks([*loaded.sweep.configs, loaded.sweep.baseline]) if loaded is not None else []
        collected(lambda: load_corpus(data, known or _tasks_there(data), strict=strict), found, (DataError,))
    refuse(found)


def _tasks(configs: Sequence[TrialConfig]) -> list[Task]:
    names = dict.fromkeys(name for config in configs for name in config.tasks)
    return [TASKS[name] for name in names if name in TASKS]


def _tasks_there(source: str) -> list[Task]:
    """Return the tasks of which a folder has files, or one that it lacks; all of another source."""
    every, folder = list(TASKS.values()), Path(source)
    if not folder.is_dir():
        return every
    return [task for task in every if any((folder / file).exists() for file in task.files["train"])] or every[:1]


def _probed(loaded: LoadedSweep) -> "list[Point]":
    from orchestrator.probing import probe

    assert loaded.sweep.space is not None
    return probe(loaded.sweep.space, loaded.path)


def _configs(loaded: LoadedSweep, options: Options, problems: list[str]) -> _Configs:
    sweep = loaded.sweep
    raw, called = list(sweep.configs), [f"configs[{number}]" for number in range(len(sweep.configs))]
    if sweep.space:
        points = collected(lambda: _probed(loaded), problems)
        if points is None:
            raw, called = [sweep.baseline], ["baseline"]
        else:
            raw, called = [point.config for point in points], [f"at {point.params}" for point in points]
    varies = varying(raw)
    usual = flatten(config_to_dict(TrialConfig()))
    own = [flatten(config_to_dict(config)) for config in (*raw, sweep.baseline)]
    held = {
        path: value
        for path, value in options.profile_settings.items()
        if path not in varies and all(values[path] == usual[path] for values in own)
    }
    problems += [
        f"{loaded.path}: {path} varies in this sweep; --set {path} would make its configs alike"
        for path in options.settings
        if _touches(path, varies)
    ]
    settings = {**held, **{path: v for path, v in options.settings.items() if not _touches(path, varies)}}
    configs, baseline = raw, sweep.baseline
    try:
        configs, baseline = [with_settings(config, settings) for config in raw], with_settings(baseline, settings)
    except ConfigError as error:
        problems += _wrong_settings(sweep.baseline, settings) or [str(error)]
    if sweep.configs:
        configs, called = _each_seed(configs, sweep.seeds), called * sweep.seeds
    return _Configs(configs=configs, baseline=baseline, varies=varies, settings=settings, called=called)


def _each_seed(configs: Sequence[TrialConfig], seeds: int) -> list[TrialConfig]:
    """Return all configs with their own seed, then all with the next: a sweep that is stopped has seen every config."""
    return [on_seed(config, more) for more in range(seeds) for config in configs]


def _wrong_settings(config: TrialConfig, settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with settings: each that is wrong by itself, or what they are together."""
    problems: list[str] = []
    if collected(lambda: with_settings(config, settings), problems, (ConfigError,)) is not None:
        return []
    alone: list[str] = []
    for path, value in settings.items():
        collected(partial(with_settings, config, {path: value}), alone, (ConfigError,))
    return alone or problems


def _touches(path: str, varies: Sequence[str]) -> bool:
    """Return whether setting a field, or the group that it is, sets one that varies."""
    return any(f"{varied}.".startswith(f"{path}.") for varied in varies)


def varying(configs: Sequence[TrialConfig]) -> list[str]:
    """Return the dotted fields in which the configs differ, in the fields' order."""
    flat = [flatten(config_to_dict(config)) for config in configs]
    paths = dict.fromkeys(path for values in flat for path in values)
    return [path for path in paths if any(values.get(path) != flat[0].get(path) for values in flat)]
