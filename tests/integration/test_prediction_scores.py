"""The prediction files, read by nothing of this program, score what the leaderboard says, to the last digit.

Accuracy and Pearson's r are computed here from their definitions, in fractions, without rounding.
"""

import csv
import math
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from statistics import mean

import pytest

from tests.integration.conftest import ROOT, TIMEOUT_S

pytestmark = pytest.mark.slow

FILES = {
    "sentiment": ("sst", "ids-sst", "sentiment", "Predicted_Sentiment"),
    "paraphrase": ("para", "quora", "is_duplicate", "Predicted_Is_Paraphrase"),
    "similarity": ("sts", "sts", "similarity", "Predicted_Similiary"),
}
"""Of each task the prefix of its prediction files and of its data files, and the two label columns."""
R_BOUND = 8 * 2**-53
"""scipy's r, which the leaderboard holds, comes of rounded sums: off by at most 4 * 2**-53 over 600 random sets of 24
to 863 values, and by nothing here."""


@pytest.fixture(scope="module")
def predicted(finished, tmp_path_factory):
    """Return the folder with the six prediction files of the sweep's best model."""
    out = tmp_path_factory.mktemp("predictions")
    line = [sys.executable, "-m", "orchestrator.predict", "--model", "tiny@best-dev", "--runs", str(finished.out)]
    line += ["--data", str(finished.data), "--out", str(out)]
    subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    return out


def predictions(folder, task, split):
    """Return (id, prediction) pairs as exact numbers, in the file's order."""
    prefix, _, _, title = FILES[task]
    with (folder / f"{prefix}-{split}-output.csv").open(encoding="utf-8", newline="") as file:
        assert next(file) == f"id \t {title} \n"
        rows = list(csv.reader(file))
    return [(identifier.strip(), Fraction(float(value))) for identifier, value in rows]


def labels(folder, task, split):
    """Return (id, label) pairs as exact numbers of what Python reads a label as, in the file's order."""
    _, prefix, column, _ = FILES[task]
    with (folder / f"{prefix}-{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["id"], Fraction(float(row[column]))) for row in csv.DictReader(file, delimiter="\t")]


def accuracy(found, true):
    """Return the share of equal ones."""
    return Fraction(sum(a == b for a, b in zip(found, true, strict=True)), len(true))


def pearson(found, true):
    """Return r = sum (x - mean x)(y - mean y) / sqrt(sum (x - mean x)^2 sum (y - mean y)^2), rounded once."""
    x, y = ([value - mean(values) for value in values] for values in (found, true))
    covariance = sum(a * b for a, b in zip(x, y, strict=True))
    square = covariance**2 / (sum(a * a for a in x) * sum(b * b for b in y))
    with localcontext() as digits:
        digits.prec = 60
        root = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
    return Fraction(math.copysign(float(root), covariance))


def score(task, found, true):
    """Return the task's metric."""
    return (pearson if task == "similarity" else accuracy)(found, true)


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("task", FILES)
def test_a_prediction_file_has_every_example_once_in_the_data_files_order(finished, predicted, task, split):
    """Also of the test files, whose labels the model never saw: they score as labels do, which nothing records."""
    found, true = predictions(predicted, task, split), labels(finished.data, task, split)

    assert [identifier for identifier, _ in found] == [identifier for identifier, _ in true]
    assert -1 <= score(task, [value for _, value in found], [value for _, value in true]) <= 1


def test_the_dev_files_score_what_the_leaderboard_says_to_the_last_digit(finished, predicted):
    """Accuracies are equal bit for bit; r, and so the dev score, within the few last bits that scipy's sums round."""
    board = finished.board()
    row = board["rows"][0]
    trial = next(trial for trial in board["trials"] if trial["trial"] == row["trial"])
    scores = {}
    for task in FILES:
        found, true = predictions(predicted, task, "dev"), labels(finished.data, task, "dev")
        scores[task] = score(task, [value for _, value in found], [value for _, value in true])

    overall = (scores["sentiment"] + scores["paraphrase"] + (scores["similarity"] + 1) / 2) / 3

    for told in (row, trial):
        assert told["rank"] == 1
        assert told["sentiment"] == float(scores["sentiment"])
        assert told["paraphrase"] == float(scores["paraphrase"])
        assert abs(Fraction(told["similarity"]) - scores["similarity"]) <= R_BOUND
        assert abs(Fraction(told["best"]) - overall) <= R_BOUND
        for name, exact in (("similarity", scores["similarity"]), ("best", overall)):  # as tables and MLflow print them
            assert f"{told[name]:.4f}" == f"{float(exact):.4f}"
