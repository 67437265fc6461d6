"""The plan: what a file and a command line mean, what is refused, and what a second command may change."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import HeadConfig, TrialConfig, config_to_dict
from model.encoder_files import find_encoder
from model.tasks import TASKS
from orchestrator.errors import SweepError
from orchestrator.inspection import inspect, varying
from orchestrator.plan import Plan, concurrency, draft, read_plan, settle
from orchestrator.profiles import PROFILES, choose
from orchestrator.resources import Machine, Node
from orchestrator.spec import LoadedSweep, Sweep


@pytest.fixture
def drafted(options_for, machine, loaded_list, tiny_config):
    """Return a function that drafts a list of configs; two that differ in their rate by default."""

    def of(*configs, on=machine, **changes):
        configs = configs or (tiny_config, replace(tiny_config, learning_rate=5e-4))
        return draft(inspect(loaded_list(*configs), options_for(**changes)), on)

    return of


def depth_space(trial):
    """Return a config of a space over the depth."""
    return TrialConfig(
        unfrozen_layers=trial.suggest_int("unfrozen_layers", 0, 3), max_tokens=32, epochs=2, batch_size=16
    )


@pytest.fixture
def drafted_space(options_for, machine):
    """Return a function that drafts a space, of which five trials are asked for."""

    def of(code="a" * 64, space=depth_space, **changes):
        sweep = Sweep(question="How deep?", baseline=TrialConfig(max_tokens=32), space=space, trials=5)
        return draft(inspect(LoadedSweep(Path("deep.py"), sweep, code), options_for(**changes)), machine)

    return of


def refusal(action, *arguments, **named):
    """Return the lines with which something is refused."""
    with pytest.raises(SweepError) as caught:
        action(*arguments, **named)
    return str(caught.value).split("\n")


# --- drafting ---


def test_a_draft_says_all_that_results_follow_from(drafted, tiny_config, tiny_encoder, tiny_data):
    """Configs, baseline, tasks, encoder by hash and data by content stand in the plan."""
    found = drafted()
    plan = found.plan

    assert plan.configs == [config_to_dict(config) for config in found.configs]
    assert plan.baseline == config_to_dict(tiny_config)
    assert plan.trials == 2
    assert plan.varies == ["learning_rate"]
    assert [task.name for task in plan.task_list()] == ["sentiment", "paraphrase", "similarity"]
    assert plan.task_list() == [TASKS[name] for name in tiny_config.tasks]
    assert plan.encoder["given"] == str(tiny_encoder)
    assert plan.encoder["weights"] == find_encoder(str(tiny_encoder)).weights_sha256
    assert plan.data["source"] == str(tiny_data)
    assert sorted(plan.data["content"]) == sorted(f"{t}/{s}" for t in tiny_config.tasks for s in ("train", "dev"))


def test_the_test_set_is_not_read(drafted, tiny_data, tmp_path):
    """A sweep is planned without the test files, and never opens them."""
    shutil.copytree(tiny_data, tmp_path / "data")
    for path in (tmp_path / "data").glob("*-test.csv"):
        path.unlink()

    assert drafted(data=str(tmp_path / "data")).plan.data["content"] == drafted().plan.data["content"]


def test_only_the_tasks_of_the_configs_are_read(drafted, tiny_config, tiny_data, tmp_path):
    """The single-task baseline needs its own files alone."""
    for split in ("train", "dev"):
        shutil.copy(tiny_data / f"ids-sst-{split}.csv", tmp_path)

    plan = drafted(replace(tiny_config, tasks=("sentiment",)), data=str(tmp_path)).plan

    assert [task["name"] for task in plan.tasks] == ["sentiment"]
    assert list(plan.data["content"]) == ["sentiment/train", "sentiment/dev"]


def test_all_problems_come_in_one_error(drafted, tiny_config, tmp_path):
    """Settings, configs, encoder and every data file: a person mends them in one go."""
    (tmp_path / "ids-sst-train.csv").write_text("id\tsentence\n1\tgood\n", encoding="utf-8")

    lines = refusal(
        drafted,
        replace(tiny_config, tasks=("sentiment", "paraphrases")),
        settings={"heads.dropout": 2.0},
        data=str(tmp_path),
        encoder=str(tmp_path),
    )

    text = "\n".join(lines)
    assert "heads.dropout is 2.0" in text
    assert f"{tmp_path}: config.json not found" in text
    assert f"{tmp_path / 'ids-sst-train.csv'}:1: no column 'sentiment'" in text
    assert f"{tmp_path / 'ids-sst-dev.csv'}: no such file" in text


def test_each_problem_of_the_configs_is_one_line_with_the_file(drafted, tiny_config):
    """What is impossible for this encoder names the file; configs that share a problem share its line."""
    deep, long = replace(tiny_config, unfrozen_layers=9), replace(tiny_config, max_tokens=512)
    misspelt = replace(tiny_config, tasks=("sentiment", "paraphrases"))

    lines = refusal(drafted, deep, replace(deep, seed=1), long, misspelt)

    assert len(lines) == 3
    assert lines[0] == 'given.py:1: unfrozen_layers is 9: the encoder has 3 layers; 0..3 or "all" (configs[0])'
    assert lines[1] == "given.py:1: max_tokens is 512: the encoder has 64 positions (configs[2])"
    assert lines[2].startswith("given.py:1: unknown task 'paraphrases' (did you mean 'paraphrase'?)")


def test_settings_hold_in_every_config_and_in_the_baseline(drafted, tiny_config):
    """What the command line set is in the plan's configs, and listed beside them."""
    plan = drafted(settings={"epochs": 1, "heads.dropout": 0.5, "pair_encoding.paraphrase": "joint"}).plan

    for config in [*plan.configs, plan.baseline]:
        assert config["epochs"] == 1
        assert config["heads"]["dropout"] == 0.5
        assert config["pair_encoding"] == {"paraphrase": "joint"}
    assert [config["learning_rate"] for config in plan.configs] == [tiny_config.learning_rate, 5e-4]
    assert plan.settings == {"epochs": 1, "heads.dropout": 0.5, "pair_encoding.paraphrase": "joint"}


def test_a_profiles_settings_leave_varied_fields_alone(drafted):
    """A profile's rate does not touch a sweep over rates, nor its epochs a file that sets them; its decay holds."""
    plan = drafted(profile_settings={"epochs": 3, "learning_rate": 3e-4, "weight_decay": 0.1}).plan

    assert [config["learning_rate"] for config in plan.configs] == [1e-3, 5e-4]
    assert {config["epochs"] for config in plan.configs} == {2}
    assert {config["weight_decay"] for config in plan.configs} == {0.1}
    assert plan.settings == {"weight_decay": 0.1}


def test_the_command_line_goes_before_the_profile(drafted):
    """--epochs 1 holds where the profile says 3."""
    assert drafted(profile_settings={"epochs": 3}, settings={"epochs": 1}).plan.baseline["epochs"] == 1


def test_setting_a_varied_field_is_refused(drafted):
    """The sweep's configs would all be alike."""
    (line,) = refusal(drafted, settings={"learning_rate": 1e-4})

    assert line.startswith("given.py: learning_rate varies in this sweep")


@pytest.mark.parametrize("field", ["heads", "pair_encoding"])
def test_setting_a_whole_group_of_which_one_field_varies_is_refused(drafted, tiny_config, field):
    """Setting the heads as a whole would undo what the sweep varies in them."""
    configs = (
        replace(tiny_config, pair_encoding={"similarity": "separate"}, heads=HeadConfig(dropout=0.0)),
        replace(tiny_config, pair_encoding={"similarity": "joint"}, heads=HeadConfig(dropout=0.4)),
    )

    (line,) = refusal(drafted, *configs, settings={field: {}})

    assert "varies in this sweep" in line


def test_an_unknown_field_is_refused_with_the_nearest(drafted):
    """A did-you-mean, and the fields that there are."""
    lines = refusal(drafted, settings={"head.dropuot": 0.1})

    assert lines[0].startswith("unknown field 'head.dropuot' (did you mean 'heads.dropout'?); the fields are ")


def test_a_number_that_is_not_finite_is_refused(drafted):
    """NaN is JSON to Python, and no value of a field."""
    (line,) = refusal(drafted, settings={"weight_decay": float("nan")})

    assert "weight_decay" in line


def test_the_trials_of_a_space_are_its_own_or_the_command_lines(drafted_space):
    """--trials goes before the file's; there are no configs in the plan, but the code's hash."""
    assert drafted_space().plan.trials == 5
    plan = drafted_space(trials=9).plan
    assert (plan.trials, plan.configs, plan.space_code) == (9, [], "a" * 64)
    assert plan.varies == ["unfrozen_layers"]


def test_trials_given_for_an_exact_list_are_refused(drafted):
    """A list is trained whole: a number of trials would be ignored."""
    assert "trials" in refusal(drafted, trials=1)[0]


def test_a_space_is_held_against_the_encoder_before_it_starts(drafted_space):
    """A depth that the encoder does not have is found in the probes."""

    def too_deep(trial):
        return replace(depth_space(trial), unfrozen_layers=trial.suggest_int("unfrozen_layers.deep", 3, 4))

    (line,) = refusal(drafted_space, space=too_deep)

    assert line.startswith('deep.py:1: unfrozen_layers is 4: the encoder has 3 layers; 0..3 or "all" (at {')


def test_a_space_that_varies_the_tasks_is_refused(drafted_space):
    """Its searcher would be drawn to the easier task: scores are means over different things."""

    def other_tasks(trial):
        return replace(depth_space(trial), tasks=("sentiment", "similarity")[: trial.suggest_int("tasks", 1, 2)])

    (line,) = refusal(drafted_space, space=other_tasks)

    assert line.startswith("deep.py:1: the space has a config with the tasks sentiment")
    assert line.endswith("a searcher cannot compare their scores; configs=[...] takes both")


def test_equal_drafts_differ_in_their_id_alone(drafted):
    """The random id tells a sweep from an earlier one of its name; the rest follows from what was given."""
    first, second = drafted().plan, drafted().plan

    assert first.sweep_id != second.sweep_id
    assert replace(first, sweep_id=second.sweep_id) == second


# --- resources ---


@pytest.mark.parametrize(
    ("cpus", "gpus", "asked", "expected"),
    [
        (8, 0.0, {}, (4.0, 0.0, 4)),  # two trials share eight cores
        (1, 0.0, {}, (1.0, 0.0, 1)),
        (8, 4.0, {}, (2.0, 1.0, 2)),
        (8, 1.0, {"gpus_per_trial": 0.5}, (4.0, 0.5, 4)),
        (8, 1.0, {"gpus_per_trial": 0.0}, (4.0, 0.0, 4)),
        (8, 0.0, {"cpus_per_trial": 3.0}, (3.0, 0.0, 3)),
        (8, 0.0, {"cpus_per_trial": 0.5}, (0.5, 0.0, 1)),
    ],
)
def test_a_trials_share_of_the_machine(drafted, cpus, gpus, asked, expected):
    """One GPU where there are any, else the cores shared out; torch's threads follow from the cores."""
    plan = drafted(on=Machine((Node(cpus, gpus),), "here"), **asked).plan

    assert (plan.cpus_per_trial, plan.gpus_per_trial, plan.threads) == expected


@pytest.mark.parametrize("asked", [{"gpus_per_trial": 1.0}, {"cpus_per_trial": 64.0}])
def test_more_than_the_machine_has_is_refused(drafted, asked):
    """Such a trial would wait for ever."""
    assert next(iter(asked)).replace("_", "-") in refusal(drafted, **asked)[0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpus_per_trial": 4.0}, "no node has more than 2 of the 4"),
        ({"cpus_per_trial": 16.0}, "no node has more than 8 of the 18"),
        ({"cpus_per_trial": 6.0, "gpus_per_trial": 2.0}, "no node has both"),
    ],
)
def test_more_than_one_node_has_is_refused_whatever_they_have_together(drafted, asked, said):
    """A trial runs on one node: of a share that none holds Ray would say PENDING for ever."""
    cluster = Machine((Node(8, 0.0), Node(5, 2.0), Node(5, 2.0)), "Ray at a test's head")

    assert said in refusal(drafted, on=cluster, **asked)[0]


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        ([Node(8, 0.0), Node(8, 4.0), Node(16, 4.0)], {}, (2.0, 1.0)),  # the narrower of those with GPUs decides
        ([Node(8, 0.0), Node(1, 1.0)], {}, (1.0, 1.0)),
        ([Node(4, 0.0), Node(4, 0.0)], {}, (4.0, 0.0)),  # two trials, one a node
        ([Node(0, 0.0), Node(3, 0.0)], {}, (1.0, 0.0)),
        ([Node(0, 0.0), Node(8, 2.0)], {"gpus_per_trial": 0.0}, (4.0, 0.0)),
    ],
)
def test_a_trials_share_of_a_cluster_is_one_that_its_nodes_hold(drafted, nodes, asked, expected):
    """As many cores as leave no trial out that a share of one core would let run."""
    cluster = Machine(nodes, "Ray at a test's head")
    plan = drafted(on=cluster, **asked).plan

    assert (plan.cpus_per_trial, plan.gpus_per_trial) == expected
    assert concurrency(plan, cluster, None) <= cluster.holds(*expected)


@pytest.mark.parametrize(
    ("trials", "cpus", "gpus", "per_cpu", "per_gpu", "asked", "expected"),
    [
        (7, 2, 0.0, 1.0, 0.0, None, 2),
        (7, 2, 0.0, 1.0, 0.0, 1, 1),
        (7, 2, 0.0, 1.0, 0.0, 5, 2),
        (1, 8, 0.0, 1.0, 0.0, None, 1),
        (7, 8, 0.0, 0.5, 0.0, None, 7),
        (30, 8, 0.0, 0.5, 0.0, None, 16),
        (30, 8, 2.0, 1.0, 1.0, None, 2),
        (30, 8, 2.0, 1.0, 0.5, None, 4),
        (30, 2, 4.0, 1.0, 1.0, None, 2),
        (30, 3, 0.0, 0.1, 0.0, None, 30),
        (30, 1, 0.0, 4.0, 0.0, None, 1),
    ],
)
def test_how_many_trials_run_at_once(bare_plan, trials, cpus, gpus, per_cpu, per_gpu, asked, expected):
    """As many as cores, GPUs, the sweep's size and the person allow, and one at least."""
    plan = bare_plan(trials=trials, cpus_per_trial=per_cpu, gpus_per_trial=per_gpu)

    assert concurrency(plan, Machine((Node(cpus, gpus),), "here"), asked) == expected


# --- settling ---


def test_a_plan_makes_the_round_trip(drafted, tmp_path):
    """What is read from the file equals what was written, and so does what a worker gets."""
    plan = drafted(settings={"tasks": ["sentiment", "similarity"]}).plan

    assert settle(tmp_path / "plan.json", plan) == plan
    assert read_plan(tmp_path / "plan.json") == plan
    assert Plan(**json.loads(json.dumps(plan.to_dict()))) == plan


def test_an_equal_plan_goes_on_and_nothing_is_written(drafted, tmp_path):
    """The plan that stands there is returned, with its own id, and its bytes stay."""
    path = tmp_path / "plan.json"
    first = settle(path, drafted().plan)
    before = (path.read_bytes(), path.stat().st_ino)

    assert settle(path, drafted().plan) == first
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_resources_stay_as_they_were_first_settled(drafted, tmp_path):
    """Another machine, or another share of it, changes no thread count: the bits depend on it."""
    first = settle(tmp_path / "plan.json", drafted().plan)

    other = drafted(on=Machine((Node(16, 0.0),), "a larger machine"), cpus_per_trial=4.0).plan

    assert settle(tmp_path / "plan.json", other) == first


def test_data_and_encoder_that_moved_are_the_same_sweep(drafted, tiny_encoder, tiny_data, tmp_path):
    """They are told by their content; from then on they are read where they lie now."""
    first = settle(tmp_path / "plan.json", drafted().plan)
    shutil.copytree(tiny_data, tmp_path / "data")
    shutil.copytree(tiny_encoder, tmp_path / "encoder")

    moved = drafted(data=str(tmp_path / "data"), encoder=str(tmp_path / "encoder")).plan

    settled = settle(tmp_path / "plan.json", moved)

    assert settled == replace(first, data=moved.data, encoder=moved.encoder)
    assert read_plan(tmp_path / "plan.json") == settled


@pytest.fixture
def other_data(tiny_data, tmp_path):
    """Return a copy of the data in which one label is another."""
    shutil.copytree(tiny_data, tmp_path / "data")
    path = tmp_path / "data" / "sts-dev.csv"
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\t5.0\n")
    path.write_text(text[:-4] + "4.0\n", encoding="utf-8")
    return str(tmp_path / "data")


@pytest.fixture
def other_encoder(tiny_encoder, tmp_path):
    """Return a copy of the encoder in which one bit of the weights is another."""
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    path = tmp_path / "encoder" / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + bytes([content[-4] ^ 1]) + content[-3:])
    return str(tmp_path / "encoder")


@pytest.mark.parametrize(
    ("what", "path", "values"),
    [
        ("config", "configs[1].learning_rate", "was 0.0005, is now 0.0004"),
        ("one more", "configs[2].learning_rate", "was absent, is now 0.0001"),
        ("setting", "epochs", "was 2, is now 1"),
        ("data", "data.content.similarity/dev", "was "),
        ("cap", "data.max_dev_examples", "was None, is now 8"),
        ("encoder", "encoder.weights", "was "),
        ("seed", "seed", "was 0, is now 1"),
    ],
)
def test_another_plan_is_refused_with_what_changed(
    drafted, tiny_config, other_data, other_encoder, tmp_path, what, path, values
):
    """The changed path and both values stand in the error, with what to do; the file is untouched."""
    file = tmp_path / "plan.json"
    settle(file, drafted().plan)
    before = file.read_bytes()
    rates = [replace(tiny_config, learning_rate=rate) for rate in (1e-3, 5e-4, 4e-4, 1e-4)]
    other = {
        "config": lambda: drafted(rates[0], rates[2]),
        "one more": lambda: drafted(rates[0], rates[1], rates[3]),
        "setting": lambda: drafted(settings={"epochs": 1}),
        "data": lambda: drafted(data=other_data),
        "cap": lambda: drafted(max_dev_examples=8),
        "encoder": lambda: drafted(encoder=other_encoder),
        "seed": lambda: drafted(seed=1),
    }[what]()

    head, *changed, remedy = refusal(settle, file, other.plan)

    assert head == f"{tmp_path} holds another sweep of this name; changed are:"
    assert any(line.startswith(f"  {path}: {values}") for line in changed)
    assert "--new" in remedy
    assert "--name" in remedy
    assert file.read_bytes() == before


def test_a_change_of_one_thing_is_told_in_one_line(drafted, other_data, tmp_path):
    """Nothing else is said to have changed."""
    settle(tmp_path / "plan.json", drafted().plan)

    assert len(refusal(settle, tmp_path / "plan.json", drafted(data=other_data).plan)) == 3


def test_a_setting_that_changed_the_configs_is_told_as_theirs(drafted, tiny_config, tmp_path):
    """One line for what --set changed, not one more for its having been set."""
    settle(tmp_path / "plan.json", drafted(tiny_config).plan)
    dropped = replace(tiny_config, heads=replace(tiny_config.heads, dropout=0.55))

    _, *changed, _ = refusal(settle, tmp_path / "plan.json", drafted(dropped, settings={"heads.dropout": 0.55}).plan)

    assert len(changed) == 1
    assert changed[0].endswith("is now 0.55")


def test_a_changed_space_is_refused(drafted_space, tmp_path):
    """Its code's hash is part of the plan."""
    settle(tmp_path / "plan.json", drafted_space().plan)

    lines = refusal(settle, tmp_path / "plan.json", drafted_space(code="b" * 64).plan)

    assert lines[1].startswith("  space_code: was aaaa")


def test_a_spaces_total_may_be_raised_and_lowered(drafted_space, tmp_path):
    """The new total is written, and nothing else changes."""
    path = tmp_path / "plan.json"
    first = settle(path, drafted_space().plan)

    assert settle(path, drafted_space(trials=9).plan) == replace(first, trials=9)
    assert read_plan(path) == replace(first, trials=9)
    assert settle(path, drafted_space(trials=2).plan) == replace(first, trials=2)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", '{"version": 302}', "{", '{"version": 1}'],
    ids=["empty", "no keys", "a list", "one key", "cut short", "another version"],
)
def test_a_plan_that_cannot_be_read_is_refused_with_what_to_do(drafted, tmp_path, content):
    """A damaged plan, or another version's, is never taken for this one's, nor overwritten."""
    path = tmp_path / "plan.json"
    path.write_text(content, encoding="utf-8")

    (line,) = refusal(settle, path, drafted().plan)

    assert line.startswith(f"{path}: ")
    assert "--new" in line
    assert path.read_text(encoding="utf-8") == content


# --- what varies, and how large it is ---


def test_what_varies_is_in_the_fields_order(tiny_config):
    """Dotted paths, the heads' among them; a task named in some of the configs varies too."""
    configs = [
        tiny_config,
        replace(tiny_config, seed=1, heads=HeadConfig(dropout=0.5), pair_encoding={"similarity": "joint"}),
        replace(tiny_config, tasks=("sentiment",)),
    ]

    assert set(varying(configs)) == {"tasks", "heads.dropout", "pair_encoding.similarity", "seed"}
    assert varying(configs)[:2] == ["tasks", "heads.dropout"]
    assert varying(configs[:1]) == varying(configs[:1] * 3) == []


@given(st.lists(st.sampled_from([1e-5, 2e-5, 3e-5]), min_size=1), st.randoms())
def test_what_varies_does_not_depend_on_the_configs_order(rates, random):
    """Any order of the same configs has the same fields that vary."""
    configs = [TrialConfig(learning_rate=rate, seed=len(str(rate))) for rate in rates]
    shuffled = random.sample(configs, len(configs))

    assert varying(shuffled) == varying(configs)
    assert ("learning_rate" in varying(configs)) == (len(set(rates)) > 1)


@pytest.mark.parametrize(("gpus", "name"), [(0.0, "laptop"), (1.0, "study")])
def test_auto_takes_the_study_where_there_is_a_gpu(gpus, name):
    """The choice comes with its reason; a profile that is asked for is taken."""
    profile, why = choose("auto", gpus)

    assert (profile.name, "GPU" in why) == (name, True)
    assert choose("study", 0.0) == (PROFILES["study"], "asked for")


@pytest.mark.parametrize("coming", [1, 2])
def test_the_demand_is_for_all_that_may_come_before_any_is_up(drafted, coming):
    """With a head alone a sweep asks for as many GPUs at once as may come: the autoscaler brings them at once."""
    nodes = (Node(0, 0.0), *[Node(4, 1.0)] * coming)
    machine = Machine(nodes, "Ray at a test's head", is_cluster=True, may_grow=True)
    plan = drafted(on=machine).plan
    assert (plan.gpus_per_trial, plan.cpus_per_trial, plan.trials) == (1.0, 4.0, 2)
    assert concurrency(plan, machine, None) == coming


def test_concurrent_is_taken_at_its_word_on_a_cluster(drafted):
    """More than is up now: nodes may join. On one machine it is no more than that holds."""
    plan = drafted(on=Machine((Node(1, 0.0),), "here"), cpus_per_trial=1.0).plan
    assert concurrency(plan, Machine((Node(1, 0.0),), "Ray at a test's head", is_cluster=True), 2) == 2
    assert concurrency(plan, Machine((Node(1, 0.0),), "here"), 2) == 1
