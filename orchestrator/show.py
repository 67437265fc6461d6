"""What is printed before a sweep and after it: the dry run, the leaderboard, the verdict in words."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from model.config import TrialConfig, config_to_dict, flatten
from model.data import Corpus, load_corpus
from model.encoder_config import BERT_BASE
from model.encoder_files import MINILM_SHA256
from model.files import size_text
from model.sealed import readable
from model.sizes import parameter_counts
from model.table_file import DataError
from model.tasks import majority_scores, overall_score
from orchestrator import show_confirmation
from orchestrator.confirmation import alias_said, champion_row
from orchestrator.disk import BYTES_A_PARAMETER, checkpoint_bytes
from orchestrator.estimate import prefix_cache_sizes
from orchestrator.leaderboard import OTHER_TASKS
from orchestrator.paths import SweepPaths
from orchestrator.plan import Draft, Plan, shown
from orchestrator.progress import clock_text, value_text, varied_text
from orchestrator.redaction import redacted
from orchestrator.resources import Machine
from orchestrator.sentences import on_importance, on_sharing
from orchestrator.tables import Fitting, titles

CHEAPER = 0.9
"""Of the best config's time: what takes more is not called cheaper."""
MINILM_NOTE = (
    "The packaged MiniLM shows and tests the system; it was trained on Quora's pairs, among others. "
    "Its scores are no claim about the study."
)


def header(plan: Plan, machine: Machine, at_once: int, why: str) -> str:
    """Return the sweep's first lines: question, size, profile and why, resources."""
    baseline = shown(plan, plan.baseline)
    names = zip(titles(plan.varies, ()), plan.varies, strict=True)
    varied = ", ".join(f"{name} {value_text(baseline.get(path, ''))}" for name, path in names)
    kind = f"{plan.trials // plan.seeds} {'configs, listed' if plan.configs else 'trials of a space'}"
    kind += f", {plan.seeds} seeds each" if plan.seeds > 1 else ""
    each = f"{plan.gpus_per_trial:g} GPU" if plan.gpus_per_trial else f"{plan.threads} thread{'s' * (plan.threads > 1)}"
    return (
        f"{plan.name}  {plan.question}\n"
        f"  {kind} · baseline {varied or 'the defaults'} · {baseline['epochs']} epoch{'s' * (baseline['epochs'] > 1)}"
        f" · batch {baseline['batch_size']} · learning rate {baseline['learning_rate']:g}\n"
        f"  {machine.where} -> profile {plan.profile} ({why}) · encoder {plan.encoder['name']}"
        f" · data {plan.data['source']}\n"
        f"{_settings(plan)}"
        f"  {at_once} at once, {each} each"
    )


def _settings(plan: Plan) -> str:
    """Return a line with what profile and command line set beside what the header shows anyway."""
    known = {"epochs", "batch_size", "learning_rate"}
    said = {path: value for path, value in plan.settings.items() if path not in known}
    if plan.data["max_dev_examples"] is not None:
        said["max_dev_examples"] = plan.data["max_dev_examples"]
    return f"  set  {' · '.join(f'{path} {value_text(value)}' for path, value in said.items())}\n" if said else ""


def dry_run(console: Console, draft: Draft, paths: SweepPaths, at_once: int, *, keep: int, cache_limit: int) -> None:
    """Print what would run: configs, parameters, disk with `keep` checkpoints kept. Starts nothing.

    `cache_limit` is that of the prefix cache in bytes, 0 for none.
    """
    plan = draft.plan
    tasks = plan.task_list()
    listed = draft.configs if plan.configs else draft.configs[:8]
    counts = [parameter_counts(config, tasks, draft.encoder.config) for config in listed]
    on_base = [
        parameter_counts(c, tasks, BERT_BASE)
        if c.unfrozen_layers == "all" or c.unfrozen_layers <= BERT_BASE.num_hidden_layers
        else None
        for c in listed
    ]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    for title in titles(plan.varies, ()):
        table.add_column(title, justify="right")
    for name in ("parameters", "trainable", "on bert-base", "trainable there"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for number, config in enumerate(listed):
        values = shown(plan, config_to_dict(config))
        table.add_row(
            str(number) if plan.configs else "e.g.",
            *(value_text(values.get(path, "")) for path in plan.varies),
            *(_millions(value) for value in counts[number]),
            *(_millions(value) if value else "" for value in on_base[number] or (None, None)),
            "baseline" if config_to_dict(config) == plan.baseline else "",
        )
    console.print(table)
    each, kept = max(trains for _, trains in counts) * BYTES_A_PARAMETER, min(plan.trials, keep)
    parts = [size for _, size in checkpoint_bytes(each, trials=plan.trials, at_once=at_once, keep=keep)]
    console.print(
        f"  checkpoints: {kept} kept x {size_text(each)}, as much again in MLflow, {size_text(parts[1])} while "
        f"{at_once} run{'s' * (at_once == 1)}; {size_text(sum(parts))} in all",
        soft_wrap=True,
    )
    console.print(f"  frozen layers' cache: {_cache(listed, draft, cache_limit)} · out {paths.root}", soft_wrap=True)
    for task, splits in draft.corpus.items():
        sizes = " · ".join(f"{name} {len(split):,}" for name, split in splits.items())
        console.print(f"  {task}: {sizes} · {_sealed(plan.data['sealed'][task])}")
    console.print("nothing was started")


def _sealed(seal: Mapping[str, Any]) -> str:
    """Return what a task's test set is."""
    if seal["origin"] == "none":
        return "no test set: no labelled file, and too few training examples to set any apart"
    where = "a file of its own" if seal["origin"] == "test" else "set apart from train"
    return f"test {seal['examples']:,}, sealed ({where})"


def _cache(configs: Sequence[TrialConfig], draft: Draft, limit: int) -> str:
    """Return what the prefix cache would hold."""
    sizes = prefix_cache_sizes(configs, draft.corpus, draft.encoder, draft.plan.data["max_dev_examples"])
    if not sizes:
        return "none, no layer is frozen"
    if not limit:
        return "none, they are computed at every step"
    said = f"{size_text(sum(sizes))}{'' if draft.plan.configs else ' for these'}"
    if max(sizes) > limit:
        return f"{said}; what is larger than --prefix-cache-gb allows is computed at every step"
    return said if sum(sizes) <= limit else f"{said}, of which {size_text(limit)} at a time (--prefix-cache-gb)"


def final(
    console: Console, plan: Plan, paths: SweepPaths, board: Mapping[str, Any], majority: float | None, where: str
) -> None:
    """Print the leaderboard by rank, the verdict, and where things are; `where` is what `place` gave."""
    console.print()
    console.print(_leaderboard(plan, paths, board))
    for row in board["rows"]:
        if row["state"] == "failed":
            console.print(f"trial {row['trial']:04d} failed ({row['failure']}): {row['error']}", soft_wrap=True)
    console.print()
    console.print(verdict(board, majority), soft_wrap=True)
    if plan.encoder["weights"] == MINILM_SHA256:
        console.print(MINILM_NOTE, soft_wrap=True)
    console.print(where, soft_wrap=True)
    top = next((row for row in board["rows"] if row["rank"] == 1), None)
    if top:
        best = next(row for row in board["trials"] if row["rank"] == 1)
        console.print(
            f"checkpoint   {best['checkpoint']}  (the best trial's, {best['best']:.4f}; in MLflow: "
            f"models:/{plan.name}@best-dev)",
            soft_wrap=True,
        )
    found = board.get("confirmation")
    if found and champion_row(found) and alias_said(found) is None:
        number = found["champion"]
        console.print(
            f"champion     models:/{plan.name}@champion  (trial {number:04d} of the confirmation)", soft_wrap=True
        )
    console.print(f"table        {paths.leaderboard}", soft_wrap=True)
    if paths.report.is_file():
        console.print(f"report       {paths.report}", soft_wrap=True)


def place(paths: SweepPaths, link: str, tracking_uri: str | None) -> str:
    """Return where the leaderboard is, and what serves it unless a server does already."""
    if tracking_uri is not None and tracking_uri.startswith("http"):
        return f"leaderboard  {link}"
    words = ["python", "-m", "orchestrator.serve"]
    if paths.out != Path("runs").resolve():
        words += ["--out", str(paths.out)]
    if tracking_uri is not None:
        words += ["--tracking-uri", redacted(tracking_uri)]
    return f"leaderboard  {link}\n             served by: {shlex.join(words)}"


def _leaderboard(plan: Plan, paths: SweepPaths, board: Mapping[str, Any]) -> Fitting:
    """Return the table: on a narrow terminal sizes, times and the tasks' scores give way, rank and verdict never."""
    tasks = [task["name"] for task in plan.tasks]
    seeds = ["seeds", "sd"] if plan.seeds > 1 else []
    scores = ["rank", "trial", "best", *seeds, "gap", "95 %", "verdict", "expected", *tasks]
    columns = [*scores, *titles(plan.varies, tasks), "epoch", "time", "trainable"]
    rows = []
    for row in board["rows"]:
        config = shown(plan, row["config"])
        number = f"{row['trial']:04d}"
        rows.append(
            [
                str(row["rank"] or ("-" if row["state"] == "completed" else row["state"])),
                f"{number} baseline" if row["trial"] == board["baseline"] else number,
                "-" if row["verdict"] == OTHER_TASKS else _score(row["best"]),
                *([str(row["seeds"]), _score(row["seed_sd"])] if seeds else []),
                _score(row["gap"]),
                _interval(row["ci_low"], row["ci_high"]),
                row["verdict"] or "-",
                _score(row["expected"]),
                *(_score(row.get(task)) for task in tasks),
                *(value_text(config.get(path, "")) for path in plan.varies),
                str(row["best_epoch"] or "-"),
                clock_text(row["train_seconds"]),
                _millions(row["trainable_params"]) if row["trainable_params"] else "-",
            ]
        )
    expendable = [["trainable"], ["epoch"], ["time"], ["expected"], tasks, ["95 %"]]
    return Fitting(columns, rows, expendable, left=["trial"], elsewhere=str(paths.leaderboard))


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} .. {high:.3f}"


def verdict(board: Mapping[str, Any], majority: float | None) -> str:
    """Return who won, by how much, and what that is worth, in a few lines."""
    rows = [row for row in board["rows"] if row["rank"]]
    if not rows:
        return "No trial completed."
    top = rows[0]
    base = next((row for row in rows if row["trial"] == board["baseline"]), None)
    first = f"{named(board, top)} has the best dev score, {top['best']:.4f}"
    first += f"; answering with the majority always scores {majority:.4f}." if majority is not None else "."
    return "\n".join(
        [
            first,
            _against(rows, base, confirmed=bool(board.get("confirmation"))),
            *_tied(board, rows),
            *on_sharing(board),
            *on_importance(board),
            _seed_noise(board),
            *show_confirmation.of_board(board),
        ]
    )


def named(board: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return a row's trial and what it varies, as a sentence begins."""
    said = varied_text(board["varies"], flatten(row["config"]))
    return f"Trial {row['trial']:04d} ({said})" if said else f"Trial {row['trial']:04d}"


def _against(rows: Sequence[Mapping[str, Any]], base: Mapping[str, Any] | None, *, confirmed: bool) -> str:
    """Say by how much the best is above the baseline, whether that is noise and, if not confirmed, what to expect."""
    top = rows[0]
    if base is None:
        return "The baseline did not complete."
    if base is top:
        return "It is the baseline itself."
    said = f"It is {top['best'] - base['best']:.4f} above the baseline ({base['best']:.4f})"
    if top["verdict"] is None:
        return f"{said}; without both's predictions nobody can say whether that is noise."
    others = sum(row["p"] is not None for row in rows) - 1
    found = "which may be noise: tied" if top["verdict"] == "tied" else str(top["verdict"])
    said = f"{said}, {found} (p {_p(top['p'])}, of {others} comparison{'s' * (others > 1)} together)."
    if confirmed:
        return said
    return (
        f"{said} On new data {top['expected']:.4f} is to be expected; it beats the baseline with probability "
        f"{top['p_beats_baseline']:.2f}."
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


def _tied(board: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the config that takes the least time of those that the best is not better than."""
    top = rows[0]
    cheapest = min((row for row in rows if row["tied_with_best"]), key=lambda row: row["train_seconds"], default=top)
    if cheapest is top or cheapest["train_seconds"] > CHEAPER * top["train_seconds"]:
        return []
    share = cheapest["train_seconds"] / top["train_seconds"]
    return [
        f"Cheapest of those tied with it: {named(board, cheapest)}, {cheapest['best']:.4f} in {share:.0%} of the time."
    ]


def _seed_noise(board: Mapping[str, Any]) -> str:
    """Say what is known of the noise of seeds."""
    if board["seed_sd"] is None and board["seeds"] > 1:
        return "What another seed would change is not known: no config has two seeds' predictions."
    if board["seed_sd"] is None:
        return "One seed each: what another seed would change is not known, and no verdict is more than tentative."
    return (
        f"Another seed changes a score by {board['seed_sd']:.4f} (standard deviation, {board['seeds']} seeds a config)."
    )


def majority_score(plan: Plan, corpus: Corpus | None = None) -> float | None:
    """Return the dev score of answering with the commonest training label always; None where the data are gone."""
    tasks = plan.ranked_tasks()
    try:
        corpus = corpus or readable(load_corpus(plan.data["source"], tasks), plan.data["sealed"])
    except DataError:
        return None
    scores, cap = {}, plan.data["max_dev_examples"]
    for task in tasks:
        train, dev = corpus[task.name]["train"], corpus[task.name]["dev"].capped(cap)
        assert train.labels is not None
        assert dev.labels is not None
        scores[task.name] = majority_scores(task, train.labels, dev.labels)
    return overall_score(tasks, scores)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M"
