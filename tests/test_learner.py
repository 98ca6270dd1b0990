"""What the page of the Learner has no room for: models that take and give dictionaries."""
import torch
from torch import nn

from exp.learner import Learner
from exp.minibatch_training import DataLoaders, cross_entropy
from exp.optimizers import sgd


class TwoInputs(nn.Module):
    """Scores, under a name, of two inputs that come by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return {"scores": self.layer(x["a"] - x["b"])}


def batches(n=5):
    g = torch.Generator().manual_seed(0)
    for _ in range(n):
        a, b = torch.randn(2, 8, 6, generator=g)
        yield {"a": a, "b": b}, (a - b)[:, :3].argmax(1)


def test_dictionaries_go_in_and_come_out():
    data = list(batches())
    learn = Learner(TwoInputs(), DataLoaders(data, data), lambda out, y: cross_entropy(out["scores"], y), sgd, 0.5)
    first, *_, last = learn.fit(5)
    assert last["valid_loss"] < first["valid_loss"] and last["valid_loss"] == learn.validate()["loss"]
    preds, targets = learn.get_preds()
    want = torch.cat([learn.model(x)["scores"] for x, _ in data]).detach()
    torch.testing.assert_close(preds, {"scores": want})
    assert torch.equal(targets, torch.cat([y for _, y in data]))
    assert learn.summary().rows and learn.lr_find(steps=12).suggestion > 0
