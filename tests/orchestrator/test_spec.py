"""Search-space files: what a sweep may say, how a file that is wrong is refused, what the shipped ones hold."""

import ast
import os
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import HeadConfig, TrialConfig
from orchestrator.errors import SweepError
from orchestrator.inspection import varying
from orchestrator.probing import probe
from orchestrator.spec import Sweep, known_sweeps, load_sweep, question_of

BASE = TrialConfig()
SHIPPED = sorted(
    path for path in (Path(__file__).parents[2] / "search_spaces").glob("*.py") if path.name != "__init__.py"
)
GOOD = '''\
"""Which rate?"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig()


def with_rate(rate):
    """Return the base with a rate."""
    return replace(BASE, learning_rate=rate)


SWEEP = Sweep(question="Which rate?", baseline=BASE, configs=[BASE, with_rate(1e-4)])
'''


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a search-space file and gives its path."""

    def written(text, name="given.py"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    return written


def refused(path):
    """Return the text with which a file is refused."""
    with pytest.raises(SweepError) as caught:
        load_sweep(path)
    return str(caught.value)


# --- Sweep's own checks ---


def one_point(trial):
    """Return the only config."""
    del trial
    return BASE


def test_a_sweep_is_a_list_or_a_space():
    """Either form is taken as it is."""
    assert Sweep(question="?", baseline=BASE, configs=[BASE]).configs[0] == BASE
    assert Sweep(question="?", baseline=BASE, space=one_point, trials=3).trials == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "either configs"),
        ({"configs": []}, "either configs"),
        ({"configs": [BASE], "space": one_point, "trials": 3}, "either configs"),
        ({"space": one_point}, "says trials=N, 1 or more"),
        ({"space": one_point, "trials": -1}, "says trials=N, 1 or more"),
        ({"configs": [replace(BASE, epochs=1)]}, "baseline is not among the configs"),
    ],
)
def test_a_sweep_that_is_neither_or_both_is_refused(arguments, said):
    """The error says what is allowed."""
    with pytest.raises(ValueError, match=said):
        Sweep(question="?", baseline=BASE, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"configs": [BASE], "trials": 5},
        {"configs": [BASE], "sampler": "grid"},
        {"space": one_point, "trials": 3, "sampler": "grid"},
        {"space": "one_point", "trials": 3},
        {"configs": [BASE, "another"]},
    ],
    ids=["trials of a list", "sampler of a list", "unknown sampler", "space by name", "config by name"],
)
def test_what_would_be_ignored_or_fail_later_is_refused(arguments):
    """An unknown sampler, trials of a list and things of another type are errors at once."""
    with pytest.raises((ValueError, TypeError)):
        Sweep(question="?", baseline=BASE, **arguments)


def test_configs_given_as_a_generator_are_all_there():
    """Looking for the baseline among them loses none."""
    configs = [BASE, replace(BASE, epochs=1), replace(BASE, epochs=2)]

    assert list(Sweep(question="?", baseline=BASE, configs=(config for config in configs)).configs) == configs


# --- loading ---


def test_a_good_file_is_loaded(file):
    """The sweep that it defines comes back with its path."""
    path = file(GOOD)

    loaded = load_sweep(path)

    assert loaded.path == path
    assert loaded.sweep.configs[1].learning_rate == 1e-4
    assert question_of(path) == "Which rate?"


def test_a_syntax_error_is_shown_with_its_line_and_a_caret(file):
    """FILE:LINE:COLUMN, the line itself, and a caret under the place."""
    path = file(GOOD.replace("BASE = TrialConfig()", "BASE = TrialConfig(]"))

    place, line, caret = refused(path).split("\n")

    assert place.startswith(f"{path}:8:20: ")
    assert line.strip() == "BASE = TrialConfig(]"
    assert line[caret.index("^")] == "]"


def test_an_error_that_only_compiling_finds_has_its_line(file):
    """A return outside a function is no syntax error to the parser; it has its line all the same."""
    path = file(GOOD + "return SWEEP\n")

    assert refused(path).startswith(f"{path}:17")


@pytest.mark.parametrize("relative", [False, True], ids=["absolute path", "relative path"])
@pytest.mark.parametrize(
    ("wrong", "line", "said"),
    [
        ("BASE = TrialConfig()\nLAYERS = 3 // 0\n", 9, "ZeroDivisionError"),
        ("import nowhere.at_all\nBASE = TrialConfig()\n", 8, "No module named 'nowhere'"),
        ("import sys\nBASE = TrialConfig()\nsys.exit('enough')\n", 10, "SystemExit: enough"),
        ("BASE = replace(\n    TrialConfig(), learning_rat=1e-4)\n", 8, "did you mean 'learning_rate'?"),
        ("BASE = TrialConfig(heads=HeadConfig(dropuot=0.1))\n", 8, "did you mean 'heads.dropout'?"),
        ("BASE = TrialConfig(epochs=0)\n", 8, "epochs is 0: input should be greater than or equal to 1"),
    ],
    ids=["exception", "missing import", "sys.exit", "unknown field", "unknown field of the heads", "out of range"],
)
def test_an_error_while_loading_names_its_line(file, wrong, line, said, relative):
    """The message is one line that begins with FILE:LINE, however the file was named."""
    path = file(GOOD.replace("BASE = TrialConfig()\n", wrong))
    path = Path(os.path.relpath(path)) if relative else path

    text = refused(path)

    assert text.startswith(f"{path}:{line}: ")
    assert said in text
    assert "\n" not in text


def test_an_error_deep_in_a_call_names_the_files_own_last_line(file):
    """The line is the innermost one of the file, not one of the library below it."""
    path = file(GOOD.replace("with_rate(1e-4)]", "with_rate(4)]"))

    text = refused(path)

    assert text.startswith(f"{path}:13: learning_rate is 4: ")


def test_a_file_that_imports_what_does_not_exist_in_a_module_that_does_is_refused(file):
    """The name and the module are in the message."""
    path = file(GOOD.replace("HeadConfig, TrialConfig", "HeadsConfig, TrialConfig"))

    assert refused(path).startswith(f"{path}:5: ImportError: cannot import name 'HeadsConfig'")


def test_a_file_without_a_sweep_is_refused_with_what_it_has(file):
    """A misspelt SWEEP is seen among the names that are there."""
    path = file(GOOD.replace("SWEEP =", "SWEEPS ="))

    text = refused(path)

    assert text.startswith(f"{path}: defines no SWEEP; expected SWEEP = Sweep(...); it has ")
    assert text.endswith("BASE, with_rate, SWEEPS")


def test_a_sweep_of_another_type_is_refused_with_its_type(file):
    """The message names the type that was found."""
    assert ": defines SWEEP as a dict; expected SWEEP = Sweep(...)" in refused(file("SWEEP = {}\n"))


def test_an_empty_file_is_refused(file):
    """There is nothing in it, and the message says so."""
    assert refused(file("")).endswith("it has nothing")


def test_a_file_that_is_not_utf8_is_refused_with_the_byte(file):
    """The message says which byte; nothing is guessed."""
    path = file(b'"""Caf\xe9?"""\n')

    assert refused(path) == f"{path}: is not UTF-8 (invalid continuation byte at byte 6)"


def test_a_byte_order_mark_is_no_error(file):
    """Python takes it, and so do we."""
    path = file(b"\xef\xbb\xbf" + GOOD.encode())

    assert load_sweep(path).sweep.question == "Which rate?"
    assert question_of(path) == "Which rate?"


def test_a_file_with_a_nul_byte_is_refused(file):
    """No traceback of the parser's."""
    assert "null bytes" in refused(file(b"a = 1\0\n"))


def test_a_missing_file_is_refused_with_those_that_are_there(file):
    """The folder's search spaces are named, or that there are none."""
    path = file(GOOD)

    text = refused(path.with_name("other.py"))

    assert "No such file" in text
    assert text.endswith(f"{path.parent} has given.py")
    assert known_sweeps(path.parent / "none") == f"no search space lies in {path.parent / 'none'}"


def test_a_file_that_was_just_changed_is_loaded_as_it_is_now(file, monkeypatch):
    """No compiled copy of the earlier text is believed, and none is left behind."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = file(GOOD)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    load_sweep(path)
    file(GOOD.replace("1e-4", "2e-4"))
    os.utime(path, (1_700_000_000, 1_700_000_000))  # within the same second

    assert load_sweep(path).sweep.configs[1].learning_rate == 2e-4
    assert [entry.name for entry in path.parent.iterdir()] == ["given.py"]


def test_a_file_may_define_a_dataclass_of_its_own(file):
    """Postponed annotations work as in any module."""
    text = GOOD.replace('?"""\n', '?"""\n\nfrom __future__ import annotations\n', 1).replace(
        "BASE = TrialConfig()\n",
        "from dataclasses import dataclass\n@dataclass\nclass Own:\n    x: int\nBASE = TrialConfig()\n",
    )

    assert load_sweep(file(text)).sweep.question == "Which rate?"


# --- the hash of the code ---


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BASE = TrialConfig()", "BASE = TrialConfig()  # the study's"),
        ('"""Which rate?"""', '"""Which rate?\n\nThe answer: 1e-4.\n"""'),
        ('"""Return the base with a rate."""', '"""Another text."""'),
        ('    """Return the base with a rate."""\n', ""),
        ("configs=[BASE, with_rate(1e-4)]", "configs=[\n    BASE,\n    with_rate(1e-4),\n]"),
        ("1e-4", "0.0001"),
        ("return replace", "return  replace"),
    ],
    ids=["comment", "file's docstring", "docstring", "no docstring", "layout", "spelling of a number", "space"],
)
def test_comments_docstrings_and_layout_do_not_change_the_hash(file, before, after):
    """What a file means is the same, and so is its hash."""
    assert before in GOOD

    assert load_sweep(file(GOOD, "a.py")).code_sha256 == load_sweep(file(GOOD.replace(before, after))).code_sha256


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1e-4", "2e-4"),
        ("with_rate", "of_rate"),
        ("TrialConfig()", "TrialConfig(seed=1)"),
        ("BASE = ", "OTHER = 1\nBASE = "),
        ("[BASE, with_rate(1e-4)]", "[with_rate(1e-4), BASE]"),
        ('question="Which rate?"', 'question="Which?"'),
        ("BASE = ", "BASE: TrialConfig = "),
    ],
    ids=["number", "name", "argument", "statement", "order", "string", "annotation"],
)
def test_anything_else_changes_the_hash(file, before, after):
    """A change of the code is a change of the hash."""
    assert before in GOOD

    assert load_sweep(file(GOOD, "a.py")).code_sha256 != load_sweep(file(GOOD.replace(before, after))).code_sha256


@given(st.text(st.characters(exclude_characters='"\\\r\0', exclude_categories=["Cs"])))
def test_any_docstring_gives_the_same_hash(tmp_path_factory, text):
    """Whatever answer is written into the docstring, the sweep goes on."""
    path = tmp_path_factory.mktemp("hash") / "given.py"
    found = set()
    for docstring in ("Which rate?", text):
        path.write_text(GOOD.replace('"""Which rate?"""', f'"""{docstring} """'), encoding="utf-8")
        found.add(load_sweep(path).code_sha256)

    assert len(found) == 1


# --- the shipped search spaces ---


def shipped(name):
    """Return a shipped sweep."""
    return load_sweep(Path(__file__).parents[2] / "search_spaces" / f"{name}.py").sweep


def test_the_studys_sweeps_are_all_there():
    """Four experiments, the final comparison, pair encodings, and all of it together."""
    assert [path.stem for path in SHIPPED] == ["exp1", "exp2", "exp3", "exp4", "final", "joint", "pairs", "single_task"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_reads_at_a_glance(path):
    """15 to 45 lines; the docstring begins with the question and ends with the command."""
    sweep = load_sweep(path).sweep
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)).split("\n")

    assert 15 <= len(text.splitlines()) <= 45
    assert docstring[0] == sweep.question == question_of(path)
    command = f"python -m orchestrator.sweep search_spaces/{path.name}"
    assert docstring[-1].strip() == command + (f" --trials {sweep.trials}" if sweep.space else "")
    assert not {"ray", "mlflow", "torch"} & {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }


def test_the_baseline_of_the_study_is_the_default_config():
    """Top two layers, one common and one task layer, rate 2e-5 falling by 0.9, dropout 0.3, batch 32, 10 epochs."""
    assert BASE.unfrozen_layers == 2
    assert (BASE.heads.common_layers, BASE.heads.task_layers, BASE.heads.dropout) == (1, 1, 0.3)
    assert (BASE.learning_rate, BASE.learning_rate_decay, BASE.batch_size, BASE.epochs) == (2e-5, 0.9, 32, 10)


def test_exp1_frees_all_then_three_two_and_one_layers():
    """Nothing but the depth varies, and the fully trained model is the baseline."""
    sweep = shipped("exp1")

    assert [config.unfrozen_layers for config in sweep.configs] == ["all", 3, 2, 1]
    assert varying(sweep.configs) == ["unfrozen_layers"]
    assert sweep.baseline == sweep.configs[0]


def test_exp2_has_the_studys_three_rates():
    """Nothing but the rate varies; the baseline has 2e-5."""
    sweep = shipped("exp2")

    assert [config.learning_rate for config in sweep.configs] == [1e-5, 2e-5, 3e-5]
    assert varying(sweep.configs) == ["learning_rate"]
    assert sweep.baseline == BASE


def test_exp3_has_the_studys_five_dropouts():
    """Nothing but the dropout before the heads varies; the baseline has 0.3."""
    sweep = shipped("exp3")

    assert [config.heads.dropout for config in sweep.configs] == [0.0, 0.3, 0.4, 0.5, 0.6]
    assert varying(sweep.configs) == ["heads.dropout"]
    assert sweep.baseline == BASE


def test_exp4_has_the_studys_seven_heads_in_order():
    """Common and task layers as in the study's table; the baseline has one of each."""
    sweep = shipped("exp4")

    pairs = [(config.heads.common_layers, config.heads.task_layers) for config in sweep.configs]
    assert pairs == [(1, 1), (0, 1), (0, 3), (0, 5), (2, 2), (5, 5), (9, 9)]
    assert varying(sweep.configs) == ["heads.common_layers", "heads.task_layers"]
    assert sweep.baseline == BASE


def test_pairs_has_both_encodings_of_both_pair_tasks():
    """Four configs, two by two; the baseline encodes both apart."""
    sweep = shipped("pairs")

    encodings = [(c.pair_encoding["paraphrase"], c.pair_encoding["similarity"]) for c in sweep.configs]
    assert sorted(encodings) == [("joint", "joint"), ("joint", "separate"), ("separate", "joint"), ("separate",) * 2]
    assert sweep.baseline.pair_encoding == {"paraphrase": "separate", "similarity": "separate"}
    assert len(varying(sweep.configs)) == 2


def test_final_sets_the_tuned_model_beside_the_fine_tuned_one_at_both_depths():
    """Tuned: 1e-5, dropout 0.5, no common layer, three task layers. Fine-tuned: no common layer, the defaults."""
    sweep = shipped("final")
    tuned = TrialConfig(learning_rate=1e-5, heads=HeadConfig(common_layers=0, task_layers=3, dropout=0.5))
    fine_tuned = TrialConfig(heads=HeadConfig(common_layers=0))

    assert list(sweep.configs) == [
        fine_tuned,
        tuned,
        replace(fine_tuned, unfrozen_layers="all"),
        replace(tuned, unfrozen_layers="all"),
    ]
    assert sweep.baseline == fine_tuned


def test_joint_searches_all_of_it_together():
    """Depth, rate, heads, dropout and encodings vary, the rate's range follows the depth."""
    sweep = shipped("joint")
    configs = [point.config for point in probe(sweep.space, Path("joint.py"))]

    assert varying(configs) == [
        "unfrozen_layers",
        "heads.common_layers",
        "heads.task_layers",
        "heads.dropout",
        "pair_encoding.paraphrase",
        "pair_encoding.similarity",
        "learning_rate",
    ]
    assert all(c.learning_rate <= 5e-5 for c in configs if c.unfrozen_layers == "all")
    assert all(c.learning_rate >= 1e-5 for c in configs if c.unfrozen_layers != "all")
    assert sweep.trials == 30
    assert sweep.baseline == BASE


def test_the_readmes_example_is_a_search_space(tmp_path):
    """What the README shows can be saved as it stands, and loaded."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(readme.split("```python\n")[1].split("```")[0], encoding="utf-8")

    assert len(load_sweep(tmp_path / "mine.py").sweep.configs) == 5
