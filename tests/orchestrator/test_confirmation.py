"""What a confirmation trains next and what it finds: a function of what was asked and of the trials so far."""

from dataclasses import replace

import numpy as np
import pytest

from evidence.confirm import KnownNoise
from model.config import config_from_dict, config_to_dict
from orchestrator.confirmation import Asked, ask, first_plan, key_of, next_plan, outcome, settled, standings
from orchestrator.errors import SweepError
from orchestrator.judgement import Judge
from orchestrator.leaderboard import TrialRecord, groups, leaderboard
from orchestrator.resources import Machine
from orchestrator.show_confirmation import header, sentences
from tests.predicted import answers, predicted_trial


@pytest.fixture
def finished(sweep, paths):
    """Return a function from skills, one a config, to plan, trials, leaderboard and judge of a finished sweep."""

    def made(skills, seeds=1, seed_noise=0.0):
        plan, trials = sweep(skills, seeds, seed_noise)
        judge = Judge(plan, paths)
        return plan, trials, leaderboard(plan, paths, trials, {}, judge.judge(groups(plan, trials))), judge

    return made


def trained(plan, paths, skills, *, noise=0.002, states=None):
    """Return the trials of a confirmation's plan, with made-up predictions: `skills` by weight decay, in order."""
    trials = []
    for number, config in enumerate(plan.configs):
        rng = np.random.default_rng((5, number))
        skill = skills[round(config["weight_decay"] * 1000)] + rng.normal(0, noise)
        state = (states or {}).get(number, "completed")
        trials.append(
            predicted_trial(paths.confirmation, number, config_from_dict(config), answers(skill, rng), state=state)
        )
    return trials


def played(plan, searched, paths, asked, skills):
    """Return plan and trials once a confirmation has run to its end, round by round."""
    while True:
        trials = trained(plan, paths, skills)
        found = standings(plan, trials, Judge(plan, paths.confirmation), asked)
        more = next_plan(plan, searched, asked, settled(found))
        if more is None:
            return plan, trials, outcome(plan, searched, trials, found, asked)
        plan = more


def test_the_best_that_are_not_the_baseline_are_candidates_on_seeds_above_the_searchs(finished):
    """In the leaderboard's order; what the search tells of the seeds' noise is known."""
    plan, trials, board, judge = finished([0.5, 0.52, 0.6, 0.55], seeds=3, seed_noise=0.003)

    asked = ask(plan, board, trials, judge, top=2, seeds=5)

    assert asked.candidates == (2, 3)
    assert asked.first_seed == 3
    assert asked.known is not None
    assert asked.known.degrees == 8


def test_of_one_seed_each_nothing_is_known_beforehand(finished):
    """The noise of seeds is then learnt from the fresh ones alone."""
    plan, trials, board, judge = finished([0.5, 0.6])

    assert ask(plan, board, trials, judge, top=2, seeds=5).known is None


def test_what_the_candidates_were_chosen_from_counts_those_that_were_stopped_early(finished):
    """They lost by the same dev examples: the luck of who is left is that of the best of all."""
    plan, trials, board, judge = finished([0.5, 0.6, 0.55, 0.52, 0.51])
    stopped = [replace(each, state="pruned") if each.number > 2 else each for each in trials]

    assert ask(plan, board, stopped, judge, top=1, seeds=5).searched == 4


def test_of_one_seed_each_the_examples_part_in_a_lead_is_known_all_the_same(finished):
    """From the predictions of two trials."""
    plan, trials, board, judge = finished([0.5, 0.6])

    assert ask(plan, board, trials, judge, top=1, seeds=5).example_error > 0.001


def test_a_sweep_of_the_baseline_alone_has_nothing_to_confirm(finished):
    """One line says so."""
    plan, trials, board, judge = finished([0.5])

    with pytest.raises(SweepError, match="no config but the baseline has completed"):
        ask(plan, board, trials, judge, top=2, seeds=5)


def test_what_was_asked_is_read_as_it_was_written(tmp_path):
    """With what is known of the noise, and without."""
    for known in (None, KnownNoise(variance=1e-5, degrees=4)):
        asked = Asked(
            sweep_id="a", top=2, seeds=5, first_seed=1, candidates=(3, 1), searched=6, known=known, example_error=0.1
        )
        asked.write(tmp_path / "asked.json")

        assert Asked.read(tmp_path / "asked.json") == asked
    (tmp_path / "asked.json").write_text('{"top": 2}')
    with pytest.raises(SweepError, match=r"asked\.json: cannot be read"):
        Asked.read(tmp_path / "asked.json")


def test_before_it_begins_a_confirmation_says_how_large_a_lead_its_seeds_can_settle(finished):
    """From the noise of a search that repeated seeds; of one that did not, what is not known is said."""

    def note(asked):
        return header(plan, asked, 2, Machine(nodes=[], where="this machine")).splitlines()[-1].strip()

    plan, trials, board, judge = finished([0.5, 0.6, 0.55], seeds=3, seed_noise=0.003)
    asked = ask(plan, board, trials, judge, top=2, seeds=5)

    assert asked.example_error > 0
    leads = [float(note(replace(asked, seeds=seeds)).split("leads of about ")[1].split()[0]) for seeds in (2, 5, 20)]
    assert leads == sorted(leads, reverse=True)
    assert leads[-1] > 2 * asked.example_error
    few = replace(asked, top=1, seeds=1, candidates=(1,), known=KnownNoise(variance=1e-4, degrees=1), example_error=0.0)
    assert note(few) == "note  so few seeds (--seeds 1) settle nothing, however large"
    assert note(replace(asked, known=None)).startswith("note  the search tells nothing of the seeds' noise")


def test_a_round_trains_the_baseline_and_every_open_candidate_on_one_seed(finished):
    """And the next one leaves out who is settled."""
    plan, trials, board, judge = finished([0.5, 0.6, 0.55])
    asked = ask(plan, board, trials, judge, top=2, seeds=3)

    first = first_plan(plan, trials, asked)
    second = next_plan(first, trials, asked, {key_of(trials[1].config)})

    assert [(c["weight_decay"], c["seed"]) for c in first.configs] == [(0.0, 1), (0.001, 1), (0.002, 1)]
    assert second is not None
    assert [(c["weight_decay"], c["seed"]) for c in second.configs[3:]] == [(0.0, 2), (0.002, 2)]
    assert second.trials == 5
    assert next_plan(second, trials, asked, {key_of(trials[1].config), key_of(trials[2].config)}) is None


def test_a_better_candidate_is_champion_and_an_equal_one_is_not_shown_to_differ(finished, paths):
    """Settled early, the former needs fewer seeds than it may have."""
    skills = [0.5, 0.5, 0.65]
    plan, searched, board, judge = finished([0.5, 0.505, 0.6], seeds=3, seed_noise=0.003)
    asked = ask(plan, board, searched, judge, top=2, seeds=6)

    final, trials, found = played(first_plan(plan, searched, asked), searched, paths, asked, skills)

    base, better, equal = found["rows"]
    assert (better["search_trial"], better["verdict"]) == (2, "better")
    assert better["seeds"] < 6
    assert (equal["verdict"], equal["seeds"], base["seeds"]) == ("undecided", 6, 6)
    said = sentences(["weight_decay"], found)
    assert ["too far from zero" in line for line in said[:2]] == [True, False]
    assert final.configs[found["champion"]]["weight_decay"] == 0.002
    assert (found["decided"], found["candidates"]) == (1, 2)
    assert found["spent"] == pytest.approx(len(trials) * 1.0 * final.cpus_per_trial)


def test_where_nothing_is_better_the_baseline_is_champion(finished, paths):
    """The plain model is what one may trust then."""
    plan, searched, board, judge = finished([0.5, 0.51, 0.505])
    asked = ask(plan, board, searched, judge, top=2, seeds=3)

    final, _, found = played(first_plan(plan, searched, asked), searched, paths, asked, [0.5, 0.5, 0.5])

    assert final.configs[found["champion"]]["weight_decay"] == 0.0
    assert "is not shown to differ from the baseline" in sentences(["weight_decay"], found)[0]


def test_the_searchs_own_scores_are_in_no_mean(finished, paths):
    """A lucky search changes nothing of what fresh seeds say."""
    plan, searched, board, judge = finished([0.5, 0.9])
    asked = ask(plan, board, searched, judge, top=1, seeds=2)

    _, trials, found = played(first_plan(plan, searched, asked), searched, paths, asked, [0.5, 0.5])

    scores = {trial.number: trial.best["dev_score"] for trial in trials}
    for row in found["rows"]:
        assert row["scores"] == [scores[number] for number in row["trials"]]
        assert row["mean"] == pytest.approx(np.mean(row["scores"]))


def test_a_trial_that_failed_takes_its_pair_along_and_is_told(finished, paths):
    """The verdict rests on the seeds that both completed."""
    plan, searched, board, judge = finished([0.5, 0.6])
    asked = ask(plan, board, searched, judge, top=1, seeds=3)
    begun = first_plan(plan, searched, asked)
    for _ in range(2):
        begun = next_plan(begun, searched, asked, set())
    trials = trained(begun, paths, [0.5, 0.6], states={3: "failed"})

    found = standings(begun, trials, Judge(begun, paths.confirmation), asked)
    result = outcome(begun, searched, trials, found, asked)

    assert result["rows"][1]["paired_seeds"] == 2
    assert result["rows"][1]["failed"] == [3]
    assert any("Failed on fresh seeds: 0003" in line for line in sentences(["weight_decay"], result))


def test_a_config_that_diverged_on_a_fresh_seed_is_unstable_and_no_champion(finished, paths):
    """Whatever its other seeds say: who trains it again may meet that seed."""
    plan, searched, board, judge = finished([0.5, 0.6], seeds=3, seed_noise=0.003)
    asked = ask(plan, board, searched, judge, top=1, seeds=3)
    begun = first_plan(plan, searched, asked)
    begun = next_plan(begun, searched, asked, set())
    trials = trained(begun, paths, [0.5, 0.9], states={3: "failed"})
    trials[3] = replace(trials[3], failure="diverged")

    found = standings(begun, trials, Judge(begun, paths.confirmation), asked)
    result = outcome(begun, searched, trials, found, asked)

    assert result["rows"][1]["verdict"] == "unstable"
    assert begun.configs[result["champion"]]["weight_decay"] == 0.0
    assert next_plan(begun, searched, asked, settled(found)) is None
    assert "diverged on a fresh seed" in sentences(["weight_decay"], result)[0]


def test_a_config_that_diverged_on_every_fresh_seed_is_unstable_too(finished, paths):
    """Though it shares no seed with the baseline, and it is not trained on one more."""
    plan, searched, board, judge = finished([0.5, 0.6])
    asked = ask(plan, board, searched, judge, top=1, seeds=3)
    begun = first_plan(plan, searched, asked)
    trials = trained(begun, paths, [0.5, 0.6], states={1: "failed"})
    trials[1] = replace(trials[1], failure="diverged")

    found = standings(begun, trials, Judge(begun, paths.confirmation), asked)
    result = outcome(begun, searched, trials, found, asked)

    assert result["rows"][1]["verdict"] == "unstable"
    assert next_plan(begun, searched, asked, settled(found)) is None
    assert "diverged on a fresh seed, has none to compare" in sentences(["weight_decay"], result)[0]


def test_who_was_settled_stays_so_whatever_later_seeds_of_others_say(finished, paths):
    """A verdict is of the round in which it was reached."""
    plan, searched, board, judge = finished([0.5, 0.65, 0.505], seeds=3, seed_noise=0.003)
    asked = ask(plan, board, searched, judge, top=2, seeds=4)
    final, trials, _ = played(first_plan(plan, searched, asked), searched, paths, asked, [0.5, 0.65, 0.5])
    better = key_of(searched[1].config)
    first = next(
        last
        for last in range(4)
        if standings(final, [t for t in trials if t.config["seed"] <= asked.first_seed + last],
                     Judge(final, paths.confirmation), asked)[better].settled
    )  # fmt: skip

    standing = standings(final, trials, Judge(final, paths.confirmation), asked)[better]

    assert standing.verdict == "better"
    assert standing.confirmation.seeds == first + 1


def test_without_a_baseline_on_any_fresh_seed_nothing_is_confirmed(finished, paths):
    """And nobody is champion by default."""
    plan, searched, board, judge = finished([0.5, 0.6])
    asked = ask(plan, board, searched, judge, top=1, seeds=2)
    begun = first_plan(plan, searched, asked)
    trials = trained(begun, paths, [0.5, 0.6], states={0: "failed"})

    result = outcome(begun, searched, trials, standings(begun, trials, Judge(begun, paths.confirmation), asked), asked)

    assert result["rows"][1]["verdict"] is None
    assert result["champion"] is None
    assert sentences(["weight_decay"], result) == ["The baseline completed on no fresh seed: nothing is confirmed."]


def test_a_leaderboard_has_the_confirmations_columns(finished, paths):
    """Of the configs that were confirmed; the others have none."""
    plan, searched, _, judge = finished([0.5, 0.6, 0.4])
    asked = ask(plan, leaderboard(plan, paths, searched), searched, judge, top=1, seeds=2)
    _, _, found = played(first_plan(plan, searched, asked), searched, paths, asked, [0.5, 0.6, 0.4])
    from model.files import write_json

    write_json(paths.confirmed, found)

    rows = {row["trial"]: row for row in leaderboard(plan, paths, searched)["rows"]}

    assert rows[1]["confirm_mean"] == found["rows"][1]["mean"]
    assert rows[0]["confirmed"] == "baseline"
    assert rows[2]["confirm_mean"] is None


def test_seeds_at_the_end_of_their_range_are_refused(finished):
    """A fresh one would be none that torch takes."""
    plan, trials, board, judge = finished([0.5, 0.6])
    late = [replace(trial, config=trial.config | {"seed": 2**32 - 1}) for trial in trials]

    with pytest.raises(SweepError, match="there is no fresh one"):
        ask(plan, board, late, judge, top=1, seeds=2)


def test_configs_that_differ_in_the_seed_alone_are_one_candidate(bare_plan, tiny_config, paths):
    """On fresh seeds they are the same config."""
    configs = [replace(tiny_config, seed=seed) for seed in range(3)]
    plan = bare_plan(configs)
    best = {"epoch": 1, "dev_score": 0.5, "scores": dict.fromkeys(tiny_config.tasks, 0.5), "checkpoint": "none"}
    trials = [TrialRecord(n, "completed", config_to_dict(config), [], best) for n, config in enumerate(configs)]

    with pytest.raises(SweepError, match="nothing to confirm"):
        ask(plan, leaderboard(plan, paths, trials), trials, Judge(plan, paths), top=2, seeds=2)
