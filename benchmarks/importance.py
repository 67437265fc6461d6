"""Is what is said of parameters true? Sweeps with known effects: `python -m benchmarks.importance` (2 minutes).

Three seeds a config, noise as in benchmarks/synthetic.py: 0.0036 of the seeds, 0.0032 of a config's own from the
examples, 0.005 that all share. Of each design the first parameter, a, is looked at; rates with their Wilson interval.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from evidence.importance import Finding, importances
from evidence.scores import Array
from evidence.seeds import Configs

OWN, SHARED, OF_SEEDS, SEEDS, SWEEPS = 0.0032, 0.005, 0.0036, 3, 2000
Levels = Mapping[str, Sequence[float]]
DESIGNS: Mapping[str, Callable[[np.random.Generator], Levels]] = {
    "exp3, 5 dropouts": lambda _: {"a": [0.0, 0.3, 0.4, 0.5, 0.6]},
    "exp4, 7 heads": lambda _: {"a": [1, 0, 0, 0, 2, 5, 9], "b": [1, 1, 3, 5, 2, 5, 9]},
    "pairs, 2 by 2": lambda _: {"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]},
    "joint, 30 points": lambda rng: (
        {"a": rng.random(30).tolist()}
        | {name: rng.integers(0, most, 30).tolist() for name, most in zip("bcdef", (4, 3, 5, 7, 2), strict=True)}
    ),
}
EFFECTS: Sequence[tuple[str, str, Callable[[Levels], Array]]] = (
    *((design, "nothing", lambda levels: np.zeros(len(levels["a"]))) for design in DESIGNS),
    ("pairs, 2 by 2", "b moves it by 0.01", lambda levels: 0.02 * np.array(levels["b"])),
    ("joint, 30 points", "b moves it by 0.022", lambda levels: 0.02 * np.array(levels["b"])),
    ("pairs, 2 by 2", "a moves it by 0.005", lambda levels: 0.01 * np.array(levels["a"])),
    ("pairs, 2 by 2", "a moves it by 0.01", lambda levels: 0.02 * np.array(levels["a"])),
    ("joint, 30 points", "a moves it by 0.005", lambda levels: 0.005 * 12**0.5 * np.array(levels["a"])),
)
"""Standard deviations between configs; of joint's over the points that may be drawn."""


def judged(design: str, effect: Callable[[Levels], Array], rng: np.random.Generator) -> tuple[bool, bool, bool, float]:
    """Return of one sweep whether a differs beyond noise, whether it matters, whether any does; and a's effect."""
    levels = DESIGNS[design](rng)
    size = len(levels["a"])
    degrees = size * (SEEDS - 1)
    noise_T = OWN * rng.standard_normal(size) + OF_SEEDS / SEEDS**0.5 * rng.standard_normal(size)
    found = importances(
        levels,
        Configs(
            keys=tuple(range(size)),
            overall_T=0.7 + effect(levels) + noise_T + SHARED * rng.standard_normal(),
            seeds_T=np.full(size, float(SEEDS)),
            examples_TT=OWN**2 * np.eye(size) + SHARED**2,
            seed_variance=float(OF_SEEDS**2 * rng.chisquare(degrees) / degrees),
            degrees=degrees,
            resolution=1e-4,
        ),
        draws=1000,
    )
    (a,) = (entry for entry in found if entry.parameter == "a")
    matters = [entry.parameter for entry in found if entry.finding is Finding.MATTERS]
    return a.p < 0.05, "a" in matters, bool(matters), a.effect


def rate(values: Sequence[bool]) -> str:
    """Return the share in percent, with its interval."""
    low, high = stats.binomtest(sum(values), len(values)).proportion_ci(method="wilson")
    return f"{np.mean(values):.1%} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Print the table of docs/honesty.md."""
    print("| design | truth | a beyond noise | a matters | any matters | effect of a |\n|" + " --- |" * 6)
    for place, (design, truth, effect) in enumerate(EFFECTS):
        rng = np.random.default_rng(place)
        noise, a, any_, size = zip(*(judged(design, effect, rng) for _ in range(SWEEPS)), strict=True)
        print(f"| {design} | {truth} | {rate(noise)} | {rate(a)} | {rate(any_)} | {np.mean(size):.4f} |", flush=True)


if __name__ == "__main__":
    main()
