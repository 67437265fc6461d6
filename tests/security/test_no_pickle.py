"""No code of ours unpickles, evaluates or hands to a shell what was stored; the walk over the code finds each way."""

import ast
import re
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("model", "orchestrator", "search_spaces")
UNPICKLERS = {
    "pickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "marshal",
    "shelve",
    "joblib",
    "pickletools",
    "ray.cloudpickle",
}
"""Modules that are not imported."""
CALLS = {
    "torch.load", "torch.jit.load", "torch.export.load", "torch.hub.load", "torch.serialization.load",
    "torch.package.PackageImporter", "pandas.read_pickle", "yaml.load", "yaml.load_all", "yaml.full_load",
    "yaml.unsafe_load", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "ray.tune.Tuner.restore", "eval", "builtins.eval",
}  # fmt: skip
"""What is not called."""
EXEC = {"exec": "orchestrator/spec.py", "compile": "orchestrator/spec.py"}
"""What one file alone calls: a search space is code."""
OPTIONS = {"shell": True, "allow_pickle": True, "trust_remote_code": True, "weights_only": False}
"""Options of whatever call that do not have this value, nor any that is not written there."""
WAYS_TO_RAY = {"init", "connect", "client"}
TROJANED = {"lightning", "pytorch-lightning", "litellm"}
"""Packages of this ecosystem of which releases carried malware (CVE-2026-44484, LiteLLM 1.82.7)."""


@dataclass
class Names:
    """What the names of a file stand for."""

    known: dict = field(default_factory=dict)

    def learn(self, node):
        """Take an import down."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                self.known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                self.known[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def of(self, node):
        """Return the full dotted name of an expression, whatever it was imported as; None where it is no name."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.of(node.value)
            return f"{before}.{node.attr}" if before else None
        if isinstance(node, ast.Call) and self.of(node.func) in ("getattr", "builtins.getattr") and len(node.args) > 1:
            before, name = self.of(node.args[0]), node.args[1]
            return f"{before}.{name.value}" if before and isinstance(name, ast.Constant) else None
        if isinstance(node, ast.Call) and (self.of(node.func) or "").rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            return node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        return None


def violations(root):
    """Return a line for each way to run what was stored, with its file."""
    found = []
    for package in PACKAGES:
        files = sorted((root / package).rglob("*.py"))
        assert files, f"{root / package} has no Python files"
        for path in files:
            tree, names, where = ast.parse(path.read_text(encoding="utf-8")), Names(), str(path.relative_to(root))
            for node in ast.walk(tree):
                names.learn(node)
            for node in ast.walk(tree):
                found += [f"{where}:{node.lineno} {what}" for what in _wrong(node, names, where)]
    return found


def _wrong(node, names, where):
    for module in _imported(node):
        if any(f"{module}.".startswith(f"{banned}.") for banned in UNPICKLERS):
            yield f"imports {module}"
    if isinstance(node, ast.Attribute | ast.Name | ast.Call) and names.of(node) in CALLS:
        yield f"uses {names.of(node)}"
    if isinstance(node, ast.Call):
        name = names.of(node.func) or ""
        if EXEC.get(name.removeprefix("builtins."), where) != where:
            yield f"calls {name}"
        if name.endswith(".load_model") and name.startswith("mlflow"):
            yield f"calls {name}"
        for option in node.keywords:
            if option.arg in OPTIONS and not _is(option.value, not OPTIONS[option.arg]):
                yield f"calls {name} with {option.arg}"


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def _imported(node):
    """Return the modules that a node imports; `from a import b` may mean module a.b, so both are told."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        return [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return []


WAYS_OF_OURS = (
    "runner.cluster", "connection.connect", "connection.connect_and_wait", "resources.find_machine"
)  # fmt: skip
UNDER_THEM = {"connection.py", "resources.py", "runner.py"}
"""What those functions stand in, and pass each other on."""


def calls_of_ray(root):
    """Return the files that call Ray's ways in, and those that reach them without ray_environment.prepare."""
    callers, unprepared = set(), []
    for path in sorted((root / "orchestrator").glob("*.py")):
        tree, names = ast.parse(path.read_text(encoding="utf-8")), Names()
        for node in ast.walk(tree):
            names.learn(node)
        called = {names.of(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if called & {f"ray.{way}" for way in WAYS_TO_RAY}:
            callers.add(path.name)
        ways = {f"orchestrator.{way}" for way in WAYS_OF_OURS}
        if path.name not in UNDER_THEM and called & ways and "orchestrator.ray_environment.prepare" not in called:
            unprepared.append(path.name)
    return callers, unprepared


@pytest.fixture
def planted(tmp_path):
    """Return a function that writes a small repository with one file changed and gives its root."""

    def repository(name="model/config.py", text=""):
        for file in ("model/config.py", "orchestrator/spec.py", "orchestrator/plan.py", "search_spaces/joint.py"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text if file == name else "import json\n", encoding="utf-8")
        return tmp_path

    return repository


def test_nothing_that_was_stored_is_run():
    """model/, orchestrator/ and search_spaces/ import no unpickler and call nothing that runs files or text."""
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nrows = np.load('a', mmap_mode='c', allow_pickle=False)",
        "from model.checkpoint import load_model\nload_model(checkpoint, encoder)",
        "def f(model):\n    return model.eval()",
        "import yaml\nyaml.safe_load(text)",
        "import re\nre.compile('a')",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "import json\njson.load(file)",
        "weights_only = False",
    ],
)
def test_what_is_allowed_is_no_violation(planted, text):
    """Reading arrays, JSON and safe YAML, and a model's eval mode, are not called violations."""
    assert violations(planted("model/config.py", text)) == []


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("model/config.py", "import pickle", "imports pickle"),
        ("model/config.py", "import _pickle as p", "imports _pickle"),
        ("model/config.py", "def f():\n    from cloudpickle import loads", "imports cloudpickle"),
        ("model/config.py", "from ray import cloudpickle", "imports ray.cloudpickle"),
        ("model/config.py", "import json, dill", "imports dill"),
        ("model/config.py", "class A:\n    import marshal", "imports marshal"),
        ("model/config.py", "import shelve", "imports shelve"),
        ("model/config.py", "from joblib import load", "imports joblib"),
        ("model/config.py", "import importlib\nimportlib.import_module('pickle')", "imports pickle"),
        ("model/config.py", "__import__('pickle').loads(b'')", "imports pickle"),
        ("model/config.py", "import torch\ntorch.load('a')", "uses torch.load"),
        ("model/config.py", "import torch as t\nt.load('a')", "uses torch.load"),
        ("model/config.py", "from torch import load as read\nread('a')", "uses torch.load"),
        ("model/config.py", "import torch\nread = torch.load", "uses torch.load"),
        ("model/config.py", "import torch\ngetattr(torch, 'load')('a')", "uses torch.load"),
        ("model/config.py", "import torch\ntorch.load('a', weights_only=False)", "calls torch.load with weights_only"),
        ("model/config.py", "import torch\ntorch.jit.load('a')", "uses torch.jit.load"),
        ("model/config.py", "import torch.export\ntorch.export.load('a')", "uses torch.export.load"),
        (
            "model/config.py",
            "import numpy as np\nnp.load('a', allow_pickle=True)",
            "calls numpy.load with allow_pickle",
        ),
        ("model/config.py", "import numpy as np\nnp.load('a', allow_pickle=b)", "calls numpy.load with allow_pickle"),
        ("model/config.py", "import yaml\nyaml.load(text, yaml.Loader)", "uses yaml.load"),
        ("orchestrator/plan.py", "from yaml import unsafe_load\nunsafe_load(text)", "uses yaml.unsafe_load"),
        ("orchestrator/plan.py", "eval('1')", "uses eval"),
        ("orchestrator/plan.py", "exec('1')", "calls exec"),
        ("orchestrator/plan.py", "exec(compile('1', 'a', 'exec'))", "calls compile"),
        ("search_spaces/joint.py", "exec('1')", "calls exec"),
        (
            "orchestrator/plan.py",
            "import subprocess\nsubprocess.run('ls', shell=True)",
            "calls subprocess.run with shell",
        ),
        ("orchestrator/plan.py", "import os\nos.system('ls')", "uses os.system"),
        ("orchestrator/plan.py", "import mlflow\nmlflow.pyfunc.load_model('m')", "calls mlflow.pyfunc.load_model"),
        (
            "orchestrator/plan.py",
            "from mlflow import pytorch\npytorch.load_model('m')",
            "calls mlflow.pytorch.load_model",
        ),
        ("orchestrator/plan.py", "from ray import tune\ntune.Tuner.restore('a', f)", "uses ray.tune.Tuner.restore"),
        (
            "orchestrator/plan.py",
            "import transformers as t\nt.f('a', trust_remote_code=True)",
            "with trust_remote_code",
        ),
    ],
)
def test_a_planted_way_is_found(planted, name, text, what):
    """Each way to run what was stored is named with its file, whatever it was imported as."""
    found = violations(planted(name, text))

    assert [line for line in found if line.startswith(f"{name}:") and line.endswith(what)], found


def test_a_search_space_alone_is_executed(planted):
    """It is exec that stands in orchestrator/spec.py, once."""
    assert violations(planted("orchestrator/spec.py", "exec(compile('1', 'a', 'exec'))")) == []
    calls = ast.walk(ast.parse((ROOT / "orchestrator/spec.py").read_text(encoding="utf-8")))
    assert sum(isinstance(node, ast.Call) and ast.unparse(node.func) == "exec" for node in calls) == 1


def test_packages_that_carried_malware_are_not_installed():
    """Neither the lock nor site-packages has lightning or litellm, and no .pth file there is unaccounted for."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {
        re.sub(r"[-_.]+", "-", name).lower()
        for name in re.findall(r"^([A-Za-z0-9._-]+)\s*(?:==|@)", lock, re.MULTILINE)
    }
    installed = {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower() for each in metadata.distributions()}
    assert {"torch", "ray", "mlflow"} <= locked & installed
    assert (locked | installed) & TROJANED == set()
    ours = re.compile(r"(__editable__[.\w-]*multitask_sweeps.*|distutils-precedence)\.pth")
    site = Path(metadata.distribution("ray").locate_file(""))
    assert [path.name for path in site.glob("*.pth") if not ours.fullmatch(path.name)] == []


def _normal(name):
    """Return a package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_ray_is_started_and_joined_from_one_file_whose_callers_set_the_environment():
    """ray.init stands in runner.py and connection.py alone; who calls those has called ray_environment.prepare."""
    assert calls_of_ray(ROOT) == ({"connection.py", "runner.py"}, [])


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("orchestrator/plan.py", "import ray\nray.init()", ({"plan.py"}, [])),
        ("orchestrator/plan.py", "from ray import init as start\nstart('auto')", ({"plan.py"}, [])),
        (
            "orchestrator/plan.py",
            "from orchestrator import connection\nconnection.connect('a:1')",
            (set(), ["plan.py"]),
        ),
        (
            "orchestrator/plan.py",
            "from orchestrator.resources import find_machine\nfind_machine(a)",
            (set(), ["plan.py"]),
        ),
        ("orchestrator/plan.py", "import json", (set(), [])),
    ],
)
def test_a_planted_way_to_ray_is_found(planted, name, text, found):
    """Another file that starts Ray, and one that joins it in whatever mode the environment says, are named."""
    assert calls_of_ray(planted(name, text)) == found


def test_every_ray_start_of_the_cluster_has_a_token():
    """Each command of ray_cluster.yaml that starts Ray sets RAY_AUTH_MODE=token and the token's place."""
    cluster = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))
    starts = [
        line
        for name in ("head_start_ray_commands", "worker_start_ray_commands")
        for line in cluster[name]
        if "ray start" in line
    ]
    assert len(starts) == 2
    for line in starts:
        before = line.partition("ray start")[0]
        assert re.search(r"export .*\bRAY_AUTH_MODE=token\b", before)
        assert re.search(r"export .*\bRAY_AUTH_TOKEN_PATH=\S+", before)
