"""The checkers checked: what `exp.testing` must notice and must not mind, beyond what its own notebook has room for."""
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from exp.testing import (expect_fail, numerical_grad, test_gradients, test_module_parity, test_optimizer_parity,
                         test_parity)

for checker in (test_gradients, test_module_parity, test_optimizer_parity, test_parity):
    checker.__test__ = False            # they are tools here, not tests for pytest to collect

NAN = float("nan")
Pair = namedtuple("Pair", "first second")


def fails(words):
    return pytest.raises(AssertionError, match=words)


# --- expect_fail -----------------------------------------------------------------------------------

def test_expect_fail_demands_the_error():
    with fails("ValueError did not come"):
        with expect_fail(ValueError):
            pass
    with expect_fail(LookupError):      # a parent class is enough
        {}["missing"]
    with pytest.raises(KeyError):       # another error passes through
        with expect_fail(ValueError):
            {}["missing"]
    with fails("no 'Shape'"):           # the case of letters counts
        with expect_fail(ValueError, contains="Shape"):
            raise ValueError("shape")


@pytest.mark.parametrize("bad", ["ValueError", (ValueError, KeyError), ValueError("an instance"), int])
def test_expect_fail_needs_one_exception_class(bad):
    with pytest.raises(TypeError, match="need an exception class"):
        expect_fail(bad)


def test_expect_fail_needs_words():
    with pytest.raises(TypeError, match="need words as a string"):
        expect_fail(ValueError, contains=None)


# --- parity of functions ---------------------------------------------------------------------------

def same(x, *args, **kwargs):
    return x * 1


@pytest.mark.parametrize("words, ours, theirs, inputs", [
    ("values", lambda x: x * NAN, lambda x: x * NAN, [torch.ones(2)]),
    ("values", lambda x: x * (1 + 1e-4), same, [torch.ones(2)]),
    ("values", lambda x: x.double(), same, [torch.ones(2)]),
    ("values", lambda x: x[None], same, [torch.ones(2)]),
    ("values", lambda x: [x], lambda x: [x, x], [torch.ones(2)]),
    ("gradient of input 1", lambda p: p[0] * p[1].detach(), lambda p: p[0] * p[1], [[torch.randn(3), torch.randn(3)]]),
    ("gradient of input 0", lambda x: (x, 2 * x.detach()), lambda x: (x, 2 * x), [torch.randn(3)]),
    ("gradient of input 0", lambda x: torch.fft.fft(x.detach()), torch.fft.fft, [torch.randn(4)]),
    ("gradient of input 0", lambda z: z.detach() * 2, lambda z: z * 2, [torch.randn(3, dtype=torch.complex64)]),
    ("inputs after the call", lambda x: x.mul_(2), lambda x: x * 2, [torch.ones(2)]),
])
def test_parity_notices(words, ours, theirs, inputs):
    with fails(words):
        test_parity(ours, theirs, *inputs)


def test_parity_compares_keyword_tensors_and_does_not_share_them():
    w = torch.ones(3)
    with fails("gradient of input 1"):
        test_parity(lambda x, w: x * w.detach(), lambda x, w: x * w, torch.randn(3), w=w)
    with fails("values"):
        test_parity(lambda x, w: x * w.add_(1), lambda x, w: x * w, torch.randn(3), w=w)
    assert torch.equal(w, torch.ones(3))


def test_parity_compares_gradients_inside_no_grad():
    with fails("gradient of input 0"), torch.no_grad():
        test_parity(lambda x: 2 * x.detach(), lambda x: 2 * x, torch.randn(3))


def test_parity_gives_each_side_its_own_arrays():
    def fills(x, n):
        n.fill(5)
        return x * 5
    with fails("values"):
        test_parity(fills, lambda x, n: x * float(n[0]), torch.ones(2), np.ones(1))


def test_parity_keeps_what_was_returned():
    shared = torch.zeros(3)
    with fails("values"):
        test_parity(lambda x: torch.mul(x, 2, out=shared), lambda x: torch.mul(x, 3, out=shared), torch.ones(3), grad=False)


@pytest.mark.parametrize("ours, theirs, inputs, kwargs", [
    (lambda x: x * NAN, lambda x: x * NAN, [torch.ones(2)], dict(equal_nan=True)),
    (lambda x: x[1:] * 2, lambda x: 2 * x[1:], [torch.tensor([NAN, 1.])], {}),
    (lambda x: 1.01 * x, same, [torch.ones(2)], dict(rtol=0.1, atol=0)),
    (lambda x: {"b": x, "a": 2 * x}, lambda x: {"a": x + x, "b": x * 1}, [torch.randn(3)], {}),
    (lambda p: Pair(p.first, p.second * 2), lambda p: Pair(p.first, p.second + p.second), [Pair(torch.ones(2), torch.ones(2))], {}),
    (F.softmax, torch.softmax, [torch.randn(2, 3)], dict(dim=0)),
    (lambda x, mode: x * 1, lambda x, mode: 1 * x, [torch.randn(2), "mean"], {}),
    (lambda x: 2.0, lambda x: 2.0, [torch.ones(1)], {}),
    (F.dropout, F.dropout, [torch.ones(99)], {}),
    (torch.relu, F.relu, [torch.empty(0, 3)], {}),
    (lambda x: x.detach() * 0, lambda x: x * 0, [torch.ones(2)], {}),
    (torch.tanh, F.tanh, [torch.ones(1).expand(3, 2)], {}),
    (torch.tanh, F.tanh, [torch.randn(2, 6).double()[:, ::2].T], {}),
])
def test_parity_does_not_mind(ours, theirs, inputs, kwargs):
    test_parity(ours, theirs, *inputs, **kwargs)


def test_parity_leaves_no_trace():
    x = torch.ones(2, requires_grad=True)
    state = torch.random.get_rng_state()
    test_parity(F.dropout, F.dropout, x)
    assert x.grad is None and torch.equal(state, torch.random.get_rng_state())
    layer = nn.Linear(2, 2)
    test_parity(lambda x: layer(x), lambda x: layer(x), torch.ones(1, 2))
    assert layer.weight.grad is None


def test_parity_draws_from_its_seed():
    seeds = []
    test_parity(lambda x: seeds.append(torch.initial_seed()) or x * 1, same, torch.ones(2), seed=5)
    assert seeds == [5]


# --- gradients without a reference -----------------------------------------------------------------

class Nearly(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: 2 * x)
    backward = staticmethod(lambda ctx, grad: 2.002 * grad)


def test_gradients_notice():
    with fails("gradient of input 0"):
        test_gradients(Nearly.apply, torch.randn(3))
    with fails("gradient of input 1"):
        test_gradients(lambda a, b: a * b.detach(), torch.randn(3), torch.randn(3))
    with fails("gradient of input 0"):
        test_gradients(lambda x: (x, 2 * x.detach()), torch.randn(3))
    with fails("gradient of input 0"):
        test_gradients(lambda x: x ** 3, torch.ones(2), eps=0.5)      # the step is used
    with fails("need real inputs"):
        test_gradients(lambda i: i + 1, torch.tensor(3))
    with fails("gradient of input 0"), torch.no_grad():
        test_gradients(lambda x: 2 * x.detach(), torch.randn(3))


def test_gradients_do_not_mind():
    test_gradients(Nearly.apply, torch.randn(3), rtol=0.1)
    test_gradients(lambda i, w: w[i].tanh(), torch.tensor([0, 2, 2]), torch.randn(3, 2))
    test_gradients(lambda x, power: x ** power, torch.rand(3) + 1, 2)
    test_gradients(torch.tanh, torch.randn(2, 3).T)
    test_gradients(lambda x: x.clone().mul_(2), torch.randn(3).double())
    test_gradients(F.dropout, torch.randn(30))


def test_numerical_grad_leaves_its_input_alone():
    x = torch.tensor([1., 2.], dtype=torch.float64, requires_grad=True)
    g = numerical_grad(lambda y: (y.mul_(2) ** 2).sum(), x)
    torch.testing.assert_close(g, 8 * x.detach(), rtol=1e-6, atol=1e-6)
    assert x.tolist() == [1, 2] and not g.requires_grad
    x = torch.arange(6.).view(2, 3).T
    torch.testing.assert_close(numerical_grad(lambda y: (y ** 2).sum(), x), 2 * x.double(), rtol=1e-6, atol=1e-6)


# --- parity of modules -----------------------------------------------------------------------------

class Line(nn.Module):
    """A linear layer with names of its own."""
    def __init__(self, n, m, bias=0.0):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(m, n)), nn.Parameter(torch.full((m,), bias))

    def forward(self, x):
        return F.linear(x, self.w, self.b)


class Zeroed(nn.Linear):
    """PyTorch's linear layer, with a bias that starts at zero."""
    def reset_parameters(self):
        super().reset_parameters()
        nn.init.zeros_(self.bias)


class CutWeight(Line):
    def forward(self, x):
        return F.linear(x, self.w.detach(), self.b)


class Moves(nn.Linear):
    """Changes a parameter after it was used."""
    def forward(self, x):
        out = super().forward(x)
        with torch.no_grad():
            self.bias.add_(1)
        return out


class Extra(nn.BatchNorm1d):
    def __init__(self, n):
        super().__init__(n)
        self.register_buffer("extra", torch.zeros(1), persistent=False)


class FixedType(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


class LateMomentum(nn.BatchNorm1d):
    """Right in the first pass, wrong from then on."""
    def forward(self, x):
        self.momentum = 0.1 if self.num_batches_tracked == 0 else 0.2
        return super().forward(x)


def frozen_bias():
    layer = nn.Linear(6, 2)
    layer.bias.requires_grad_(False)
    return layer


NAMES = {"weight": "w", "bias": "b"}


@pytest.mark.parametrize("words, ours, theirs, rename", [
    ("starting value of b", Line(6, 2, bias=1.0), Zeroed(6, 2), NAMES),
    ("only one of the two modules has", Line(6, 2), nn.Linear(6, 2), {}),
    (r"need weight of shape \(6, 4\), got \(4, 6\)", nn.Linear(6, 4), nn.Linear(4, 6), {}),
    ("training pass 1: gradient of w", CutWeight(6, 2), Zeroed(6, 2), NAMES),
    ("gradient of 0.w", nn.Sequential(CutWeight(6, 2)), nn.Sequential(Zeroed(6, 2)), {"0.weight": "0.w", "0.bias": "0.b"}),
    ("parameter bias", Moves(6, 2), nn.Linear(6, 2), {}),
    ("only one of the two has: buffer extra", Extra(6), nn.BatchNorm1d(6), {}),
    ("only one of the two has: gradient of bias", frozen_bias(), nn.Linear(6, 2), {}),
    ("training pass 2: buffer running_mean", LateMomentum(6), nn.BatchNorm1d(6), {}),
    ("training pass 1: values", FixedType(torch.float32), nn.Identity(), {}),
    ("training pass 1: values", FixedType(torch.float64), nn.Identity(), {}),

    ("training pass 1: values", nn.Dropout(0.2), nn.Dropout(0.3), {}),
])
def test_module_parity_notices(words, ours, theirs, rename):
    with fails(words):
        test_module_parity(ours, theirs, torch.randn(8, 6), rename=rename)


@pytest.mark.parametrize("ours, theirs, inputs, kwargs", [
    (Line(6, 2), Zeroed(6, 2), [torch.randn(8, 6)], dict(rename=NAMES)),
    (nn.Embedding(5, 3), nn.Embedding(5, 3), [torch.tensor([1, 4])], {}),
    (nn.LSTM(3, 4, 2), nn.LSTM(3, 4, 2), [torch.randn(5, 2, 3), (torch.randn(2, 2, 4), torch.randn(2, 2, 4))], {}),
    (nn.Dropout(), nn.Dropout(), [torch.ones(3, 4)], {}),
    (nn.Flatten(), nn.Flatten(), [torch.ones(3, 4, 5)], {}),
    (nn.BCELoss(), nn.BCELoss(), [torch.rand(4), torch.rand(4)], {}),
    (nn.BatchNorm2d(3, momentum=None), nn.BatchNorm2d(3, momentum=None), [torch.randn(4, 3, 5, 5)], {}),
    (frozen_bias(), frozen_bias(), [torch.randn(3, 6)], {}),
])
def test_module_parity_does_not_mind(ours, theirs, inputs, kwargs):
    before = {k: v.clone() for k, v in ours.state_dict().items()}
    test_module_parity(ours, theirs, *inputs, **kwargs)
    after = ours.state_dict()
    assert ours.training and all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("options, words", [(dict(steps=0), "steps"), (dict(dtypes=()), "dtypes"),
                                            (dict(rename={"wieght": "w"}), "rename: need some of")])
def test_module_parity_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        test_module_parity(nn.Linear(2, 2), nn.Linear(2, 2), torch.ones(1, 2), **options)


# --- parity of optimizers --------------------------------------------------------------------------

class Broken:
    """Gradient descent with one fault, chosen by name; without a name it is right."""
    def __init__(self, params, fault=""):
        self.params, self.fault, self.count = list(params), fault, 0

    def step(self):
        self.count += 1
        for i, p in enumerate(self.params):
            if p.grad is None:
                p.data += self.fault == "none"
                continue
            if self.fault == "zero" and not p.grad.any():
                p.data = p.data + 1
            if self.fault == "writes":              # allowed: the gradient is its own
                p.grad.mul_(2)
                p.data = p.data - 0.05 * p.grad
                continue
            wrong = 1e-3 if self.fault == f"parameter {i}" else float(self.fault == "late" and self.count == 100)
            p.data = p.data - (0.1 + wrong) * p.grad

    def zero_grad(self):
        for p in self.params:
            if self.fault != "keeps":
                p.grad = None


def sgd(params, **options):
    return torch.optim.SGD(params, **{"lr": 0.1, **options})


@pytest.mark.parametrize("fault, words", [("none", "ours differs"), ("zero", "ours differs"), ("parameter 0", "parameter 0"),
                                          ("parameter 1", "parameter 1"), ("late", "step 100: parameter 0"),
                                          ("keeps", "step 1: zero_grad left a gradient behind")])
def test_optimizer_parity_notices(fault, words):
    with fails(words):
        test_optimizer_parity(lambda p: Broken(p, fault), sgd)


def test_optimizer_parity_gives_each_side_its_own_parameters():
    with fails("step 1: parameter 0"):
        test_optimizer_parity(sgd, lambda p: sgd(p, lr=0.2))
    test_optimizer_parity(lambda p: Broken(p, "writes"), sgd)


@pytest.mark.parametrize("name, right, wrong", [("Adam", dict(eps=1e-8), dict(eps=1e-9)), ("Adagrad", dict(eps=1e-10), dict(eps=1e-8)),
                                                ("RMSprop", dict(eps=1e-8), dict(eps=1e-7)), ("Adam", {}, dict(betas=(0.9, 0.99)))])
def test_optimizer_parity_notices_small_settings(name, right, wrong):
    make = getattr(torch.optim, name)
    test_optimizer_parity(lambda p: make(p, **right), lambda p: make(p, **right))
    with fails("ours differs"):
        test_optimizer_parity(lambda p: make(p, **wrong), lambda p: make(p, **right))


def test_optimizer_parity_uses_its_arguments():
    seen = []

    def spying(params):
        seen.append([(p.dtype, tuple(p.shape), p.detach().clone()) for p in params])
        return sgd(params)
    for seed in (0, 1):
        test_optimizer_parity(spying, sgd, shapes=((2,),), steps=2, dtype=torch.float32, seed=seed, atol=1e-5)
    assert [s[0][:2] for s in seen] == [(torch.float32, (2,))] * 2 and not torch.equal(seen[0][0][2], seen[1][0][2])
    test_optimizer_parity(Broken, lambda p: sgd(p, lr=0.1001), rtol=1e-1, atol=1e-1)
    with pytest.raises(ValueError, match="need shapes and steps"):
        test_optimizer_parity(sgd, sgd, steps=0)
