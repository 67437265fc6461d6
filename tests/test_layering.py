"""Arrows point one way: which package imports which, and where ray, optuna and mlflow come in."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOORS = {
    "ray": {
        "cluster_schema.py",
        "connection.py",
        "runner.py",
        "searcher.py",
        "scheduler.py",
        "uploads.py",
        "worker.py",
    },
    "optuna": {"study.py", "sole_writer.py", "bounded_tpe.py", "spec.py", "probing.py"},
    "mlflow": {"mlflow_client.py", "experiment.py", "tracking.py", "registry.py", "serve.py", "uploads.py"},
    "plotly": {"report_page.py"},
    "matplotlib": {"table_image.py"},
}
"""The files of orchestrator/ that may import each; also inside functions."""
FRAMES = set(DOORS)
ONLY_FOR_TYPES = {("optuna", "spec.py")}
"""Imported under TYPE_CHECKING alone: a search space is read without it."""
CLOSED = {
    "model": {*FRAMES, "evidence", "orchestrator", "search_spaces", "transformers"},
    "evidence": {*FRAMES, "torch", "orchestrator", "search_spaces", "transformers"},
    "orchestrator": {"transformers", "search_spaces"},
    "search_spaces": {*FRAMES, "transformers"} - {"optuna"},
}
"""What no file of a package imports."""
HEAVY = {"torch", "ray", "mlflow", "optuna", "plotly", "matplotlib", "transformers"}
"""What takes seconds to import: not before the command line is parsed."""


@dataclass(frozen=True)
class Import:
    """One imported module, under its full dotted name, and where it is imported."""

    module: str
    line: int
    at_start: bool
    """Whether it runs when the file is imported, and not only in a function."""
    for_types: bool
    """Whether it stands under `if TYPE_CHECKING`."""

    @property
    def package(self):
        """Return the first part of the name."""
        return self.module.partition(".")[0]


def imports_of(path, root):
    """Return all imports of a file, whether by statement or by import_module with a constant name."""
    here = path.relative_to(root).with_suffix("").parts[:-1]
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), here, at_start=True, for_types=False))


def _walk(node, here, *, at_start, for_types):
    for name in _imported(node, here):
        yield Import(name, node.lineno, at_start and not for_types, for_types)
    inside = at_start and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.body:
            yield from _walk(child, here, at_start=inside, for_types=True)
        children = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _walk(child, here, at_start=inside, for_types=for_types)


def _imported(node, here):
    """Return the modules that one node imports; `from a import b` may mean module a.b, so both are told."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = here[: len(here) - node.level + 1] if node.level else ()
        base = ".".join([*above, *([node.module] if node.module else [])])
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
        "import_module",
        "__import__",
    ):
        return [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


def files_of(root, package):
    """Return the files of a package; matching nothing is an error."""
    files = sorted((root / package).rglob("*.py"))
    assert files, f"{root / package} has no Python files"
    return files


def violations(root):
    """Return one line for each import that goes against the arrows."""
    return [
        f"{path.relative_to(root)}:{found.line} imports {found.module}"
        for package, closed in CLOSED.items()
        for path in files_of(root, package)
        for found in imports_of(path, root)
        if found.package in closed or (package == "orchestrator" and not _through_a_door(found, path.name))
    ]


def _through_a_door(found, file):
    if found.package not in DOORS:
        return True
    return file in DOORS[found.package] and (found.for_types or (found.package, file) not in ONLY_FOR_TYPES)


def heavy_at_start(root, start, seen=()):
    """Return the chains of imports by which importing a file imports something heavy."""
    chains = []
    for found in imports_of(root / start, root):
        if not found.at_start:
            continue
        step = f"{start}:{found.line}"
        if found.package in HEAVY:
            chains.append(f"{step} imports {found.module}")
        for file in _own_files(root, found.module):
            if file not in seen:
                chains += [f"{step} > {chain}" for chain in heavy_at_start(root, file, (*seen, start, file))]
    return list(dict.fromkeys(chains))


def _own_files(root, module):
    """Return the files of ours that importing a module runs: its packages' __init__ and itself."""
    parts = module.split(".")
    if parts[0] not in CLOSED:
        return []
    packages = [Path(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [file for file in (*packages, Path(*parts).with_suffix(".py")) if (root / file).is_file()]


@pytest.fixture
def planted(tmp_path):
    """Return a function that writes a small repository with one file changed and gives its root."""
    clean = {
        "model/config.py": "import json\nimport torch\n",
        "evidence/scores.py": "import numpy\nfrom model.tasks import Task\n",
        "orchestrator/__init__.py": "",
        "orchestrator/sweep.py": "import typer\ndef main():\n    import torch\n",
        "orchestrator/runner.py": "import ray\nfrom ray import tune\n",
        "orchestrator/spec.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna\n",
        "orchestrator/study.py": "import optuna\n",
        "orchestrator/tracking.py": "import mlflow\n",
        "orchestrator/errors.py": "",
        "search_spaces/joint.py": "import optuna\nfrom orchestrator.spec import Sweep\n",
    }

    def repository(name=None, text=""):
        for file, content in (clean | ({name: text} if name else {})).items():
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(content, encoding="utf-8")
        return tmp_path

    return repository


def test_the_test_set_has_one_door():
    """What opens it is imported by the command that puts it on the record, and by nothing that a trial runs."""
    importers = {"model.sealed.open_test": set(), "orchestrator.opening": set()}
    for package in CLOSED:
        for path in (ROOT / package).rglob("*.py"):
            for name, files in importers.items():
                if any(f"{found.module}.".startswith(f"{name}.") for found in imports_of(path, ROOT)):
                    files.add(path.name)

    assert importers == {"model.sealed.open_test": {"opening.py"}, "orchestrator.opening": {"confirm.py"}}


def test_imports_keep_to_the_arrows():
    """model/ knows nothing of the rest, and ray, optuna and mlflow come in through their doors alone."""
    assert violations(ROOT) == []


def test_the_command_line_imports_nothing_heavy_at_its_start():
    """Neither orchestrator/sweep.py nor what it imports at its start imports torch, ray, mlflow or optuna."""
    assert heavy_at_start(ROOT, Path("orchestrator/sweep.py")) == []


def test_the_preflight_imports_nothing_heavy():
    """What is wrong with a sweep is told without torch, Ray and MLflow, and without Optuna where it is a list."""
    assert heavy_at_start(ROOT, Path("orchestrator/preflight.py")) == []


def test_the_statistics_import_nothing_heavy():
    """What reads a leaderboard's evidence starts at once: no file of evidence/ leads to torch."""
    files = [path.relative_to(ROOT) for path in files_of(ROOT, "evidence")]

    assert [chain for file in files for chain in heavy_at_start(ROOT, file)] == []


def test_every_door_is_a_file_that_stands():
    """A file that was renamed leaves no permission behind."""
    assert [file for files in DOORS.values() for file in files if not (ROOT / "orchestrator" / file).is_file()] == []


def test_a_clean_repository_has_no_violations(planted):
    """What is allowed is not called a violation."""
    assert violations(planted()) == []
    assert heavy_at_start(planted(), Path("orchestrator/sweep.py")) == []


@pytest.mark.parametrize(
    ("name", "text", "module"),
    [
        ("model/config.py", "import ray", "ray"),
        ("model/config.py", "def f():\n    from ray import tune", "ray"),
        ("model/config.py", "def f():\n    import mlflow.pytorch as m", "mlflow.pytorch"),
        ("model/config.py", "from orchestrator.paths import SweepPaths", "orchestrator.paths"),
        ("model/config.py", "from ..orchestrator import paths", "orchestrator"),
        ("model/config.py", "class A:\n    async def f(self):\n        import optuna", "optuna"),
        ("model/config.py", "import importlib\nimportlib.import_module('ray.tune')", "ray.tune"),
        ("model/config.py", "try:\n    import mlflow\nexcept ImportError:\n    pass", "mlflow"),
        (
            "model/config.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna",
            "optuna",
        ),
        ("model/inner.py", "import json, transformers", "transformers"),
        ("model/config.py", "from evidence.scores import scores", "evidence.scores"),
        ("evidence/scores.py", "def f():\n    import torch", "torch"),
        ("evidence/scores.py", "from orchestrator.paths import SweepPaths", "orchestrator.paths"),
        ("orchestrator/tracking.py", "import ray", "ray"),
        ("orchestrator/runner.py", "def f():\n    import optuna", "optuna"),
        ("orchestrator/study.py", "import mlflow", "mlflow"),
        ("orchestrator/spec.py", "import optuna", "optuna"),
        ("orchestrator/spec.py", "def f():\n    import optuna", "optuna"),
        (
            "orchestrator/spec.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import optuna",
            "optuna",
        ),
        ("orchestrator/sweep.py", "from search_spaces import exp4", "search_spaces"),
        ("search_spaces/joint.py", "def space(trial):\n    import ray", "ray"),
        ("search_spaces/joint.py", "import mlflow", "mlflow"),
    ],
)
def test_a_planted_import_is_found(planted, name, text, module):
    """A forbidden import is named with its file, wherever in the file it stands."""
    found = violations(planted(name, text))

    assert found
    assert found[0].startswith(f"{name}:")
    assert found[0].endswith(f" imports {module}")


@pytest.mark.parametrize(
    ("name", "text", "chain"),
    [
        ("orchestrator/sweep.py", "import torch", "orchestrator/sweep.py:1 imports torch"),
        ("orchestrator/sweep.py", "class A:\n    import ray", "orchestrator/sweep.py:2 imports ray"),
        (
            "orchestrator/sweep.py",
            "import typer\nfrom orchestrator import study",
            "orchestrator/sweep.py:2 > orchestrator/study.py:1 imports optuna",
        ),
        (
            "orchestrator/sweep.py",
            "from model.config import A",
            "orchestrator/sweep.py:1 > model/config.py:2 imports torch",
        ),
        (
            "orchestrator/sweep.py",
            "from .runner import run",
            "orchestrator/sweep.py:1 > orchestrator/runner.py:1 imports ray",
        ),
    ],
)
def test_a_planted_heavy_import_is_found(planted, name, text, chain):
    """What makes --help slow is told as the chain of files that leads to it."""
    assert chain in heavy_at_start(planted(name, text), Path("orchestrator/sweep.py"))


def test_an_import_of_a_package_runs_its_init(planted):
    """Something heavy in orchestrator/__init__.py is found from any import of the package."""
    root = planted("orchestrator/__init__.py", "import mlflow")
    (root / "orchestrator/sweep.py").write_text("from orchestrator.errors import E", encoding="utf-8")

    assert heavy_at_start(root, Path("orchestrator/sweep.py")) == [
        "orchestrator/sweep.py:1 > orchestrator/__init__.py:1 imports mlflow"
    ]


def test_files_that_import_each_other_are_walked_once(planted):
    """A ring of imports ends."""
    root = planted("orchestrator/errors.py", "from orchestrator import sweep")
    (root / "orchestrator/sweep.py").write_text("from orchestrator import errors", encoding="utf-8")

    assert heavy_at_start(root, Path("orchestrator/sweep.py")) == []


def test_a_package_that_is_gone_is_an_error(tmp_path):
    """A renamed package does not pass as one without violations."""
    with pytest.raises(AssertionError, match="has no Python files"):
        violations(tmp_path)
