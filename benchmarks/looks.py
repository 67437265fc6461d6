"""May one look after every fresh seed? Equal pairs, two errors of any proportion: `python -m benchmarks.looks`.

A difference of S seeds is an error that the examples give all of them, of standard deviation 1, and the seeds' own.
"Plain" is the same rule with Satterthwaite's degrees of freedom as they stand; evidence/confirm.py says why it is not
taken. docs/honesty.md has what came of it.
"""

from itertools import product
from typing import Annotated
from unittest.mock import patch

import numpy as np
import typer

from evidence import confirm as rule
from evidence.confirm import KnownNoise, confirm

SEARCHED = (1, 6, 29)
RATIOS = (0.1, 1.0, 3.0, 10.0)
"""Standard deviation of one seed's difference, in the examples'."""
LOOKS = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(pairs: Annotated[int, typer.Option(min=100, help="Confirmations of each kind.")] = 10_000) -> None:
    """Say how often a pair that is equal in truth is ever called better or worse, as a share of alpha."""
    print(f"{pairs:,} equal pairs, {LOOKS} looks: claims as a share of alpha, 5 % / searched")
    print("searched  seeds / examples  known degrees   plain   bounded")
    for searched, ratio, degrees in product(SEARCHED, RATIOS, (0, 14)):
        alpha = 0.05 / searched
        bounded = claimed(ratio, degrees, pairs, alpha) / alpha
        with patch.object(rule, "upper_bound", lambda variance, _degrees, _caution: variance):
            plain = claimed(ratio, degrees, pairs, alpha) / alpha
        print(f"{searched:8}  {ratio:16}  {degrees:13}  {plain:6.2f}  {bounded:8.2f}", flush=True)


def claimed(ratio: float, degrees: int, pairs: int, alpha: float) -> float:
    """Return the share of equal pairs of which some look claims a difference."""
    rng = np.random.default_rng((int(10 * ratio), degrees))
    wrong = 0
    for _ in range(pairs):
        differences = rng.normal() + rng.normal(0, ratio, LOOKS)
        known = (
            KnownNoise(variance=ratio**2 / 2 * rng.chisquare(degrees) / degrees, degrees=degrees) if degrees else None
        )
        said = (confirm(differences[:n], known=known, example_error=1.0, alpha=alpha) for n in range(1, LOOKS + 1))
        wrong += any(each.settled for each in said)
    return wrong / pairs


if __name__ == "__main__":
    app()
