"""Two hundred interruptions at random steps, through the files that a trial leaves: the same bits at the end."""

import hashlib
import os
import random
from dataclasses import replace

from model.checkpoint import load_state, open_checkpoint, save_checkpoint
from model.config import HeadConfig, TrialConfig
from model.data import load_corpus
from model.encoder_files import find_encoder
from model.tasks import TASKS
from model.training import EpochResult, fine_tune, fine_tune_by_steps, prepare

RESUMES = int(os.environ.get("SWEEP_RESUMES", "200"))
BASE = TrialConfig(epochs=2, batch_size=16, learning_rate=3e-3, max_tokens=32, unfrozen_layers=1)
CONFIGS = [
    BASE,
    replace(BASE, heads=HeadConfig(dropout=0.5), unfrozen_layers="all", weight_decay=0.01),
    replace(BASE, prefix_dropout=True, sampling="annealed"),
    replace(BASE, unfrozen_layers=0, batch_size=5, loss_weights={"similarity": 0.5}),
    replace(BASE, precision="bf16", sampling="uniform", epochs=3),
]


def digest(state):
    """Return one hash of all weights and moments."""
    found = hashlib.sha256()
    for part in (state.weights, state.optimizer):
        for name in sorted(part):
            found.update(name.encode() + part[name].detach().float().numpy().tobytes())
    return found.hexdigest()


def test_two_hundred_resumes_at_random_steps_end_with_the_same_bits(tmp_path, tiny_data, tiny_encoder):
    """Left at any step, or in an evaluation, saved, loaded and trained on, and that up to three times in one run."""
    rng, encoder = random.Random(5), find_encoder(str(tiny_encoder))
    corpus = load_corpus(str(tiny_data), list(TASKS.values()))
    tokenizer, sha = encoder.tokenizer(), encoder.tokenizer_sha256
    done = 0
    while done < RESUMES:
        config = replace(rng.choice(CONFIGS), seed=rng.randrange(1000))
        data = prepare(corpus, config, tokenizer, tokenizer_sha256=sha)
        *_, last = fine_tune(config, data, encoder)
        whole = digest(last.state)
        for _ in range(min(10, RESUMES - done)):
            state, final = None, None
            for leaving in range(rng.randint(1, 3)):
                taken = rng.randint(1, 30)
                for reached in fine_tune_by_steps(config, data, encoder, resume=state):
                    taken -= 1
                    final = reached.state if isinstance(reached, EpochResult) else reached.state()
                    if taken == 0:
                        break
                folder = tmp_path / f"{done}-{leaving}"
                save_checkpoint(
                    folder, config=config, tasks=[e.task for e in data], encoder=encoder, state=final, facts={},
                    with_optimizer=True,
                )  # fmt: skip
                state = load_state(open_checkpoint(folder))
            results = list(fine_tune(config, data, encoder, resume=state))
            assert digest(results[-1].state if results else state) == whole, (
                f"{config}, left at {state.epoch}/{state.step}"
            )
            done += 1
    print(f"{done} of {RESUMES}")
