"""A tiny encoder and tiny data, made on the spot: what the tests train in seconds, and learn from."""

import csv
import json
import random
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model.encoder import Encoder
from model.encoder_config import EncoderConfig

MOODS = ("awful", "bad", "plain", "good", "great")
NOUNS = ("film", "plot", "cast", "song", "end", "start", "score", "tale", "stage", "crew")
VERBS = ("tells", "shows", "keeps", "breaks", "makes", "finds")
SMALL = ("the", "a", "of", "and", "is", "it", "this", "how", "why", "does", "##s", ".", "?", ",")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789")


def write_encoder(folder: Path) -> Path:
    """Fill a folder with a random BERT of 3 layers, hidden 32, 4 heads, and its WordPiece tokenizer; return it."""
    vocabulary = list(dict.fromkeys([*SPECIAL, *SMALL, *MOODS, *NOUNS, *VERBS, *LETTERS, *(f"##{c}" for c in LETTERS)]))
    config = EncoderConfig(
        model_type="bert",
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    encoder = Encoder(config)
    encoder.initialise(seed=7, deviation=0.1)
    save_file(encoder.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
    wordpiece_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    return folder


def wordpiece_tokenizer(vocabulary):
    """Return a tokenizer as BERT's: lower case, WordPiece, [CLS] a [SEP] or [CLS] a [SEP] b [SEP]."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106  (a word, no password)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def write_data(folder: Path) -> Path:
    """Fill a folder with the course's nine files, 48/24/24 rows each, from which a model can learn; return it."""
    rng = random.Random(11)
    for split, rows in (("train", 48), ("dev", 24), ("test", 24)):
        sentiments = [_sentiment(rng, i) for i in range(rows)]
        paraphrases = [_paraphrase(rng, i) for i in range(rows)]
        similarities = [_similarity(rng, i) for i in range(rows)]
        _write(folder / f"ids-sst-{split}.csv", ("sentence", "sentiment"), sentiments)
        _write(folder / f"quora-{split}.csv", ("sentence1", "sentence2", "is_duplicate"), paraphrases)
        _write(folder / f"sts-{split}.csv", ("sentence1", "sentence2", "similarity"), similarities)
    return folder


def _sentiment(rng, i):
    """Return a sentence whose mood gives the label away."""
    return (
        f"the {rng.choice(NOUNS)} is {MOODS[i % 5]} , it {rng.choice(VERBS)} a {rng.choice(NOUNS)} .",
        i % 5,
    )


def _paraphrase(rng, i):
    """Return two questions; a duplicate asks about the same noun, and asks how too."""
    noun, other = rng.sample(NOUNS, 2)
    first = f"how does the {noun} {rng.choice(VERBS)} ?"
    return first, f"how is the {noun} of it ?" if i % 2 else f"why is this a {other} ?", float(i % 2)


def _similarity(rng, i):
    """Return two lists of nouns; the label counts how many stay, the others give way to bad."""
    first = rng.sample(NOUNS, 5)
    return " ".join(first), " ".join([*first[: i % 6], *["bad"] * (5 - i % 6)]), float(i % 6)


def _write(path: Path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["", "id", *columns])
        writer.writerows([i, f"{path.stem}-{i}", *row] for i, row in enumerate(rows))
