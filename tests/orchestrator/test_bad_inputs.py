"""Whatever is wrong gets one clear line, exit code 2, no traceback; nothing is started and no file is left behind.

A case is a name, what is done to a good sweep (its file `given.py`, its data folder, its encoder folder, its command
line), and what the line must say. Most run in this process; some of each kind again as real commands.
"""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from orchestrator import folders, spec, sweep

ROOT = Path(__file__).parents[2]
HEADER = "\tid\tsentence\tsentiment\n"
GOOD = '''\
"""Which rate?"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.halving import Halving
from orchestrator.spec import Sweep

BASE = TrialConfig(max_tokens=32, epochs=2, batch_size=16)
SWEEP = Sweep(
    question="Which rate?",
    baseline=BASE,
    configs=[replace(BASE, learning_rate=rate) for rate in (2e-5, 1e-4)],
)
'''
SPACE = """\
from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(max_tokens=32, epochs=2, batch_size=16)


def space(trial):
    {body}


SWEEP = Sweep(question="Which?", baseline=BASE, space=space, trials=3)
"""


@dataclass
class Case:
    """A good sweep that a test spoils."""

    root: Path
    arguments: list[str] = field(default_factory=list)

    @property
    def file(self):
        """Return the search space."""
        return self.root / "given.py"

    @property
    def data(self):
        """Return the data folder."""
        return self.root / "data"

    @property
    def encoder(self):
        """Return the encoder's folder."""
        return self.root / "encoder"

    def line(self):
        """Return the whole command line."""
        given = ["--out", "runs", *self.arguments]
        if "--data" not in given:
            given += ["--data", "data"]
        if "--encoder" not in given:
            given += ["--encoder", "encoder"]
        return [str(self.file.name), *given]

    def left(self):
        """Return all that lies in the folder, by name."""
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if "__pycache__" not in str(path)
        )


@pytest.fixture
def case(tiny_encoder, tiny_data, tmp_path, monkeypatch):
    """Return a good sweep in a folder of its own, which is the current one."""
    (tmp_path / "given.py").write_text(GOOD, encoding="utf-8")
    shutil.copytree(tiny_data, tmp_path / "data")
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return Case(tmp_path)


# --- what is done to it ---


def data(name, content):
    """Put a file's content, text or bytes, in place of a data file."""
    return lambda case: (case.data / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def data_change(name, before, after):
    """Replace the first such bytes of a data file."""

    def change(case):
        content = (case.data / name).read_bytes()
        assert before in content
        (case.data / name).write_bytes(content.replace(before, after, 1))

    return change


def instead(name, make):
    """Put something that is no file in place of a data file."""

    def change(case):
        (case.data / name).unlink()
        make(case.data / name)

    return change


def space(old, new):
    """Replace a part of the search space's code."""

    def change(case):
        text = case.file.read_text(encoding="utf-8")
        assert old in text
        case.file.write_text(text.replace(old, new), encoding="utf-8")

    return change


def base(fields):
    """Give the baseline, and so all configs, these fields."""
    return space("batch_size=16", f"batch_size=16, {fields}")


def code(text):
    """Put another search space in place of the good one."""
    return lambda case: case.file.write_bytes(text if isinstance(text, bytes) else text.encode())


def body(text):
    """Put a space with this body in its place."""
    return code(SPACE.format(body=text))


def config_json(**values):
    """Change the encoder's config.json."""

    def change(case):
        path = case.encoder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def weights(alter):
    """Change the encoder's tensors."""

    def change(case):
        path = case.encoder / "model.safetensors"
        tensors = load_file(path)
        alter(tensors)
        save_file(tensors, path)

    return change


def encoder_file(name, content):
    """Put another content in place of a file of the encoder."""
    return lambda case: (case.encoder / name).write_bytes(content)


def arguments(*given):
    """Give the command more arguments."""
    return lambda case: case.arguments.extend(given)


def both(*changes):
    """Do several things."""
    return lambda case: [change(case) for change in changes]


def no_cls(case):
    """Give the encoder a tokenizer without [CLS]."""
    path = case.encoder / "tokenizer.json"
    path.write_text(path.read_text().replace("[CLS]", "[SLC]"))


def many_tokens(case):
    """Give the tokenizer a word that has no embedding row."""
    path = case.encoder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["unheard"])
    tokenizer.save(str(path))


def link_out(case):
    """Put a link to a file of another folder in place of a data file."""
    other = case.root / "elsewhere.csv"
    (case.data / "sts-dev.csv").rename(other)
    (case.data / "sts-dev.csv").symlink_to(other)


def leak(case):
    """Make a training sentence a dev sentence too, where nothing else is both."""
    for task, (first, second) in {
        "ids-sst": ("fine {}", ""),
        "quora": ("how {}", "why {}"),
        "sts": ("a {}", "b {}"),
    }.items():
        for split in ("train", "dev"):
            path = case.data / f"{task}-{split}.csv"
            header, *rows = path.read_text().splitlines()
            cells = [row.split("\t") for row in rows]
            for number, row in enumerate(cells):
                row[2] = first.format(f"{split}{number}")
                if second:
                    row[3] = second.format(f"{split}{number}")
            path.write_text("\n".join([header, *("\t".join(row) for row in cells), ""]))
    row = (case.data / "ids-sst-train.csv").read_text().splitlines()[1]
    with (case.data / "ids-sst-dev.csv").open("a") as file:
        file.write(row + "\n")


def skip(case):
    """Add a row to a large file that cannot be used, where no example of dev is in train."""
    leak(case)
    dev = case.data / "ids-sst-dev.csv"
    dev.write_text("\n".join([*dev.read_text().splitlines()[:-1], ""]))
    data(SST, HEADER + ROWS * 60 + "0\tb\t\t1\n")(case)


SST, QUORA, STS = "ids-sst-train.csv", "quora-dev.csv", "sts-train.csv"
ROWS = "".join(f"{i}\ta{i}\tfine {i}\t{i % 5}\n" for i in range(20))

DATA = [
    ("unclosed quote", data_change(SST, b"the", b'"the'), f"data/{SST}:2: a quote that is never closed"),
    ("a field too many in a row", data_change(QUORA, b"\t0.0\n", b"\t0.0\t1\n"), ":2: 6 fields, the header has 5"),
    (
        "a field too many in every row",
        data(SST, HEADER + ROWS.replace("\n", "\textra\n")),
        ":2: 5 fields, the header has 4; a tab too many?",
    ),
    ("a field missing", data(SST, HEADER + "0\ta\tfine\n"), ":2: 3 fields, the header has 4; a tab that is missing?"),
    ("a column missing", data(SST, "id\tsentence\n1\tfine\n"), ":1: no column 'sentiment'; found 'id', 'sentence'"),
    ("a column misspelt", data(SST, HEADER.replace("sentiment", "sentimnet") + ROWS), "did you mean 'sentimnet'?"),
    ("a column twice", data(SST, "id\tsentence\tsentence\tsentiment\n1\ta\tb\t1\n"), "column 'sentence' stands there twice"),
    ("no header", data(SST, ROWS), ":1: no column 'sentence'"),
    ("commas", data(SST, (HEADER + ROWS).replace("\t", ",")), "expected a tab-separated header"),
    ("no bytes", data(SST, b""), ":1: no column 'sentence'; found nothing"),
    ("a header alone", data(SST, HEADER), "no usable row; expected a header and sentiment examples"),
    ("a missing file", lambda c: (c.data / STS).unlink(), f"data/{STS}: no such file; task 'similarity' needs it for train"),
    ("a folder for a file", instead(SST, Path.mkdir), "is a folder; expected a file"),
    ("a pipe for a file", instead(SST, os.mkfifo), "is a pipe (FIFO); expected a file"),
    ("a packed file beside it", lambda c: (c.data / SST).rename(c.data / f"{SST}.gz"), f"{SST}.gz is there, unpack it"),
    ("packed content", data(SST, gzip.compress(b"x")), "is compressed (gzip); unpack it"),
    ("a spreadsheet", data(SST, b"PK\x03\x04rest"), "is a zip archive (a spreadsheet?)"),
    ("UTF-16", data(SST, (HEADER + ROWS).encode("utf-16")), "is UTF-16; save it as UTF-8"),
    ("Latin-1", data(SST, (HEADER + "0\ta\tcaf\xe9\t1\n").encode("latin-1")), ":2: byte 0xE9 at offset"),
    ("a NUL byte", data(SST, HEADER + "0\ta\tfi\0ne\t1\n"), ":2: has a NUL byte"),
    ("a huge cell", data(SST, HEADER + f"0\ta\t{'x' * 100_001}\t1\n"), ":2: a cell of over 100,000 characters"),
    ("a huge line", data(SST, HEADER + "x" * 2_000_000), ":2: a line of over 1,000,000 bytes"),
    ("a class out of range", data(SST, HEADER + "0\ta\tfine\t7\n"), ":2: label '7' of task 'sentiment'; expected a whole number in 0..4"),
    ("a word for a class", data(SST, HEADER + "0\ta\tfine\tyes\n"), ":2: label 'yes'"),
    ("half a class", data(SST, HEADER + "0\ta\tfine\t0.5\n"), ":2: label '0.5'"),
    ("NaN", data(SST, HEADER + "0\ta\tfine\tnan\n"), ":2: label 'nan'"),
    ("infinity", data(SST, HEADER + "0\ta\tfine\tinf\n"), ":2: label 'inf'"),
    ("digits with an underscore", data(SST, HEADER + "0\ta\tfine\t0_1\n"), ":2: label '0_1'"),
    ("digits of another script", data(SST, HEADER + "0\ta\tfine\t\u0663\n"), ":2: label '\u0663'"),
    ("a value out of range", data_change(STS, b"\t1.0\n", b"\t9.0\n"), "label '9.0' of task 'similarity'; expected a number in 0..5"),
    ("empty sentences", data(SST, HEADER + ROWS + "0\tb\t \t1\n"), ":22: 1 of 21 rows cannot be used: line 22 (empty sentence)"),
    ("empty labels", data(SST, HEADER + ROWS + "0\tb\tfine\t\n"), ":22: 1 of 21 rows cannot be used: line 22 (no label)"),
    (
        "a metric without a value",
        data("sts-dev.csv", "id\tsentence1\tsentence2\tsimilarity\n1\ta\tb\t3\n2\tc\td\t3\n"),
        "all 2 labels are 3; Pearson's r, the metric of 'similarity', has no value there",
    ),
    ("a link out of the folder", link_out, "data/sts-dev.csv: is a link out of the data folder"),
    ("a Git LFS pointer", data(SST, "version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer; run git lfs pull"),
    ("a web page", data(SST, "<!DOCTYPE html><html>"), "is a web page; download the file itself"),
    ("a bare carriage return", data(SST, HEADER + "0\ta\tfi\rne\t1\n"), f"{SST}:2: a carriage return without a line feed; a broken line end?"),
    ("a column twice that is not the label's", data(SST, "id\tid\tsentence\tsentiment\n1\t1\tb\t1\n"), ":1: column 'id' stands there twice"),
    ("a header of a megabyte", data(SST, "xxxx\t" * 90_000 + "\n1\n"), "found 'xxxx', 'xxxx', 'xxxx'"),
    ("a row on too many lines", data(SST, HEADER + '0\ta\t"' + "x\n" * 600_000 + '"\t1\n'), ":2: a"),
    ("thousands of blank lines", data(SST, HEADER + ROWS + "\n" * 5_000 + ROWS), ":22: 5,000 blank lines, and then a row"),
    ("a blank line under --strict-data", both(leak, data(SST, HEADER + ROWS + "\n" + "0\tb\tgood\t1\n"), arguments("--strict-data")), ":22: a blank line; --strict-data leaves out no row"),
    ("a web page in lower case", data(SST, "\n <html lang='en'>"), "is a web page; download the file itself"),
    ("a line's end in a folder's name", arguments("--data", "da\nta"), r"--data 'da\nta': has a line's end or a control character in its name; rename it"),
    ("one dev example", arguments("--max-dev-examples", "1"), "--max-dev-examples 1: "),
    ("text after a quote", data(SST, HEADER + '0\ta\t"fine"ly\t1\n'), f"{SST}:2: "),
    ("a leak under --strict-data", both(leak, arguments("--strict-data")), "examples are training examples too (this one is line 2 there)"),
    (
        "a row left out under --strict-data",
        both(skip, arguments("--strict-data")),
        ":1202: empty sentence; --strict-data leaves out no row",
    ),
    ("no such data folder", arguments("--data", "nowhere"), "nowhere: no such data folder; expected ids-sst-train.csv in it"),
    ("a file for a data folder", arguments("--data", f"data/{SST}"), f"data/{SST}: no such data folder"),
    ("a data folder that links to itself", both(lambda c: (c.root / "loop").symlink_to("loop"), arguments("--data", "loop")), "loop"),
    ("an empty name for a data folder", arguments("--data", ""), "--data '': is empty"),
]  # fmt: skip

SPACES = [
    ("a syntax error", space("BASE = ", "BASE = = "), "given.py:9:8: invalid syntax"),
    ("a module that is missing", code("import nowhere_at_all\n"), "given.py:1: ModuleNotFoundError: No module named 'nowhere_at_all', while loading"),
    ("an error while loading", code("x = 1\ny = x / 0\n"), "given.py:2: ZeroDivisionError: division by zero"),
    ("sys.exit", code("import sys\nsys.exit(0)\n"), "given.py:2: SystemExit: 0"),
    ("no SWEEP", code("SWEEPS = 1\n"), "given.py: defines no SWEEP; expected SWEEP = Sweep(...); it has SWEEPS"),
    ("SWEEP of another type", code("SWEEP = [1]\n"), "given.py: defines SWEEP as a list"),
    ("two SWEEPs", lambda c: c.file.write_text(GOOD + "\nSWEEP = SWEEP\n"), "given.py:16: defines SWEEP again, after line 10"),
    ("an empty file", code(""), "given.py: defines no SWEEP"),
    ("not UTF-8", code(b'"""Caf\xe9?"""\n'), "given.py: is not UTF-8"),
    ("a NUL byte in the code", code(b"a = 1\0\n"), "given.py: source code string cannot contain null bytes; expected Python"),
    ("a field misspelt", base("learing_rate=1e-4"), "unknown field 'learing_rate' (did you mean 'learning_rate'?)"),
    ("a head's field misspelt", base("heads=HeadConfig(dropuot=0.1)"), "unknown field 'dropuot' (did you mean 'heads.dropout'?)"),
    ("a negative depth", base("unfrozen_layers=-1"), "unfrozen_layers is -1: "),
    ("a depth beyond the encoder", base("unfrozen_layers=4"), 'given.py:10: unfrozen_layers is 4: the encoder has 3 layers; 0..3 or "all" (configs[0])'),
    ("half a layer", base("unfrozen_layers=1.5"), "unfrozen_layers is 1.5: "),
    ("no batch", space("batch_size=16", "batch_size=0"), "batch_size is 0: input should be greater than or equal to 1"),
    ("no epochs", space("epochs=2", "epochs=0"), "epochs is 0"),
    ("a dropout above 1", base("heads=HeadConfig(dropout=1.5)"), "dropout is 1.5: input should be less than 1"),
    ("a seed too large", base("seed=2**40"), "seed is 1099511627776: input should be less than 4294967296"),
    ("no rate", space("(2e-5, 1e-4)", "(0.0, 1e-4)"), "learning_rate is 0.0: input should be greater than 0"),
    ("a rate that is no number", space("(2e-5, 1e-4)", "(float('nan'), 1e-4)"), "learning_rate is nan"),
    ("text for a rate", space("(2e-5, 1e-4)", "('1e-4', 1e-4)"), "learning_rate is '1e-4': input should be a valid number"),
    ("too few tokens", space("max_tokens=32", "max_tokens=4"), "max_tokens is 4: input should be greater than or equal to 8"),
    ("more tokens than positions", space("max_tokens=32", "max_tokens=128"), "max_tokens is 128: the encoder has 64 positions"),
    ("a weight of a task that does not exist", base("loss_weights={'sentimant': 2.0}"), "loss_weights names 'sentimant', which is not among"),
    ("weights that are all 0", base("loss_weights={'sentiment': 0.0, 'paraphrase': 0.0, 'similarity': 0.0}"), "loss_weights are all 0: nothing would train"),
    ("a negative weight", base("loss_weights={'sentiment': -1.0}"), "loss_weights.sentiment is -1.0"),
    ("a task that does not exist", base("tasks=('sentimant',)"), "unknown task 'sentimant' (did you mean 'sentiment'?)"),
    ("no task", base("tasks=()"), "tasks is ()"),
    ("a task twice", base("tasks=('sentiment', 'sentiment')"), "tasks names one twice: sentiment, sentiment"),
    ("a pooler frozen under a layer that trains", base("train_pooler=False"), "train_pooler=False goes with unfrozen_layers=0"),
    ("cosine of a joint pair", base("losses={'similarity': 'cosine'}"), "which needs pair_encoding.similarity='separate'"),
    ("a pair encoding of single sentences", base("pair_encoding={'sentiment': 'joint'}"), "sentiment has single sentences, not pairs"),
    ("a loss of another kind", base("losses={'sentiment': 'mean_squared_error'}"), "a classes task takes cross_entropy"),
    ("a baseline that is not listed", space("baseline=BASE", "baseline=replace(BASE, seed=9)"), "the baseline is not among the configs"),
    ("no configs", space("[replace(BASE, learning_rate=rate) for rate in (2e-5, 1e-4)]", "[]"), "either configs=[...] or space=fn with trials=N"),
    ("a list and a space", space("configs=", "space=print, trials=2, configs="), "either configs=[...] or space=fn with trials=N"),
    ("a dict for a config", space("[replace(", "[{'epochs': 1}] + [replace("), "is a dict; expected a TrialConfig"),
    ("a grid of a million", space("(2e-5, 1e-4)]", "(2e-5, 1e-4)] * 500_000"), "1,000,000 trials, at most 10,000 are one sweep; space=fn with trials=N tries N of a large grid"),
    ("no trials", lambda c: c.file.write_text(SPACE.format(body="return BASE").replace("trials=3", "trials=0")), "a sweep over a space says trials=N, 1 or more"),
    ("an unknown sampler", lambda c: c.file.write_text(SPACE.format(body="return BASE").replace("trials=3", "trials=3, sampler='grid'")), "sampler is 'grid'; expected one of tpe, random"),
    ("a space that is no function", lambda c: c.file.write_text(SPACE.format(body="return BASE").replace("space=space", "space=3")), "space is 3; expected a function"),
    ("early stopping of another type", space("baseline=BASE,", "baseline=BASE, early_stopping=3,"), "early_stopping is 3; expected Halving"),
    ("halving by 1", space("baseline=BASE,", "baseline=BASE, early_stopping=Halving(factor=1),"), "factor"),
    ("low above high", body("return replace(BASE, epochs=trial.suggest_int('epochs', 9, 1))"), "given.py:10: the space fails at {}: ValueError: `low <= high` must hold"),
    ("a log range from 0", body("return replace(BASE, learning_rate=trial.suggest_float('learning_rate', 0.0, 1e-3, log=True))"), "given.py:10: the space fails at {}: ValueError"),
    ("no choices", body("return replace(BASE, epochs=trial.suggest_categorical('epochs', []))"), "given.py:10: the space fails at {}: ValueError"),
    ("a dict from a space", body("return {'epochs': trial.suggest_int('epochs', 1, 3)}"), "the space returns a dict; expected a TrialConfig"),
    ("nothing that varies", body("return BASE"), "given.py:9: nothing varies in the space"),
    ("an error in a space", body("return [][trial.suggest_int('x', 1, 3)]"), "given.py:10: the space fails at {'x': "),
    ("a corner that no config can have", body("return replace(BASE, learning_rate=trial.suggest_float('learning_rate', 0.5, 1.0))"), "the space fails at {'learning_rate': 1.0}: learning_rate is 1.0: input should be less than 1"),
    ("a corner beyond the encoder", body("return replace(BASE, unfrozen_layers=trial.suggest_int('unfrozen_layers', 1, 4))"), "unfrozen_layers is 4: the encoder has 3 layers; 0..3 or \"all\" (at {'unfrozen_layers': 4})"),
    ("sys.exit in a space", body("import sys; sys.exit(1)"), "given.py:10: the space fails at {}: SystemExit: 1"),
    ("code that anybody may write", lambda c: c.file.chmod(0o666), "given.py: anybody may write to it (mode 666), and it is code; chmod o-w"),
    ("a folder for a search space", lambda c: (c.file.unlink(), c.file.mkdir()), "given.py: no such search-space file; there are:"),
    ("a missing search space", lambda c: c.file.unlink(), "given.py: no such search-space file; there are:"),
]  # fmt: skip

ENCODERS = [
    ("no such encoder folder", arguments("--encoder", "./nowhere"), "encoder './nowhere': no such folder; expected config.json"),
    ("an encoder that links to itself", both(lambda c: (c.root / "loop").symlink_to("loop"), arguments("--encoder", "./loop")), "loop"),
    ("a file for an encoder", arguments("--encoder", "encoder/config.json"), "encoder"),
    ("no config.json", lambda c: (c.encoder / "config.json").unlink(), "encoder: config.json not found"),
    ("no weights", lambda c: (c.encoder / "model.safetensors").unlink(), "encoder: model.safetensors not found"),
    ("no tokenizer", lambda c: (c.encoder / "tokenizer.json").unlink(), "encoder: tokenizer.json not found"),
    ("a pickle for weights", lambda c: (c.encoder / "model.safetensors").rename(c.encoder / "pytorch_model.bin"), "has pytorch_model.bin, a pickle, which is never loaded; convert it"),
    ("another architecture", config_json(model_type="roberta"), "the checkpoint is roberta (hidden 32); expected bert"),
    ("a config that is no JSON", encoder_file("config.json", b"{"), "config.json: not JSON"),
    ("a config that is no object", encoder_file("config.json", b"[]"), "config.json"),
    ("heads that do not divide the width", config_json(num_attention_heads=5), "hidden_size 32 is no multiple of 5 heads"),
    ("a Git LFS pointer for weights", encoder_file("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "model.safetensors: is a Git LFS pointer (43 bytes)"),
    ("a web page for weights", encoder_file("model.safetensors", b"<!DOCTYPE html><html></html>"), "model.safetensors: not a safetensors file"),
    ("weights that are cut", lambda c: os.truncate(c.encoder / "model.safetensors", 5_000), "model.safetensors: not a safetensors file"),
    ("no bytes for weights", encoder_file("model.safetensors", b""), "model.safetensors: not a safetensors file"),
    ("a tensor that is missing", weights(lambda t: t.pop("pooler.dense.bias")), "not the encoder of its config.json: missing pooler.dense.bias"),
    ("a tensor too many", weights(lambda t: t.update(extra=t["pooler.dense.bias"].clone())), "unknown extra"),
    ("fewer layers than the config says", config_json(num_hidden_layers=4), "missing encoder.layer.3."),
    ("another width than the config says", config_json(hidden_size=64), "is [32], expected [64]"),
    ("a tokenizer that is none", encoder_file("tokenizer.json", b"{}"), "tokenizer.json: not a tokenizer.json"),
    ("a token beyond the embedding rows", many_tokens, "is beyond the encoder's"),
    ("a tokenizer without [CLS]", no_cls, "has no token [CLS]"),
]  # fmt: skip

COMMANDS = [
    ("a field that does not exist", arguments("--set", "heads.dropuot=0.5"), "unknown field 'heads.dropuot' (did you mean 'heads.dropout'?)"),
    ("a field that varies", arguments("--set", "learning_rate=1e-3"), "learning_rate varies in this sweep"),
    ("text for a number", arguments("--set", "batch_size=many"), "batch_size is 'many': input should be a valid integer"),
    ("a setting without a value", arguments("--set", "dropout"), "--set 'dropout': expected FIELD=VALUE"),
    ("a setting twice", arguments("--set", "batch_size=8", "--set", "batch_size=4"), "--set batch_size is given twice"),
    ("a name with a slash", arguments("--name", "a/b"), "--name 'a/b': expected 1 to 64 of A-Z a-z 0-9 . _ -"),
    ("a name of dots", arguments("--name", ".."), "--name '..': expected"),
    ("a name that begins with a dash", arguments("--name", "-x"), "--name '-x': expected"),
    ("a name of 300 characters", arguments("--name", "x" * 300), "expected 1 to 64"),
    ("a name of other letters", arguments("--name", "\u00fcbung"), "expected 1 to 64"),
    ("a name with a line's end", arguments("--name", "a\nb"), r"--name 'a\nb': expected"),
    ("an empty name", arguments("--name", ""), "--name '': expected 1 to 64"),
    ("an empty name for a folder", arguments("--out", ""), "--out '': is empty; leave it out"),
    ("an empty address of MLflow", arguments("--tracking-uri", ""), "--tracking-uri '': is empty; leave it out"),
    ("an address of MLflow that is none", arguments("--tracking-uri", "http://[bad"), "--tracking-uri http://[bad: names no host"),
    ("a port that there is not", arguments("--address", "127.0.0.1:99999"), "--address 127.0.0.1:99999: expected HOST:PORT"),
    ("a limit without an end", arguments("--prefix-cache-gb", "inf"), "--prefix-cache-gb inf: expected a number that ends"),
    ("a setting nested without an end", arguments("--set", "batch_size=" + "[" * 100_000), "batch_size"),
    ("an MLflow in memory", arguments("--tracking-uri", "sqlite://"), "names no file, and what is kept in memory ends with the process"),
    ("an MLflow in memory by name", arguments("--tracking-uri", "sqlite:///:memory:"), "--tracking-uri sqlite:///:memory:: names no file"),
    ("a folder that links to itself", lambda c: ((c.root / "runs").symlink_to("runs")), "--out 'runs': leads nowhere"),
    ("a name that is taken by us", arguments("--name", "cache"), "--name 'cache': OUT has something of its own of that name"),
    ("a file for a folder", arguments("--out", "given.py"), "given.py is no folder"),
    ("a folder that cannot be written", arguments("--out", "/proc/1/runs"), "cannot be written to as a sweep does"),
    ("a per cent in the folder", arguments("--out", "50%"), "--out '50%': a database's URI cannot hold"),
    ("no epochs given", arguments("--epochs", "0"), "epochs is 0"),
    ("more trials than a sweep has", both(body("return replace(BASE, epochs=trial.suggest_int('epochs', 1, 3))"), arguments("--trials", "1000000")), "1,000,000 trials, at most 10,000 are one sweep"),
    ("trials of a list", arguments("--trials", "5"), "--trials 5: given.py is an exact list, which is trained whole"),
    ("a GPU where there is none", arguments("--gpus-per-trial", "1"), "--gpus-per-trial 1: there are 0 (this machine"),
    ("more cores than there are", arguments("--cpus-per-trial", "4096"), "--cpus-per-trial 4096: there are"),
    ("a folder for MLflow", arguments("--tracking-uri", "mlruns"), "--tracking-uri mlruns: expected http(s)://HOST:PORT, or a database"),
    ("an MLflow without a host", arguments("--tracking-uri", "http://"), "--tracking-uri http://: names no host"),
    ("an MLflow at no port", arguments("--tracking-uri", "http://localhost:99999"), "names no host, or no port that there is"),
    ("a database in no folder", arguments("--tracking-uri", "sqlite:////nowhere/x.db"), "there is no folder /nowhere"),
    ("a head without a port", arguments("--address", "localhost"), "--address localhost: expected HOST:PORT of ray start --head, or auto"),
    ("a head elsewhere, open to all", arguments("--address", "192.0.2.1:6379"), "--address 192.0.2.1:6379: listens beyond this machine's loopback, and RAY_AUTH_MODE is not 'token'"),
]  # fmt: skip

CASES = [*DATA, *SPACES, *ENCODERS, *COMMANDS]
AS_COMMANDS = (
    "unclosed quote", "a pipe for a file", "a leak under --strict-data", "UTF-16",
    "a syntax error", "sys.exit", "two SWEEPs", "a corner beyond the encoder", "code that anybody may write",
    "a pickle for weights", "weights that are cut",
    "a name with a slash", "a GPU where there is none", "a head elsewhere, open to all",
)  # fmt: skip
"""Run as real commands too: each is a process that loads Python anew."""


def one_line(code, output, errors):
    """Return the line; hold the answer to its form."""
    assert (code, output) == (2, ""), errors
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if not line.startswith(" ")]
    assert line.startswith("error: ")
    assert len(line) < 1_500
    return line


def test_the_table_has_a_hundred_cases_each_with_a_name_of_its_own():
    """Bad input is met more often than any other."""
    names = [name for name, *_ in CASES]
    assert len(names) >= 100
    assert len(set(names)) == len(names)
    assert len(AS_COMMANDS) >= 10
    assert set(AS_COMMANDS) <= set(names)


def test_the_good_sweep_has_nothing_wrong(case):
    """Else the cases below would be refused for another reason."""
    result = CliRunner().invoke(sweep.app, [*case.line(), "--dry-run"])

    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(("spoil", "said"), [pytest.param(*how, id=name) for name, *how in CASES])
def test_bad_input_is_one_line(case, spoil, said):
    """It says what is there and what was expected; nothing is started, nothing is left."""
    spoil(case)
    before = case.left()

    result = CliRunner().invoke(sweep.app, case.line())

    assert said in one_line(result.exit_code, result.stdout, result.stderr)
    assert case.left() == before


@pytest.mark.parametrize(
    ("spoil", "said"), [pytest.param(*how, id=name) for name, *how in CASES if name in AS_COMMANDS]
)
def test_bad_input_is_one_line_of_a_real_command(case, spoil, said):
    """As a person sees it; long before anything heavy would be loaded."""
    spoil(case)
    before = case.left()

    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep", *case.line()],
        cwd=case.root, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert said in one_line(done.returncode, done.stdout, done.stderr)
    assert case.left() == before


def test_twenty_problems_are_told_and_the_rest_counted(case):
    """A search space with many mistakes does not scroll the first of them away."""
    rates = ", ".join(f"{n}" for n in range(4, 30))
    space("learning_rate=rate) for rate in (2e-5, 1e-4)", f"unfrozen_layers=n) for n in ({rates})")(case)
    space("baseline=BASE", "baseline=replace(BASE, unfrozen_layers=4)")(case)

    result = CliRunner().invoke(sweep.app, case.line())

    lines = result.stderr.splitlines()
    assert result.exit_code == 2
    assert len(lines) == 21
    assert lines[-1] == "error: and 6 problems more"


def test_what_is_wrong_in_one_place_hides_nothing_in_another(case):
    """Options, folder, address, search space, encoder and data: all is told at once."""
    code("SWEEP = (\n")(case)
    (case.encoder / "model.safetensors").unlink()
    (case.data / QUORA).unlink()
    wrong = ["--name", "a/b", "--set", "dropout", "--set", "x=1", "--set", "x=2", "--tracking-uri", "mlruns"]

    result = CliRunner().invoke(sweep.app, [*case.line(), *wrong, "--address", "nowhere"])

    lines = [line for line in result.stderr.splitlines() if not line.startswith(" ")]
    assert result.exit_code == 2
    said = [
        "--name 'a/b': ", "--set 'dropout': ", "--set x is given twice", "--tracking-uri mlruns: ", "--address nowhere: ",
        "given.py:1:9: ", "encoder: model.safetensors not found", f"data/{QUORA}: no such file",
    ]  # fmt: skip
    assert [told for told, line in zip(said, lines, strict=True) if told not in line] == []


def test_each_setting_that_is_wrong_is_told(case):
    """Not the first alone; one that is right only beside another is not wrong."""
    wrong = ["--set", "heads.dropuot=0.5", "--set", "epochs=ten", "--set", "max_tokens=64"]

    result = CliRunner().invoke(sweep.app, [*case.line(), *wrong])

    first, second = result.stderr.splitlines()
    assert "unknown field 'heads.dropuot'" in first
    assert "epochs is 'ten'" in second
    together = ["--set", "unfrozen_layers=0", "--set", "train_pooler=False"]
    assert CliRunner().invoke(sweep.app, [*case.line(), *together, "--dry-run"]).exit_code == 0


def test_a_cluster_named_by_the_environment_is_held_to_the_same_rule(case, monkeypatch):
    """`auto` means RAY_ADDRESS where it is set."""
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")

    result = CliRunner().invoke(sweep.app, [*case.line(), "--address", "auto"])

    line = one_line(result.exit_code, result.stdout, result.stderr)
    assert "--address auto (RAY_ADDRESS is 192.0.2.1:6379): listens beyond this machine's loopback" in line


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read (No such file or directory)"), ("\n", "is empty")]
)
def test_a_cluster_with_a_token_that_is_not_here_is_refused_before_anything_is_asked(case, monkeypatch, content, said):
    """Ray would say so after seconds, in five lines."""
    token = case.root / "token"
    if content is not None:
        token.write_text(content, encoding="utf-8")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)

    result = CliRunner().invoke(sweep.app, [*case.line(), "--address", "192.0.2.1:6379"])

    line = one_line(result.exit_code, result.stdout, result.stderr)
    assert f"--address 192.0.2.1:6379: RAY_AUTH_MODE is token, and {token} {said}; copy the token" in line


def test_what_a_search_space_prints_stays_off_standard_output(case):
    """There --json writes events, and nothing else."""
    case.file.write_text("print('hello')\n" + GOOD, encoding="utf-8")

    result = CliRunner().invoke(sweep.app, [*case.line(), "--dry-run", "--json"])

    assert result.exit_code == 0
    assert "hello" not in result.stdout
    assert "hello" in result.stderr


def test_a_disk_without_room_is_told_before_anything_starts(case, monkeypatch):
    """What the sweep needs, what there is, and the three ways out."""
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1_000))

    result = CliRunner().invoke(sweep.app, case.line())

    line = one_line(result.exit_code, result.stdout, result.stderr)
    assert "free, the sweep needs about" in line
    assert "the frozen layers' cache" in line
    assert "--keep-checkpoints" in line


@pytest.mark.parametrize("when", ["while loading", "in the space"])
def test_code_that_never_ends_is_given_up(case, monkeypatch, when):
    """A loop without an end in a search space does not hang the command."""
    from orchestrator import probing

    monkeypatch.setattr(spec, "LOAD_S", 0.5)
    monkeypatch.setattr(probing, "PROBE_S", 0.5)
    loop = "while True:\n        try:\n            pass\n        except Exception:\n            pass"
    if when == "while loading":
        code(f"if True:\n    {loop}\n")(case)
    else:
        body(loop)(case)

    result = CliRunner().invoke(sweep.app, case.line())

    said = "still loading after 0 s" if when == "while loading" else "the space took 0 s for 0 points"
    assert said in one_line(result.exit_code, result.stdout, result.stderr)


def test_an_mlflow_that_refuses_is_one_line_before_anything_is_written(case):
    """Nobody listens at the port: exit code 4."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        before = case.left()
        arguments("--tracking-uri", f"http://me:hunter22@127.0.0.1:{nobody.getsockname()[1]}")(case)

        result = CliRunner().invoke(sweep.app, case.line())

    assert result.exit_code == 4
    assert result.stderr.startswith("error: MLflow at http://***@127.0.0.1:")
    assert result.stderr.count("\n") == 1
    assert "hunter22" not in result.stderr
    assert case.left() == before
