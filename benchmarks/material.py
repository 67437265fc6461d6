"""What the benchmarks train: the study's tasks on real weights, or on bert-base's shape."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from model.config import HeadConfig, TrialConfig
from model.data import load_corpus
from model.encoder import Encoder
from model.encoder_config import BERT_BASE
from model.encoder_files import EncoderSource, find_encoder, packaged_minilm
from model.tasks import TASKS
from model.training import TaskData, prepare

TASK_NAMES = ("sentiment", "paraphrase", "similarity")
STUDY = TrialConfig(heads=HeadConfig(common_layers=0, task_layers=1))
CPU = torch.device("cpu")


def encoder_source(name: str, folder: Path) -> EncoderSource:
    """Return MiniLM's real weights, or bert-base's shape with random ones, in a folder of its own."""
    if name == "minilm":
        return find_encoder("minilm")
    target = folder / "bert-base"
    if not target.exists():
        target.mkdir()
        encoder = Encoder(BERT_BASE)
        encoder.initialise(seed=0)
        save_file(encoder.state_dict(), target / "model.safetensors")
        (target / "config.json").write_text(json.dumps(asdict(BERT_BASE)), encoding="utf-8")
        (target / "tokenizer.json").write_bytes((packaged_minilm() / "tokenizer.json").read_bytes())
    return find_encoder(str(target))


def task_data(source: EncoderSource, config: TrialConfig, data: str, dev: int | None) -> list[TaskData]:
    """Return the study's three tasks."""
    corpus = load_corpus(data, [TASKS[name] for name in TASK_NAMES])
    return prepare(corpus, config, source.tokenizer(), tokenizer_sha256=source.tokenizer_sha256, max_dev_examples=dev)
