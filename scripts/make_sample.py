"""Writes the bundled sample: nine small files in the course's format, the same bytes every time.

    python scripts/make_sample.py model/sample

The sentences are composed from sample_words.py and stand for nothing but themselves: they show and test
the system where no data has been downloaded. Labels carry some noise, so that no model reaches a perfect
score. Every sentence of a task occurs once only, hence never in two splits.
"""

import csv
import hashlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sample_words import (
    ADJECTIVES,
    CLAUSES,
    DETAILS,
    HEDGES,
    INTENSIFIERS,
    NEGATIONS,
    OPENERS,
    PARTS,
    QUESTIONS,
    SCENES,
    WORKS,
    Filler,
    Question,
)

SEED = 224

GRADE_SHARES = {-2: 3, -1: 4, 0: 5, 1: 4, 2: 3}
CONTRAST_SHARE = 0.3
AGREEMENT_SHARE = 0.1
MISGRADED_SHARE = 0.08
DUPLICATE_SHARE = 0.47
TELLING_SHARE = 0.76
"""How often the kind of question tells whether it has a duplicate: separate encoding sees no more."""
MISLABELLED_SHARE = 0.04
UNRELATED_SHARE = 0.12
CHANGE_COSTS = (1.5, 1.3, 0.9, 0.6, 0.4)
"""What a changed slot takes from the similarity of 5, by the slot's rank; a dropped one takes half."""
ABSENT_SHARE = 0.55
SIMILARITY_NOISE_SD = 0.3

Example = tuple[tuple[str, ...], str]
"""One or two sentences and the label as the file spells it."""
Meaning = dict[str, Filler]
"""What each slot of a frame says."""


# Sentiment: clauses of a known valence, alone, in agreement or in contrast.


def adjective_clause(rng: random.Random, valence: int, subject: str) -> str:
    """Say by an adjective that the subject has this valence, plainly or by way of another valence."""
    sign = (valence > 0) - (valence < 0)
    if rng.random() < 0.5:
        return f"{subject} is {rng.choice(ADJECTIVES[valence])}"
    if abs(valence) == 2:
        return f"{subject} is {rng.choice(INTENSIFIERS)} {one_word(rng, sign)}"
    if valence == 0:
        return f"{subject} {rng.choice(NEGATIONS)} {one_word(rng, rng.choice((-2, 2)))}"
    if rng.random() < 0.5:
        return f"{subject} is {rng.choice(HEDGES)} {rng.choice(ADJECTIVES[2 * sign])}"
    return f"{subject} {rng.choice(NEGATIONS)} {one_word(rng, -sign)}"


def one_word(rng: random.Random, valence: int) -> str:
    """Choose an adjective proper, which takes an adverb or a negation."""
    return rng.choice([word for word in ADJECTIVES[valence] if " " not in word])


def first_clause(rng: random.Random, valence: int) -> str:
    """Speak of a work by its name or of a part of it."""
    work = rng.choice(WORKS)
    if rng.random() < 0.5:
        return rng.choice(CLAUSES[valence]).format(work)
    return adjective_clause(rng, valence, rng.choice((work, f"{rng.choice(PARTS)} of {work}")))


def second_clause(rng: random.Random, valence: int) -> str:
    """Speak of a work that the first clause has named."""
    if rng.random() < 0.5:
        return rng.choice(CLAUSES[valence]).format("it")
    return adjective_clause(rng, valence, rng.choice(DETAILS))


def review(rng: random.Random, valence: int) -> str:
    """Compose a review; in a contrast the main clause outweighs the concession."""
    text = first_clause(rng, valence)
    if abs(valence) < 2 and rng.random() < CONTRAST_SHARE:
        sign = valence or rng.choice((-1, 1))
        main, concession = valence + sign, -sign
        text = rng.choice(
            (
                f"{first_clause(rng, concession)}, but {second_clause(rng, main)}",
                f"although {first_clause(rng, concession)}, {second_clause(rng, main)}",
                f"{first_clause(rng, main)}, even though {second_clause(rng, concession)}",
            )
        )
    elif rng.random() < AGREEMENT_SHARE:
        text = f"{text}, and {adjective_clause(rng, valence, rng.choice(DETAILS))}"
    return sentence(rng.choice(OPENERS) + text) + "."


def sentiment(rng: random.Random) -> Example:
    """Draw a review and its grade, 0 to 4; a few are graded one off."""
    valence = rng.choices(list(GRADE_SHARES), list(GRADE_SHARES.values()))[0]
    text = review(rng, valence)
    if rng.random() < MISGRADED_SHARE:
        valence += rng.choice((-1, 1))
    return (text,), str(min(max(valence + 2, 0), 4))


# Pairs: two renderings of one meaning, or of a meaning and a changed one.


def sentence(text: str) -> str:
    """Capitalise, and close the gaps that empty slots leave."""
    text = " ".join(text.split())
    return text[0].upper() + text[1:]


def render(rng: random.Random, form: str, meaning: Meaning) -> str:
    """Put a meaning into words, choosing among the wordings of each slot."""
    return sentence(form.format_map({slot: rng.choice(filler) for slot, filler in meaning.items()}))


def draw_meaning(rng: random.Random, slots: dict[str, tuple[Filler, ...]]) -> Meaning:
    """Fill every slot, never two with the same."""
    meaning: Meaning = {}
    for slot, fillers in slots.items():
        meaning[slot] = rng.choice([filler for filler in fillers if filler not in meaning.values()])
    return meaning


def change(rng: random.Random, slots: dict[str, tuple[Filler, ...]], meaning: Meaning, slot: str) -> Meaning:
    """Say something else in one slot."""
    fillers = [filler for filler in slots[slot] if filler not in meaning.values()]
    return meaning | {slot: rng.choice(fillers)}


def near_miss(rng: random.Random, question: Question, meaning: Meaning) -> tuple[str, Meaning]:
    """Ask almost the same: change one slot, exchange two, or ask another thing about the same."""
    ways = ["change", "change"] + ["swap"] * bool(question.swap) + ["other"] * bool(question.others)
    way = rng.choice(ways)
    if way == "other":
        return rng.choice(question.others), meaning
    if way == "swap" and question.swap:
        left, right = question.swap
        return rng.choice(question.forms), meaning | {left: meaning[right], right: meaning[left]}
    return rng.choice(question.forms), change(rng, question.slots, meaning, rng.choice(list(question.slots)))


def paraphrase(rng: random.Random) -> Example:
    """Draw two questions that ask the same, or almost."""
    is_duplicate = rng.random() < DUPLICATE_SHARE
    is_everyday = is_duplicate == (rng.random() < TELLING_SHARE)
    question = rng.choice([each for each in QUESTIONS if each.everyday == is_everyday])
    meaning = draw_meaning(rng, question.slots)
    form, other_form = rng.sample(question.forms, 2)
    other = meaning
    if not is_duplicate:
        other_form, other = near_miss(rng, question, meaning)
    pair = [render(rng, form, meaning), render(rng, other_form, other)]
    rng.shuffle(pair)
    label = is_duplicate != (rng.random() < MISLABELLED_SHARE)
    return tuple(pair), str(float(label))


def similarity(rng: random.Random) -> Example:
    """Draw two statements; the more, and the more important, slots differ, the less similar they are."""
    scene = rng.choice(SCENES)
    meaning = draw_meaning(rng, scene.slots)
    for slot in scene.optional:
        if rng.random() < ABSENT_SHARE:
            meaning[slot] = ("",)
    other, score = meaning, 5.0
    if rng.random() < UNRELATED_SHARE:
        scene_of_other = rng.choice([each for each in SCENES if each is not scene])
        other, score = draw_meaning(rng, scene_of_other.slots), 0.2
    else:
        scene_of_other = scene
        lowest = rng.uniform(0.0, 5.0)
        for slot, cost in rng.sample(list(zip(scene.slots, CHANGE_COSTS, strict=True)), len(scene.slots)):
            if score - cost < lowest or meaning[slot] == ("",):
                continue
            if slot in scene.optional and rng.random() < 0.5:
                other, score = other | {slot: ("",)}, score - cost / 2
            else:
                other, score = change(rng, scene.slots, other, slot), score - cost
    pair = [render(rng, scene.form, meaning) + ".", render(rng, scene_of_other.form, other) + "."]
    rng.shuffle(pair)
    noisy = rng.gauss(score, SIMILARITY_NOISE_SD)
    return tuple(pair), f"{min(max(noisy, 0.0), 5.0):.1f}"


# Files.


@dataclass(frozen=True, kw_only=True)
class File:
    """One task's three files."""

    stem: str
    columns: tuple[str, ...]
    draw: Callable[[random.Random], Example]
    sizes: dict[str, int]


FILES = (
    File(
        stem="ids-sst",
        columns=("sentence", "sentiment"),
        draw=sentiment,
        sizes={"train": 1200, "dev": 200, "test": 200},
    ),
    File(
        stem="quora",
        columns=("sentence1", "sentence2", "is_duplicate"),
        draw=paraphrase,
        sizes={"train": 600, "dev": 200, "test": 200},
    ),
    File(
        stem="sts",
        columns=("sentence1", "sentence2", "similarity"),
        draw=similarity,
        sizes={"train": 600, "dev": 200, "test": 200},
    ),
)


def draw_examples(draw: Callable[[random.Random], Example], count: int, rng: random.Random) -> list[Example]:
    """Draw examples of one task until there are enough, leaving out each that repeats a sentence."""
    examples: list[Example] = []
    seen: set[str] = set()
    while len(examples) < count:
        sentences, label = draw(rng)
        if len({*sentences} - seen) == len(sentences):
            seen.update(sentences)
            examples.append((sentences, label))
    return examples


def identify(stem: str, sentences: tuple[str, ...]) -> str:
    """Make the 25 hex digits that stand for an example."""
    return hashlib.sha256("\t".join((stem, *sentences)).encode()).hexdigest()[:25]


def write_sample(folder: Path) -> None:
    """Write the three files of each task."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in FILES:
        rng = random.Random(f"{SEED} {task.stem}")
        examples = iter(draw_examples(task.draw, sum(task.sizes.values()), rng))
        for split, size in task.sizes.items():
            with (folder / f"{task.stem}-{split}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(("", "id", *task.columns))
                for index in range(size):
                    sentences, label = next(examples)
                    writer.writerow((index, identify(task.stem, sentences), *sentences, label))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the folder to write, as in: python scripts/make_sample.py model/sample")
    write_sample(Path(sys.argv[1]))
