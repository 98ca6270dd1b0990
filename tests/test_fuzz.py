"""Inputs that nobody thought of: shapes, schedules, texts, tables, files and states, drawn by hypothesis.

The draws are the same in every run, and nothing is kept from one run to the next.
"""
import csv
import math
import random
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, configuration, given, settings, strategies as st
from PIL import Image
from torch import nn

from exp.anneal import combine_scheds, cyclical, one_cycle, sched_cos, sched_exp, sched_lin
from exp.averaged_sgd import asgd
from exp.batchnorm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from exp.checkpoints import get_state, load_weights, save_weights, set_state
from exp.convolution import adaptive_avg_pool2d, avg_pool2d, conv2d, conv_transpose2d, fold, max_pool2d, unfold
from exp.data_block import (CategoryProcessor, ItemList, func_splitter, grandparent_splitter, index_splitter,
                            parent_labeler, random_splitter, regex_labeler, table_labeler)
from exp.data_loading import DataLoader, Dataset, RandomSampler
from exp.foundations import RunningStats
from exp.image_loading import ThreadedLoader
from exp.images import Resize, to_byte_tensor
from exp.inspection import enlarge
from exp.items import Items, get_files, read_csv
from exp.matmul import matmul
from exp.minibatch_training import accuracy, cross_entropy, kl_divergence, log_softmax, logsumexp
from exp.mixup import CutMix, LabelSmoothingCrossEntropy, MixUp
from exp.number_formats import dequantize, put_together, quantize, take_apart
from exp.optimizers import adam, adamw, rmsprop, sgd
from exp.processes import ShardSampler
from exp.subwords import BytePairEncoder, split_pieces
from exp.testing import test_module_parity as module_parity
from exp.testing import test_optimizer_parity as optimizer_parity
from exp.testing import test_parity as parity
from exp.text import BOS, EOS, PAD, SPECIALS, UNK, Tokenizer
from exp.text_batches import LMDataset, SortishSampler, SortSampler, Vocab, pad_collate
from exp.augmentation import CenterCrop, random_box
from exp.warping import (affine_grid, compose_matrices, flip_matrices, grid_sample, homography, rotation_matrices,
                         warp_points, zoom_matrices)

pytestmark = [pytest.mark.xdist_group("fuzz"), pytest.mark.longest(45)]

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir(), "hypothesis"))     # and not in the project


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads would only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fuzz(max_examples, **drawn):
    """A test over drawn arguments, the same ones in every run."""
    def decorate(test):
        quiet = settings(derandomize=True, deadline=None, database=None, max_examples=max_examples,
                         suppress_health_check=[*HealthCheck])
        return quiet(given(**drawn)(test))
    return decorate


def ints(low, high):
    return st.integers(low, high)


def reals(low, high, **options):
    return st.floats(low, high, allow_nan=False, **options)


def random_tensor(shape, seed, levels=0):
    """Random float64; with levels, few whole numbers, so that many are equal."""
    g = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(levels, tuple(shape), generator=g).double()
    return torch.randn(tuple(shape), generator=g, dtype=torch.float64)


SEED = ints(0, 2**31)

# --- tensors ---------------------------------------------------------------------------------------


@fuzz(40, n=ints(0, 4), k=ints(0, 5), m=ints(0, 4), seed=SEED)
def test_matmul(n, k, m, seed):
    parity(matmul, torch.matmul, random_tensor((n, k), seed), random_tensor((k, m), seed + 1))


WINDOW = dict(kernel=st.tuples(ints(1, 3), ints(1, 3)), stride=st.tuples(ints(1, 3), ints(1, 3)),
              padding=st.tuples(ints(0, 2), ints(0, 2)), size=st.tuples(ints(1, 6), ints(1, 6)), n=ints(0, 2), seed=SEED)
DILATION = st.tuples(ints(1, 2), ints(1, 2))


def fits(size, kernel, padding, dilation=(1, 1)):
    return all(d * (k - 1) < s + 2 * p for s, k, p, d in zip(size, kernel, padding, dilation))


@fuzz(80, **WINDOW, dilation=DILATION, groups=ints(1, 3), c=ints(1, 2), o=ints(1, 2), bias=st.booleans())
def test_conv2d(n, size, kernel, stride, padding, dilation, groups, c, o, bias, seed):
    x, w = random_tensor((n, c * groups, *size), seed), random_tensor((o * groups, c, *kernel), seed + 1)
    b = random_tensor((o * groups,), seed + 2) if bias else None
    if not fits(size, kernel, padding, dilation):
        with pytest.raises(ValueError, match="conv2d: need a kernel no larger"):
            conv2d(x, w, b, stride, padding, dilation, groups)
    else:
        parity(conv2d, F.conv2d, x, w, b, stride, padding, dilation, groups)


@fuzz(35, **WINDOW, dilation=DILATION, groups=ints(1, 2), c=ints(1, 2), o=ints(1, 2), extra=ints(0, 1))
def test_conv_transpose2d(n, size, kernel, stride, padding, dilation, groups, c, o, extra, seed):
    x, w = random_tensor((n, c * groups, *size), seed), random_tensor((c * groups, o, *kernel), seed + 1)
    more = tuple(extra if extra < s else 0 for s in stride)
    side = [(h - 1) * s - 2 * p + d * (k - 1) + 1 + q
            for h, s, p, d, k, q in zip(size, stride, padding, dilation, kernel, more)]
    assume(min(side) > 0 and n)
    parity(conv_transpose2d, F.conv_transpose2d, x, w, None, stride, padding, more, groups, dilation)


@fuzz(40, **WINDOW, dilation=DILATION, c=ints(1, 3))
def test_unfold_and_fold(n, size, kernel, stride, padding, dilation, c, seed):
    assume(fits(size, kernel, padding, dilation) and n)
    setting = kernel, dilation, padding, stride
    parity(unfold, F.unfold, x := random_tensor((n, c, *size), seed), *setting)
    parity(fold, F.fold, unfold(x, *setting), size, *setting)


@fuzz(50, **WINDOW, c=ints(1, 2), levels=ints(0, 3))
def test_pooling(n, size, kernel, stride, padding, c, levels, seed):
    x = random_tensor((n, c, *size), seed, levels)          # with levels: windows full of equal numbers
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
    assume(fits(size, kernel, padding) and n)
    parity(max_pool2d, F.max_pool2d, x, kernel, stride, padding)
    parity(avg_pool2d, F.avg_pool2d, x, kernel, stride, padding)


@fuzz(30, size=st.tuples(ints(1, 7), ints(1, 7)), n=ints(1, 2), seed=SEED,
      out=st.tuples(st.none() | ints(1, 9), st.none() | ints(1, 9)))
def test_adaptive_pooling(size, n, seed, out):
    parity(adaptive_avg_pool2d, F.adaptive_avg_pool2d, random_tensor((n, 2, *size), seed), out)


@fuzz(15, n=ints(2, 5), c=ints(1, 3), rest=st.lists(ints(1, 3), max_size=2), seed=SEED, affine=st.booleans(),
      momentum=st.none() | reals(0.01, 1), eps=st.sampled_from([1e-5, 1e-1]), track=st.booleans())
def test_batch_norm(n, c, rest, seed, affine, momentum, eps, track):
    theirs = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[len(rest)]
    options = dict(eps=eps, momentum=momentum, affine=affine, track_running_stats=track)
    module_parity(BatchNorm(c, **options), theirs(c, **options), random_tensor((n, c, *rest), seed) * 3 + 1,
                  dtypes=[torch.float64])


@fuzz(12, n=ints(1, 3), groups=ints(1, 3), c=ints(1, 2), side=st.lists(ints(1, 4), min_size=1, max_size=2), seed=SEED,
      affine=st.booleans())
def test_other_norms(n, groups, c, side, seed, affine):
    x, only = random_tensor((n, c * groups, *side), seed) * 3 + 1, dict(dtypes=[torch.float64])
    assume(c * math.prod(side) > 1)                          # PyTorch demands what ours gives zeros for
    module_parity(GroupNorm(groups, c * groups, affine=affine), nn.GroupNorm(groups, c * groups, affine=affine), x, **only)
    module_parity(LayerNorm(side, elementwise_affine=affine), nn.LayerNorm(side, elementwise_affine=affine), x, **only)
    if math.prod(side) > 1:
        theirs = nn.InstanceNorm1d if len(side) == 1 else nn.InstanceNorm2d
        module_parity(InstanceNorm(c * groups, affine=affine), theirs(c * groups, affine=affine), x, **only)


SCORE = st.sampled_from([0.0, 1.0, -1.0, 1e4, -1e4, 88.8, -math.inf, 1e-30])


@fuzz(60, rows=ints(1, 4).flatmap(lambda k: st.lists(st.lists(SCORE, min_size=k, max_size=k), min_size=1, max_size=4)),
      data=st.data(), eps=reals(0, 1))
def test_losses(rows, data, eps):
    x = torch.tensor(rows, dtype=torch.float64)
    target = torch.tensor(data.draw(st.lists(ints(0, x.shape[1] - 1), min_size=len(x), max_size=len(x))))
    same = dict(equal_nan=True)
    parity(logsumexp, torch.logsumexp, x, dim=1, grad=False, **same)
    parity(accuracy, lambda x, y: (x.argmax(1) == y).float().mean(), x, target)
    if x.isfinite().all():
        parity(log_softmax, F.log_softmax, x, dim=1)
        parity(cross_entropy, F.cross_entropy, x, target)
        smooth = LabelSmoothingCrossEntropy(eps)
        parity(lambda x: smooth(x, target), lambda x: F.cross_entropy(x, target, label_smoothing=eps), x)
        for reduction in ("sum", "none"):
            torch.testing.assert_close(LabelSmoothingCrossEntropy(eps, reduction)(x, target),
                                       F.cross_entropy(x, target, label_smoothing=eps, reduction=reduction))
        p = log_softmax(x / 100, 1)
        parity(kl_divergence, lambda p, q: F.kl_div(q, p, log_target=True, reduction="none").sum(-1), p, p.flip(0))


@fuzz(60, dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn]),
      bits=st.lists(ints(0, 2**32 - 1), max_size=40))
def test_every_bit_pattern_is_taken_apart_and_put_together(dtype, bits):
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]
    width = 8 * dtype.itemsize
    signed = [b % 2**width - (2**width if whole != torch.uint8 and b % 2**width >= 2**(width - 1) else 0) for b in bits]
    x = torch.tensor(signed, dtype=whole).view(dtype)
    torch.testing.assert_close(put_together(take_apart(x), dtype), x.double(), rtol=0, atol=0, equal_nan=True)


@fuzz(60, shape=st.lists(ints(1, 4), max_size=3), seed=SEED, size=st.sampled_from([1e-40, 1e-30, 1e-3, 1.0, 1e30]),
      data=st.data())
def test_quantized_numbers_are_off_by_half_a_step_at_most(shape, seed, size, data):
    x = (random_tensor(shape, seed).float() * size).masked_fill(random_tensor(shape, seed + 1) > 1, 0.0)
    dim = data.draw(st.none() | ints(-len(shape), len(shape) - 1)) if shape else None
    q = quantize(x, dim)
    assert q.values.dtype == torch.int8 and (q.scale > 0).all()
    assert ((dequantize(q) - x).abs() <= q.scale * 0.5001).all() and (dequantize(q)[x == 0] == 0).all()


@fuzz(50, numbers=st.lists(reals(-1e6, 1e6), min_size=2, max_size=30), cuts=st.lists(ints(0, 30), max_size=4))
def test_statistics_in_pieces_are_those_of_the_whole(numbers, cuts):
    x, whole = torch.tensor(numbers, dtype=torch.float64), RunningStats().add_batch(numbers)
    pieces = RunningStats()
    for piece in x.tensor_split(sorted(c for c in cuts if c <= len(x))):
        pieces.merge(RunningStats().add_batch(piece))
    for stats in (whole, pieces):
        assert len(stats) == len(x)
        close = dict(rtol=1e-9, atol=1e-9 * (1 + float(x.abs().max()) ** 2))
        torch.testing.assert_close(stats.mean(), x.mean(), **close)
        torch.testing.assert_close(stats.variance(), x.var(), **close)


# --- schedules -------------------------------------------------------------------------------------

SHARES = st.lists(reals(1e-4, 1), min_size=1, max_size=5).map(lambda some: [s / math.fsum(some) for s in some])


@fuzz(80, shares=SHARES, data=st.data(), at=reals(0, 1))
def test_combined_schedules_join_without_a_gap_and_stay_within_their_ends(shares, data, at):
    ends = data.draw(st.lists(reals(0.01, 10), min_size=len(shares) + 1, max_size=len(shares) + 1))
    kinds = data.draw(st.lists(st.sampled_from([sched_lin, sched_cos, sched_exp]),
                               min_size=len(shares), max_size=len(shares)))
    sched = combine_scheds(shares, [kind(a, b) for kind, a, b in zip(kinds, ends, ends[1:])])
    assert math.isclose(sched(0), ends[0]) and math.isclose(sched(1), ends[-1])
    assert min(ends) * (1 - 1e-9) <= sched(at) <= max(ends) * (1 + 1e-9)
    steepest = 5 * max(abs(a - b) / s for a, b, s in zip(ends, ends[1:], shares)) + 7 * max(ends) / min(shares)
    joins = [math.fsum(shares[:i]) for i in range(1, len(shares))]
    for place, value in [*zip(joins, ends[1:]), (at, sched(at))]:
        for near in (place - 1e-7, place, place + 1e-7):
            assert abs(sched(min(max(near, 0), 1)) - value) <= steepest * 1e-6


@fuzz(60, top=reals(1e-6, 1e3), div=reals(1, 1e3), final=reals(1, 1e6), start=reals(0.01, 0.99), at=reals(0, 1))
def test_one_cycle_rises_to_its_top_and_falls_to_its_end(top, div, final, start, at):
    sched, close = one_cycle(top, div, final, start), dict(rel_tol=1e-6)
    assert math.isclose(sched(0), top / div, **close) and math.isclose(sched(start), top, **close)
    assert math.isclose(sched(1), top / final, rel_tol=1e-6, abs_tol=1e-9 * top)
    assert min(top / div, top / final) * (1 - 1e-6) - 1e-9 * top <= sched(at) <= top * (1 + 1e-9)
    later = min(1.0, at + 0.01)
    if later <= start:
        assert sched(later) >= sched(at) * (1 - 1e-9)
    if at >= start:
        assert sched(later) <= sched(at) * (1 + 1e-9) + 1e-12 * top


@fuzz(30, low=reals(0, 1), high=reals(1, 2), cycles=ints(1, 9), i=ints(0, 8))
def test_cycles_are_low_at_their_ends_and_high_between(low, high, cycles, i):
    sched, i = cyclical(low, high, cycles), i % cycles
    for place, value in [(i / cycles, low), ((i + 0.5) / cycles, high), ((i + 1) / cycles, low)]:
        assert abs(sched(place) - value) < 1e-5


# --- items, splits, labels -------------------------------------------------------------------------

WORDS = st.text("abcdefghij é日", min_size=1, max_size=5).filter(str.strip)


def parts_of(split):
    return [part for part in (split.train, split.valid, split.test) if part is not None]


@fuzz(50, n=ints(0, 60), valid=reals(0.01, 0.99), test=st.just(0.0) | reals(0.01, 0.9), seed=ints(0, 99))
def test_random_parts_are_disjoint_and_complete(n, valid, test, seed):
    assume(valid + test < 1)
    items, splitter = ItemList(range(n)), random_splitter(valid, test, seed)
    counts = round(n * valid), round(n * test)
    if not counts[0] or test and not counts[1] or sum(counts) >= n:
        with pytest.raises(ValueError, match="split: need items for"):
            items.split(splitter)
        return
    split = items.split(splitter)
    assert sorted(i for part in parts_of(split) for i in part.items) == [*range(n)]
    assert (len(split.valid), 0 if split.test is None else len(split.test)) == counts
    assert items.split(random_splitter(valid, test, seed)).valid.items == split.valid.items


@fuzz(50, n=ints(2, 20), data=st.data())
def test_chosen_parts_are_disjoint_and_complete(n, data):
    chosen = data.draw(st.lists(ints(0, n - 1), unique=True, min_size=1, max_size=n - 1))
    cut = data.draw(ints(1, len(chosen)))
    items = ItemList([f"item {i}" for i in range(n)])
    split = items.split(index_splitter(chosen[:cut], chosen[cut:]))
    where = {f"item {i}": "valid" if i in chosen[:cut] else "test" if i in chosen else "train" for i in range(n)}
    for name in ("train", "valid", "test"):
        found = getattr(split, name)
        assert ([] if found is None else found.items) == [item for item in items.items if where[item] == name]
    again = items.split(func_splitter(where.get))
    assert [part.items for part in parts_of(again)] == [part.items for part in parts_of(split)]


@fuzz(40, labels=st.lists(WORDS, min_size=2, max_size=20), share=reals(0.2, 0.6), seed=ints(0, 9))
def test_folders_give_parts_and_labels(labels, share, seed):
    paths = [Path("data", "train", label, f"{i}.txt") for i, label in enumerate(labels)]
    splitter = grandparent_splitter(valid=share, seed=seed)
    if not round(share * len(paths)):
        with pytest.raises(ValueError, match="split: need items for valid"):
            ItemList(paths).split(splitter)
        return
    split = ItemList(paths).split(splitter)
    assert Counter(path for part in parts_of(split) for path in part.items) == Counter(paths)
    table = table_labeler({f"{i}.txt": label for i, label in enumerate(labels)})
    by_pattern = regex_labeler(r"/([^/]+)/\d+\.txt$")
    assert [parent_labeler(p) for p in paths] == labels == [*map(table, paths)] == [*map(by_pattern, paths)]
    processor, seen = CategoryProcessor(), {parent_labeler(p) for p in split.train.items}
    if len(seen) < 2:
        with pytest.raises(ValueError, match="two labels or more"):
            processor.fit([*seen])
        return
    processor.fit([*seen])
    assert processor.vocab == sorted(seen)
    assert all(processor.decode(processor.encode(label)) == label for label in seen)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@fuzz(50, names=st.lists(CELLS.filter(bool), min_size=1, max_size=4, unique=True), data=st.data())
def test_a_table_comes_back_from_its_file(names, data):
    row = st.lists(CELLS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row.filter(any), max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        with open(file := Path(folder, "a table.csv"), "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([names, *rows])
        assert read_csv(file, *names) == [tuple(row) for row in rows]
        column = names[-1]
        if rows:
            assert Items.from_csv(file, column, suffix="!").items == [row[-1] + "!" for row in rows]


NAMES = st.text("aZ0é日😀 ~#%&()[]{}'`$-+=,;@!^_.", min_size=1, max_size=12).filter(
    lambda name: name.strip(" .") == name and unicodedata.is_normalized("NFC", name))


@fuzz(30, names=st.lists(NAMES, min_size=1, max_size=8, unique_by=str.casefold), folder=NAMES)
def test_files_with_odd_names_are_found_once(names, folder):
    with tempfile.TemporaryDirectory() as base:
        inside = Path(base, folder)
        inside.mkdir()
        for i, name in enumerate(names):
            (inside / f"{name}.TxT").write_text(f"{i} {name}", encoding="utf-8")
            (inside / f".{name}.txt").touch()
            (inside / f"{name}.png").touch()
        found = Items.from_files(base, {".txt"})
        assert sorted(found.items) == found.items and {path.name for path in found.items} == {f"{n}.TxT" for n in names}
        assert len(get_files(base)) == 2 * len(names)
        table = Path(base, "table.csv")
        with open(table, "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([["file"], *([name] for name in names)])
        assert Items.from_csv(table, "file", inside, ".TxT").items == [inside / f"{name}.TxT" for name in names]


# --- loaders ---------------------------------------------------------------------------------------

@fuzz(60, n=ints(0, 30), batch_size=ints(1, 35), drop_last=st.booleans(), shuffle=st.booleans(), seed=ints(0, 9))
def test_a_loader_gives_every_row_once(n, batch_size, drop_last, shuffle, seed):
    data = Dataset(torch.arange(n), torch.arange(n) * 10.0)
    for loader in (DataLoader(data, batch_size, shuffle, drop_last=drop_last, seed=seed),
                   DataLoader([(i, i * 10.0) for i in range(n)], batch_size, shuffle, drop_last=drop_last, seed=seed),
                   ThreadedLoader(data, batch_size, shuffle, drop_last=drop_last, seed=seed, num_threads=2)):
        for _ in range(2):                                   # a second epoch, too
            batches = [*loader]
            rows = [int(i) for x, _ in batches for i in x]
            assert len(batches) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
            assert len(set(rows)) == len(rows) == (n - n % batch_size if drop_last else n)
            assert all(torch.equal(y, x * 10.0) for x, y in batches) and all(len(x) for x, _ in batches)
            assert shuffle or rows == [*range(len(rows))]


@fuzz(3, n=ints(1, 9), batch_size=ints(1, 5), workers=ints(1, 3))
def test_worker_processes_give_the_same_batches(n, batch_size, workers):
    data = [torch.tensor([i, -i]) for i in range(n)]
    here, there = (DataLoader(data, batch_size, shuffle=True, num_workers=w, seed=1) for w in (0, workers))
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@fuzz(60, n=ints(1, 30), world=ints(1, 5), shuffle=st.booleans(), drop=st.booleans(), seed=ints(0, 9))
def test_shares_are_disjoint_and_complete(n, world, shuffle, drop, seed):
    assume(world <= n)
    shares = [ShardSampler(n, rank, world, shuffle, seed, drop) for rank in range(world)]
    rows = [i for share in shares for i in share]
    assert [len([*share]) for share in shares] == [len(share) for share in shares]
    assert len({*rows}) == len(rows) and (drop or sorted(rows) == [*range(n)])
    assert not drop or {len(share) for share in shares} == {n // world}


LENGTHS = st.lists(ints(0, 20), max_size=40)


@fuzz(60, lengths=LENGTHS, batch_size=ints(1, 12), batches=ints(1, 5), seed=ints(0, 9))
def test_samplers_of_texts_visit_each_once_the_longest_first(lengths, batch_size, batches, seed):
    n = len(lengths)
    by_length = SortSampler(lengths).order().tolist()
    assert [lengths[i] for i in by_length] == sorted(lengths, reverse=True) and sorted(by_length) == [*range(n)]
    sampler = SortishSampler(lengths, batch_size, seed, batches)
    for _ in range(2):
        order = sampler.order().tolist()
        assert sorted(order) == [*range(n)] == sorted(RandomSampler(n, seed))
        if n >= batch_size:
            full = order[:n - n % batch_size]
            assert lengths[order[0]] == max(lengths[i] for i in full)
            assert lengths[order[0]] == max(lengths[i] for i in order[:batch_size])


@fuzz(80, sizes=st.lists(ints(0, 12), max_size=8), batch_size=ints(1, 9), seq_len=ints(1, 8), shuffle=st.booleans())
def test_no_token_of_a_stream_is_lost(sizes, batch_size, seq_len, shuffle):
    ids = torch.arange(sum(sizes)) + 2
    if sum(sizes) < 2:
        with pytest.raises(ValueError, match="at least 2 tokens"):
            LMDataset(ids.split(sizes), batch_size, seq_len)
        return
    documents = ids.split(sizes)
    data = LMDataset(documents, batch_size, seq_len, shuffle, seed=3)
    batches = [*data]
    x, y = (torch.cat(column, dim=1) for column in zip(*batches))
    assert len(batches) == len(data) and all(b.shape[1] == seq_len for b, _ in batches[:-1])
    read, said = x[x != data.pad_id].tolist(), y[y != -100].tolist()     # row after row
    assert len(read) == len(said) == len(ids) - 1 and len({*read}) == len(read)
    stream = [read[0], *said]
    assert read == stream[:-1] and sorted(stream) == ids.tolist()        # what follows is what is to be said
    assert not shuffle and stream == ids.tolist() or shuffle and all(
        d.tolist() == stream[stream.index(int(d[0])):][:len(d)] for d in documents if len(d))


@fuzz(40, lengths=st.lists(ints(0, 9), min_size=1, max_size=6), first=st.booleans())
def test_padded_texts_come_back(lengths, first):
    texts = [torch.arange(n) + 2 for n in lengths]
    x, y = pad_collate([(ids, i) for i, ids in enumerate(texts)], pad_first=first)
    assert x.shape == (len(texts), max([1, *lengths])) and y.tolist() == [*range(len(texts))]
    for row, ids in zip(x, texts):
        assert torch.equal(row[row != 1], ids)
        assert torch.equal(row[len(row) - len(ids):] if first else row[:len(ids)], ids)


# --- texts -----------------------------------------------------------------------------------------

ANY = st.text(st.characters(exclude_categories=()), max_size=60)         # surrogates without partner, too
ODD = st.lists(st.sampled_from(["xxbos", "xxrep", "XXEOS", "xxpad", "x\u00adx", "n't", "no ", "no\tno ", "Don't", "don't", "U.S.", "<br />", "&amp;", "&#0;", "aaaa",
                                "!!!!", "1,000.5", "e\u0301", "\u200d", "😀🏽", "🇩🇪", "\x00", "\x85", "\u2028", "'", "’s", "İ", "ß",
                                "\ud800", "\n", " "]), max_size=12).map("".join)


REMEMBERS = Tokenizer()      # one for all texts: what it remembers of one must not change another


@fuzz(250, text=ANY | ODD)
def test_any_text_becomes_tokens(text):
    tokens = REMEMBERS(text)
    assert tokens[0] == BOS and all(isinstance(t, str) and t and not t.isspace() for t in tokens)
    assert tokens == Tokenizer(memo=0)(text)                 # the memory changes nothing
    assert not {UNK, PAD, BOS, EOS} & {*tokens[1:]}          # and nobody can forge a special token


@fuzz(250, text=ANY | ODD)
def test_any_text_comes_back_from_subwords(text):
    assert "".join(split_pieces(text)) == text
    assert CODER.decode(CODER.encode(text)) == text


CODER = BytePairEncoder.train(["the cat sat on the mat, the cat naps", "日本語の日本", "ééé 😀😀😀 no no no"] * 3, 400)


@fuzz(25, texts=st.lists(ANY, max_size=4), more=ANY, size=ints(256, 300), least=ints(1, 3))
def test_any_texts_can_be_learnt_from(texts, more, size, least):
    coder = BytePairEncoder.train(texts, size, least)
    assert 256 <= len(coder) <= size
    for text in (*texts, more):
        ids = coder.encode(text)
        assert coder.decode(ids) == text and all(0 <= i < len(coder) for i in ids)
    assert BytePairEncoder(coder.merges).encode(more) == coder.encode(more)


@fuzz(40, texts=st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=5), size=ints(8, 20), least=ints(1, 3))
def test_known_tokens_come_back_from_their_numbers(texts, size, least):
    vocab, counts = Vocab.from_texts(texts, size, least), Counter(t for text in texts for t in text)
    assert vocab.tokens[:len(SPECIALS)] == SPECIALS and len(vocab) <= size
    rare = [counts[t] for t in counts if t not in vocab]
    assert len(vocab) == size or all(n < least for n in rare)
    for text in texts:
        assert vocab.decode(vocab.encode(text)) == [t if t in vocab else UNK for t in text]
    with tempfile.TemporaryDirectory() as folder:
        assert Vocab.load(vocab.save(Path(folder, "vocab.json"))).tokens == vocab.tokens


# --- mixing, optimizers ----------------------------------------------------------------------------

@fuzz(40, alpha=reals(1e-3, 100), n=ints(1, 6), size=st.tuples(ints(1, 9), ints(1, 9)), seed=SEED)
def test_shares_of_a_mixture_are_those_of_its_pixels(alpha, n, size, seed):
    torch.manual_seed(seed)
    mine, other = torch.ones(n, 2, *size, dtype=torch.float64), torch.zeros(n, 2, *size, dtype=torch.float64)
    for mixer in (MixUp(alpha), CutMix(alpha)):
        mixed, share = mixer.mix(mine, other)
        assert share.shape == (n,) and ((share >= 0) & (share <= 1)).all()
        torch.testing.assert_close(mixed.mean((1, 2, 3)), share.double(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(mixed + mixer.mix(other, other)[0] + (1 - mixed), torch.ones_like(mixed))
    assert (MixUp(alpha).mix(mine, other)[1] >= 0.5).all()


LR, DECAY = reals(1e-5, 0.5), st.just(0.0) | reals(1e-4, 0.3)
BETAS = st.tuples(reals(0, 0.99), reals(0.5, 0.999))


@fuzz(25, lr=LR, decay=DECAY, momentum=st.just(0.0) | reals(0.1, 0.99), dampening=st.just(0.0) | reals(0, 1), nesterov=st.booleans())
def test_sgd(lr, decay, momentum, dampening, nesterov):
    nesterov = nesterov and momentum > 0 and dampening == 0
    options = dict(lr=lr, weight_decay=decay, momentum=momentum, dampening=dampening, nesterov=nesterov)
    optimizer_parity(lambda p: sgd(p, **options), lambda p: torch.optim.SGD(p, **options), steps=15)


@fuzz(25, lr=LR, decay=DECAY, betas=BETAS, eps=st.sampled_from([1e-8, 1e-3]), amsgrad=st.booleans())
def test_adam(lr, decay, betas, eps, amsgrad):
    options = dict(lr=lr, weight_decay=decay, betas=betas, eps=eps, amsgrad=amsgrad)
    optimizer_parity(lambda p: adam(p, **options), lambda p: torch.optim.Adam(p, **options), steps=15)
    optimizer_parity(lambda p: adamw(p, **options), lambda p: torch.optim.AdamW(p, **options), steps=15)


@fuzz(25, lr=LR, decay=DECAY, alpha=reals(0.1, 0.999), momentum=st.just(0.0) | reals(0.1, 0.95), centered=st.booleans())
def test_rmsprop(lr, decay, alpha, momentum, centered):
    options = dict(lr=lr, weight_decay=decay, alpha=alpha, momentum=momentum, centered=centered, eps=1e-4)
    optimizer_parity(lambda p: rmsprop(p, **options), lambda p: torch.optim.RMSprop(p, **options), steps=15)


@fuzz(10, lr=LR, decay=DECAY, lambd=reals(0, 0.1), alpha=reals(0.1, 1), t0=st.sampled_from([0, 3, 1e6]))
def test_asgd(lr, decay, lambd, alpha, t0):
    options = dict(lr=lr, weight_decay=decay, lambd=lambd, alpha=alpha, t0=t0)
    optimizer_parity(lambda p: asgd(p, **options), lambda p: torch.optim.ASGD(p, **options), steps=15,
                     rtol=1e-5, atol=1e-6)                   # PyTorch keeps its rate in float32


# --- geometry --------------------------------------------------------------------------------------

@fuzz(40, n=ints(1, 3), seed=SEED, aspect=reals(0.3, 3))
def test_one_matrix_does_what_several_do_in_turn(n, seed, aspect):
    g = torch.Generator().manual_seed(seed)
    def draw(low, high):
        return torch.rand(n, generator=g) * (high - low) + low
    moves = [flip_matrices(draw(0, 1) < 0.5), rotation_matrices(draw(-180, 180), aspect),
             zoom_matrices(draw(1, 3), draw(-1, 1), draw(-1, 1))]
    points = torch.rand(n, 5, 2, generator=g) * 2 - 1
    there = points
    for matrix in moves:
        there = warp_points(there, matrix)
    torch.testing.assert_close(warp_points(points, compose_matrices(*moves)), there, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compose_matrices(*moves), moves[0] @ moves[1] @ moves[2])


@fuzz(60, n=ints(1, 2), size=st.tuples(ints(1, 5), ints(1, 5)), out=st.tuples(ints(1, 4), ints(1, 4)), seed=SEED,
      mode=st.sampled_from(["bilinear", "nearest"]), padding=st.sampled_from(["zeros", "border", "reflection"]))
def test_grids_and_samples(n, size, out, seed, mode, padding):
    theta, x = random_tensor((n, 2, 3), seed), random_tensor((n, 2, *size), seed + 1)
    def theirs(theta):
        return F.affine_grid(theta, (n, 2, *out), align_corners=False)
    parity(lambda theta: affine_grid(theta, (n, 2, *out)), theirs, theta)
    grid = theirs(theta)
    if mode == "bilinear":
        parity(lambda x: grid_sample(x, grid, mode, padding),
               lambda x: F.grid_sample(x, grid, mode, padding, align_corners=False), x)
    else:
        ours, want = grid_sample(x, grid, mode, padding), F.grid_sample(x, grid, mode, padding, align_corners=False)
        torch.testing.assert_close(ours, want)


@fuzz(40, seed=SEED)
def test_four_points_go_to_four_others(seed):
    g = torch.Generator().manual_seed(seed)
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    source, target = (square + torch.rand(4, 2, generator=g, dtype=torch.float64) * 0.6 for _ in range(2))
    x, y, w = (torch.cat([source, torch.ones(4, 1)], 1).double() @ homography(source, target).T).unbind(1)
    torch.testing.assert_close(torch.stack([x / w, y / w], 1), target, rtol=1e-8, atol=1e-8)


@fuzz(40, size=st.tuples(ints(1, 40), ints(1, 40)), to=ints(1, 20) | st.tuples(ints(1, 20), ints(1, 20)),
      method=st.sampled_from(["squash", "crop", "pad"]), scale=reals(1, 3), mode=st.sampled_from(["RGB", "L"]))
def test_images_get_the_size_that_was_asked_for(size, to, method, scale, mode):
    image, (h, w) = Image.new(mode, size), (to, to) if isinstance(to, int) else to
    for change in (Resize(to, method), CenterCrop(to, scale)):
        assert to_byte_tensor(change(image)).shape == (len(mode) if mode == "RGB" else 1, h, w)


@fuzz(80, size=st.tuples(ints(1, 500), ints(1, 500)), scale=st.tuples(reals(1e-3, 1), reals(1e-3, 1)),
      ratio=st.tuples(reals(0.05, 20), reals(0.05, 20)), seed=ints(0, 99))
def test_random_boxes_lie_in_the_image(size, scale, ratio, seed):
    left, upper, right, lower = random_box(size, tuple(sorted(scale)), tuple(sorted(ratio)), random.Random(seed))
    assert 0 <= left < right <= size[0] and 0 <= upper < lower <= size[1]
    wide = (right - left) / (lower - upper)
    assert min(ratio) * (1 - 1e-6) <= wide <= max(ratio) * (1 + 1e-6)
    assert (right - left) * (lower - upper) <= max(scale) * size[0] * size[1] * (1 + 1e-6)


@fuzz(30, n=ints(1, 2), size=st.tuples(ints(1, 5), ints(1, 5)), to=st.tuples(ints(5, 9), ints(5, 9)), seed=SEED)
def test_heat_maps_are_enlarged_as_pytorch_does_it(n, size, to, seed):
    maps = random_tensor((n, *size), seed)
    want = F.interpolate(maps[:, None], to, mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(enlarge(maps, to), want, rtol=1e-5, atol=1e-5)


# --- checkpoints -----------------------------------------------------------------------------------

REAL = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool]
TENSORS = st.lists(st.tuples(st.sampled_from(REAL + WHOLE), st.lists(ints(0, 3), max_size=3)), min_size=1, max_size=5)


def holder(kinds, seed):
    """A module with parameters and buffers of such types and shapes; NaN, infinity and -0 among them."""
    module, g = nn.Module(), torch.Generator().manual_seed(seed)
    for i, (dtype, shape) in enumerate(kinds):
        values = torch.randn(shape, generator=g) * 50
        if dtype in REAL and values.numel() > 2:
            values.view(-1)[:3] = torch.tensor([math.nan, -math.inf, -0.0])
        if dtype in REAL:
            module.register_parameter(f"p{i}", nn.Parameter(values.to(dtype)))
        else:
            module.register_buffer(f"b{i}", values.to(dtype))
    return module


def bits(module):
    """Names, types, shapes and bytes of all that a module holds."""
    return {name: (t.dtype, t.shape, t.detach().reshape(-1).view(torch.uint8).tolist() if t.numel() else [])
            for name, t in module.state_dict().items()}


@fuzz(40, kinds=TENSORS, seed=SEED)
def test_weights_of_any_type_and_shape_come_back_bit_for_bit(kinds, seed):
    saved, other = holder(kinds, seed), holder(kinds, seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        load_weights(other, save_weights(saved, Path(folder, "weights.safetensors")))
    assert bits(other) == bits(saved) == bits(holder(kinds, seed))
    third = holder(kinds, seed + 2)
    set_state(third, get_state(saved))
    assert bits(third) == bits(saved)
