"""Prints a sweep's leaderboard as a Markdown table: python scripts/results_table.py runs/exp4 [runs/exp1 ...]."""

import json
import sys
from pathlib import Path
from typing import Any

from model.config import flatten


def table(board: dict[str, Any]) -> str:
    """Return the rows by rank, the varying fields first."""
    tasks = board["rows"][0]["config"]["tasks"]
    names = [path.rpartition(".")[2] for path in board["varies"]]
    columns = ["rank", *names, "best", *tasks, "epoch", "train seconds", "trainable"]
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in (row for row in board["rows"] if row["rank"]):
        config = flatten(row["config"])
        shown = " (baseline)" if row["trial"] == board["baseline"] else ""
        cells = [f"{row['rank']}{shown}", *(str(config.get(path, "")) for path in board["varies"])]
        cells += [f"{row[name]:.4f}" for name in ("best", *tasks)]
        cells += [str(row["best_epoch"]), f"{row['train_seconds']:.0f}", f"{row['trainable_params'] / 1e6:.2f} M"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        board = json.loads((Path(folder) / "leaderboard.json").read_text(encoding="utf-8"))
        print(f"### {board['sweep']}: {board['question']}\n\n{table(board)}\n")
