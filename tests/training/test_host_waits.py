"""What a training step asks the device for: as often for many rows as for two."""

import pytest
import torch
from support.waits import Waits

from lift_harness.training.objectives import Batch, NoiseKey, get_objective

# Which tokens are supervised (targets, columns, hidden states, weights, and those with a gradient); where a
# method looks ahead, which rows need that pass, and the same of it.
MOST = {"vanilla": 5, "cart": 5, "lift_a": 6, "gift": 8, "lift": 12}


@pytest.mark.parametrize("rows", [2, 5])
@pytest.mark.parametrize("name", MOST)
def test_a_step_waits_a_bounded_number_of_times(tiny_model, name, rows):
    model, length = tiny_model().train(), 48
    response = (torch.arange(length) >= 8).expand(rows, -1)
    x0 = torch.randint(10, 90, (rows, length))
    batch = Batch(x0, response, torch.arange(rows), model.config.mask_token_id)
    with Waits() as mode:
        get_objective(name)(model, batch, NoiseKey(0, 0), 100).loss.backward()
    assert 0 < sum(mode.seen.values()) <= MOST[name]
