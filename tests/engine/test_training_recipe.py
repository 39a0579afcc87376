"""The parts of a training step together: mixing, objective, groups of batches, optimizer."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Two processes, two clips each at once, accumulated to a global batch of 16. Rank 0 also trains
# alone, on the batches of both in turn, mixed as each of the two mixes its own.
PROCESSES = """
import json, sys
import torch
from torch import nn
from config import load_cfg_text
from engine.accumulation import build_accumulation
from engine.distributed import LaunchOptions, World, launch
from engine.learner import build_learner
from engine.objective import build_mixer
from ops.mixing import batch_rng
from engine.objective import build_objective
from engine.schedule import build_schedule
from tests.one_batch import accumulate

CFG = '''
AUG: {MIXUP_ALPHA: 0.2, CUTMIX_ALPHA: 1.0, MIX_PROB: 0.75}
MODEL: {NAME: vit}
OPTIM: {GROUPS: vit, LAYER_DECAY: 0.5, NESTEROV: True, WEIGHT_DECAY: 7e-5, CLIP_GRAD_NORM: 40.0,
  SCHEDULE: cosine, LR: 0.0025, WARMUP_RULE: line, WARMUP_EPOCHS: 1.0, WARMUP_START: 0.1}
TRAIN: {EPOCHS: 2, CLIPS_PER_GPU: 2, GLOBAL_BATCH: 16, LAST_GROUP: drop}
'''

class TwoLayers(nn.Sequential):
    head_name = '3'
    layer_names = (('1.',),)

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * 3 * 4 * 4, 8), nn.ReLU(), nn.Linear(8, 5))

    def frame_logits(self, clips):
        return self(clips)[:, None]

    def describe_time(self):
        return 'nothing'

def train(world, clips, labels, ranks):
    cfg = load_cfg_text(CFG, 'the test')
    torch.manual_seed(0)
    model = TwoLayers()
    learner = build_learner(cfg, model.double(), world)
    schedule, mixer, objective = build_schedule(cfg), build_mixer(cfg), build_objective(cfg)
    batches = [(i, rank) for i in range(len(clips)) for rank in ranks]
    groups = build_accumulation(cfg, len(batches), world.size)
    norms, hits, num_mixed = [], 0, 0
    for epoch in range(cfg.TRAIN.EPOCHS):
        for j, (i, rank) in enumerate(batches):
            learner.set_rate(schedule(epoch + i / len(clips)))
            mine = slice(2 * rank, 2 * rank + 2)
            batch, target = clips[i, mine], labels[i, mine]
            mix = mixer.draw(batch.shape, batch_rng(cfg.SEED, epoch, i, rank))
            num_mixed += mix is not None
            batch, target = mix.apply(batch) if mix else batch, objective(target, mix)
            steps = groups.steps_after(j)
            _, logits = accumulate(learner, batch, target.loss, groups.share(j), steps)
            hits += target.hits(logits)[0].item()
            if steps:
                norms.append(learner.step().item())
        learner.drop_gradients()
    weights = [p.tolist() for p in model.parameters()]
    return {'weights': weights, 'norms': norms, 'hits': hits, 'num_mixed': num_mixed}

def run(world, path):
    torch.manual_seed(1)
    clips = 100 * torch.randn(9, 4, 3, 3, 4, 4, dtype=torch.float64)
    labels = torch.randint(5, (9, 4))
    together = train(world, clips, labels, [world.rank])
    alone = train(World(0, 1, 0, world.device), clips, labels, [0, 1])
    with open(f'{path}/{world.rank}.json', 'w') as file:
        json.dump([together, alone], file)

if __name__ == '__main__':
    launch(run, LaunchOptions(), sys.argv[1])
"""


@pytest.mark.ddp
def test_two_processes_mix_and_accumulate_to_the_global_batch_of_one(
    tmp_path: Path, run_processes: Callable[..., None]
) -> None:
    run_processes(PROCESSES, str(tmp_path), num=2, is_launched=True)
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    (first, alone), (second, _) = results
    assert first["weights"] == second["weights"]  # both processes hold the same
    for ours, expected in zip(first["weights"], alone["weights"], strict=True):
        # float64: the gradients, of norms of hundreds, are summed in another order
        np.testing.assert_allclose(ours, expected, atol=1e-12, rtol=0)
    np.testing.assert_allclose(first["norms"], alone["norms"], rtol=1e-12)
    assert len(first["norms"]) == 2 * 2  # the ninth batch of each epoch is dropped
    assert min(first["norms"]) > 40  # the limit was felt
    assert first["hits"] + second["hits"] == pytest.approx(alone["hits"])
    assert first["num_mixed"] + second["num_mixed"] == alone["num_mixed"] < 36
