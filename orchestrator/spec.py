"""What a search-space file says, and how it is loaded.

A file defines `SWEEP = Sweep(question=..., baseline=..., configs=[...])`, an exact list, or
`SWEEP = Sweep(question=..., baseline=..., space=fn, trials=N)`, an Optuna space. It is code: it is loaded
from the checkout that runs it, in the driver alone; workers get plain dicts.
"""

import ast
import hashlib
import os
import stat
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import ValidationError

from model.config import TrialConfig, explain
from orchestrator.errors import SweepError
from orchestrator.halving import Halving
from orchestrator.limits import TimeLimitError, time_limit

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "random"]
Space = Callable[["optuna.Trial"], TrialConfig]
MOST_SEEDS = 100
MOST_TRIALS = 10_000
"""Of one sweep: what a study, a leaderboard and MLflow's page are made for."""
LOAD_S = 30.0
"""Seconds that a file may take to load."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One question, and the configs that are tried to answer it."""

    question: str
    """What the sweep asks, in a sentence."""
    baseline: TrialConfig
    """The config that others are measured against; of an exact list, one of its configs."""
    configs: Sequence[TrialConfig] = ()
    """An exact list: each is trained once, in this order."""
    space: Space | None = None
    """A pure function from an Optuna trial to a complete config; parameters are named by their field's path."""
    trials: int = 0
    """How many configs of the space are tried; --trials overrides it."""
    sampler: Sampler = "tpe"
    """Optuna's sampler for a space."""
    early_stopping: Halving | None = None
    """Which trials are stopped early; None: all are trained to their end."""
    seeds: int = 1
    """Each config is trained on so many seeds, from its own upwards: what differs between them is noise."""

    def __post_init__(self) -> None:
        """Refuse what is neither a list nor a space."""
        object.__setattr__(self, "configs", tuple(self.configs))  # a generator would be spent by the checks
        if bool(self.configs) == bool(self.space):
            given = "both" if self.configs else "neither, or no config"
            raise ValueError(f"a sweep has either configs=[...] or space=fn with trials=N; here is {given}")
        if self.space and not callable(self.space):
            raise TypeError(f"space is {self.space!r}; expected a function from a trial to a TrialConfig")
        if self.space and self.trials < 1:
            raise ValueError("a sweep over a space says trials=N, 1 or more")
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"sampler is {self.sampler!r}; expected one of {', '.join(get_args(Sampler))}")
        if self.configs and (self.trials or self.sampler != "tpe"):
            raise ValueError("trials and sampler go with space=fn; a list is trained whole, in its order")
        self._check_seeds()
        if not isinstance(self.early_stopping, Halving | None):
            raise TypeError(f"early_stopping is {self.early_stopping!r}; expected Halving(first=..., factor=...)")
        if len(self.configs) * self.seeds > MOST_TRIALS:
            raise ValueError(
                f"{len(self.configs) * self.seeds:,} trials, at most {MOST_TRIALS:,} are one sweep; space=fn with "
                "trials=N tries N of a large grid"
            )
        wrong = [config for config in (*self.configs, self.baseline) if not isinstance(config, TrialConfig)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} is a {type(wrong[0]).__name__}; expected a TrialConfig")
        if self.configs and self.baseline not in self.configs:
            raise ValueError("the baseline is not among the configs; the leaderboard measures against it")

    def total(self, asked: int | None) -> int:
        """Return the trials of the sweep, all seeds counted, where --trials asks for so many points of a space."""
        return (len(self.configs) or asked or self.trials) * self.seeds

    def _check_seeds(self) -> None:
        if not isinstance(self.seeds, int) or not 1 <= self.seeds <= MOST_SEEDS:
            raise ValueError(f"seeds is {self.seeds!r}; expected a whole number from 1 to {MOST_SEEDS}")
        own = {config.seed for config in self.configs if isinstance(config, TrialConfig)}
        if self.seeds > 1 and len(own) > 1:
            raise ValueError("seeds=N repeats each config; the configs themselves then have one seed")
        if max(own, default=0) + self.seeds > 2**32:
            raise ValueError(f"seed {max(own)} with seeds={self.seeds}: a seed is below 2**32")


def on_seed(config: TrialConfig, repeat: int) -> TrialConfig:
    """Return a config as it is trained for the n-th time, from 0."""
    return replace(config, seed=config.seed + repeat)


@dataclass(frozen=True)
class LoadedSweep:
    """A search-space file and what it says."""

    path: Path
    sweep: Sweep
    code_sha256: str
    """Hash of the file's code; comments, docstrings and layout do not enter."""
    line: int = 1
    """Where SWEEP is defined."""


def load_sweep(path: Path) -> LoadedSweep:
    """Return the sweep that a file defines. Raises SweepError with FILE:LINE.

    The file is code, and runs as whoever loads it: one that others may write to is refused.
    """
    try:
        _refuse_others_code(path)
        tree = ast.parse(path.read_text(encoding="utf-8-sig"), str(path))
        # Compiled from the text that is hashed: never from a __pycache__ of an earlier one, and none is left behind.
        code = compile(tree, str(path), "exec")
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        caret = " " * ((error.offset or 1) - 1) + "^"
        if error.lineno is None:  # of a NUL byte Python says no place
            raise SweepError(f"{path}: {error.msg}; expected Python") from error
        raise SweepError(f"{path}:{error.lineno}:{error.offset}: {error.msg}\n    {line}\n    {caret}") from error
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise SweepError(f"{path}: {error.strerror}; {known_sweeps(path.parent)}") from error
    lines = [node.lineno for node in tree.body if _defines_sweep(node)]
    if len(lines) > 1:
        raise SweepError(f"{path}:{lines[1]}: defines SWEEP again, after line {lines[0]}; a file has one")
    module = ModuleType(f"search_space_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        with time_limit(LOAD_S), redirect_stdout(sys.stderr):  # standard output is the sweep's own, with --json
            exec(code, vars(module))  # noqa: S102  (a search space is code: the person's own)
    except TimeLimitError as error:
        raise SweepError(
            f"{_at(path, error)}: still loading after {LOAD_S:.0f} s; a search space only says what varies"
        ) from error
    except ValidationError as error:
        raise SweepError(f"{_at(path, error)}: {'; '.join(explain(error))}") from error
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        raise SweepError(f"{_at(path, error)}: {text}, while loading the search space") from error
    sweep = getattr(module, "SWEEP", None)
    if not isinstance(sweep, Sweep):
        found = ", ".join(name for name in vars(module) if not name.startswith("_")) or "nothing"
        what = "defines no SWEEP" if sweep is None else f"defines SWEEP as a {type(sweep).__name__}"
        raise SweepError(f"{path}: {what}; expected SWEEP = Sweep(...); it has {found}")
    return LoadedSweep(path, sweep, _code_sha256(tree), lines[0] if lines else 1)


def known_sweeps(folder: Path) -> str:
    """Return the search spaces that lie in a folder, for an error's text."""
    names = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    return f"{folder} has {', '.join(names)}" if names else f"no search space lies in {folder}"


def question_of(path: Path) -> str:
    """Return the first line of a search-space file's docstring, without running the file."""
    try:
        return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8-sig"))) or "").partition("\n")[0]
    except (SyntaxError, OSError, UnicodeDecodeError):
        return "cannot be read"


def _refuse_others_code(path: Path) -> None:
    """Raise SweepError where the file is another user's, or writable by everybody.

    Root's files are trusted, and those of whoever owns this package: in a container that is often not the user.
    """
    found = path.stat()
    if found.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(found.st_mode)
        raise SweepError(f"{path}: anybody may write to it (mode {mode:o}), and it is code; chmod o-w {path}")
    if found.st_uid not in {os.getuid(), 0, Path(__file__).stat().st_uid}:
        raise SweepError(
            f"{path}: belongs to another user (uid {found.st_uid}), and it is code; copy it, then it is yours"
        )


def _defines_sweep(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "SWEEP" for target in targets)


def _at(path: Path, error: BaseException) -> str:
    return f"{path}:{line_in(path, error) or 1}"


def line_in(path: Path, error: BaseException) -> int | None:
    """Return the last line of the file that an error passed through, None where it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)


def _code_sha256(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
