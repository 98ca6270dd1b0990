"""Bad inputs over the whole package: the error that must come, its words, and that nothing is left half done.

The calls are in tools/bad_inputs.txt, a row each; the site shows them with the messages that they get.
"""
import inspect
import re

import pytest
import torch

from conftest import none
from stage_errors import (Bad, cell, error_of, errors_page, fault, known_names, prepare, rows, surroundings, told)

pytestmark = [pytest.mark.xdist_group("bad inputs"), pytest.mark.longest(15)]

TABLE = rows()
MODULES = list(dict.fromkeys(row.module for row in TABLE))


@pytest.fixture(scope="module")
def heard():
    """Row -> the type of the error that came, and its message."""
    return told(TABLE)


@pytest.mark.parametrize("module", MODULES)
def test_each_call_gets_its_error(module, heard):
    none([words for row in TABLE if row.module == module and (words := fault(row, *heard[row]))])


def test_a_quiet_call_another_type_and_other_words_are_seen():
    row = Bad("matmul", "a = zeros(2, 3)", "matmul(a, a)", "ValueError", "need shapes (n, k) and (k, m)")
    assert not fault(row, *told([row])[row])
    for change in ({"call": "matmul(a, a.T)"}, {"kind": "TypeError"}, {"words": "need two shapes"}):
        other = Bad(**vars(row) | change)
        assert fault(other, *told([other])[other])


# --- the form of the messages ----------------------------------------------------------------------

HOUSE = re.compile(r"^[^:]*\S: .*\bneed\b.*\bgot\b", re.DOTALL)     # Name: … need …, got …
# What else may be said, and why it is not "need …, got …".
OTHER_FORMS = {
    "an item, with the error that came": r": cannot use '",
    "what is missing, of which nothing came": (
        r": need (a forward pass first|a name other|at least one (batch|sample)|a loader|c_in, as|n_classes, as|"
        r"xxunk for|the padding|'.*' in (it|the table)|a layer that is not frozen|CancelBatch to be raised|"
        r"the same (columns|hyper-parameters))"),
    "an event that is none, with the nearest": r"is no event, did you mean",
    "a callback that is there already": r"is there already, and would hear all twice",
    "a method that must not, or must, be defined": r": (define forward, not __call__|forward is missing)",
    "an exercise that a lesson has not": r": lesson.ipynb has no exercise",
    "a file that cannot be had, read or made": (
        r"cannot be unpacked|no address is known|in the way of a download|is not an idx file|No such file"),
    "what differs from a reference": r"ours differs from the reference",
    "an option that Python refuses": r"got an unexpected keyword argument",
}


def test_messages_say_what_is_needed_and_what_came(heard):
    odd, used = [], set()
    for row, (_, said) in heard.items():
        forms = {form for form, words in OTHER_FORMS.items() if re.search(words, said)}
        if not HOUSE.search(said):
            used |= forms
            odd += [] if forms else [f"{row.call}: {said}"]
    none(odd, "say `Name: need …, got …`")
    none(sorted(OTHER_FORMS.keys() - used), "nobody says this any more: take it out of OTHER_FORMS")


# --- the table is complete -------------------------------------------------------------------------

# What the docstring promises here needs a network, other processes or a full disk, and has tests of its own.
ELSEWHERE = {
    "fetch": "test_datasets.py", "write_whole": "test_datasets.py", "make_shapes": "test_datasets.py",
    "main": "test_command.py", "train_photos": "test_command.py", "pretrain": "test_pretrain.py",
    "open_turbo": "its notebook", "SpacySplit": "its notebook", "Distributed": "test_distributed.py",
    "DeviceCallback": "its notebook", "what_we_built": "its notebook",
}


def test_every_promise_of_an_error_has_a_row():
    text = "\n".join(f"{row.setup}\n{row.call}" for row in TABLE)
    named = {*re.findall(r"\w+", text)}
    promised = {name for name, thing in known_names().items()
                if getattr(thing, "__module__", "").startswith("exp.")
                and "Raises:" in (inspect.getdoc(thing) or "")}
    assert len(promised) > 150
    none(sorted(promised - named - ELSEWHERE.keys()), "add a call with bad input to tools/bad_inputs.txt")
    none(sorted(ELSEWHERE.keys() & named), "it has a row now: take it out of ELSEWHERE")


# --- all or nothing --------------------------------------------------------------------------------

RUN = """x, y = torch.rand(4, 2), zeros(4).long()
model, dls = nn.Linear(2, 2), DataLoaders([(x, y)], [(x, y)])
run = CancellableRunner(model, dls, cross_entropy, partial(SGD, lr=0.1))"""
LEARN = """x, y = torch.rand(4, 2), zeros(4).long()
model, dls = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), DataLoaders([(x, y)], [(x, y)])
learn = Learner(model, dls, cross_entropy, device="cpu", lr=0.1)"""
SAVED = """model, other = nn.Linear(2, 2), nn.Linear(3, 2)
path = save_weights(model, folder / "w.safetensors")
half = folder / "half.safetensors"
half.write_bytes(path.read_bytes()[:-3])"""
TEXTS = """vocab = Vocab(["xxunk", "xxpad", "a", "b"])
lm = language_model(4, 3, 3, 1)
lm(tensor([[2, 3]]))"""

# What is prepared; a call that fails; what must be the same before and after.
UNCHANGED = [
    (RUN, "run.add_cbs([Recorder(), 3])", "run.cbs"),
    (RUN, "run.fit(-1)", "vars(run)"),
    (RUN + "\nrun.add_cbs([ParamScheduler('lr', lambda pos: 7 / pos)])", "run.fit(1)", "run.opt.param_groups[0]['lr']"),
    (RUN + "\nmodel.eval()\nrun.loss_func = None", "run.fit(1)", "[model.training, [cb.learn for cb in run.cbs]]"),
    (RUN, "lr_find(run, start=2, end=1)", "[vars(run), torch.get_rng_state()]"),
    (RUN + "\nrun.loss_func = None", "lr_find(run)", "[vars(run), model.state_dict(), torch.get_rng_state()]"),
    (RUN + "\nrun.add_cbs([ActivationStats([nn.ReLU()])])", "run.fit(1)", "len(model._forward_hooks)"),
    (RUN + "\nrun.add_cbs([ActivationStats([model])])\nrun.loss_func = None", "run.fit(1)", "len(model._forward_hooks)"),
    (RUN + "\nmodel.double()\nrun.add_cbs([MixedPrecision()])", "run.fit(1)", "'forward' in vars(run)"),
    (RUN + "\nrun.add_cbs([MixUp()])\nrun.loss_func = lambda p, t: p.mean()", "run.fit(1)", "run.loss_func"),
    (LEARN, "learn.fit(1, lr=[1, 2])", "[learn.lr, learn.opt, learn.opt.param_groups[0]['lr']]"),
    (LEARN, "learn.fit(1, cbs=[3])", "learn.cbs"),
    (LEARN, "learn.fit_one_cycle(1, pct_start=7)", "[learn.cbs, learn.opt.param_groups[0]['lr']]"),
    (LEARN, "learn.load(folder / 'notes.txt')", "[learn.opt, model.state_dict()]"),
    (LEARN, "learn.validate([x])", "[model.training, torch.get_rng_state(), learn.cbs]"),
    (LEARN, "learn.fit(1, resume=folder / 'notes.txt')", "[model.state_dict(), learn.history]"),
    (SAVED, "load_weights(other, path)", "other.state_dict()"),
    (SAVED + "\nmodel = nn.Linear(2, 2)", "load_weights(model, half)", "model.state_dict()"),
    (SAVED, "set_state(other, get_state(model))", "other.state_dict()"),
    (SAVED, "save_weights(model, folder / 'none' / 'w')", "sorted(folder.iterdir())"),
    ("", "download_new(RemoteFile('a', 1, 'md5:0'), folder / 'notes.txt')", "(folder / 'notes.txt').read_text()"),
    ("", "extract(folder / 'notes.txt', folder / 'out')", "sorted(folder.iterdir())"),
    ("log = folder / 'log.csv'\nlog.write_text('epoch,other\\n0,1\\n')\n" + RUN
     + "\nrun.add_cbs([MetricsCallback(), CSVLogger(log, append=True)])", "run.fit(1)", "log.read_text()"),
    ("data = LabeledData(ImageList([folder / 'a.png', folder / 'half.png'], tfms=[to_byte_tensor]), [0, 1])",
     "cache_images(data, folder / 'cache')", "[path for path in (folder / 'cache').glob('*') if path.suffix != '.lock']"),
    ("model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))", "Hooks([model[0], 3], print)", "len(model[0]._forward_hooks)"),
    ("model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))", "lsuv_init(model, zeros(8, 2))",
     "[model.state_dict(), model.training, torch.get_rng_state()]"),
    ("model = simple_cnn([4])\nx = zeros(2, 1, 8, 8)", "GradCAM(model, model[0]).__enter__()(x, 99)", "model.training"),
    ("layer = nn.Linear(2, 2)", "spectral_norm(layer, 'wait')", "[type(layer), layer.state_dict()]"),
    ("stats = RunningStats().add(1).add(2)", "stats.add_batch([[1.0, 2.0]])", "vars(stats)"),
    ("stats = RunningStats().add(1).add(2)", "stats.add_batch([1e200, -1e200])", "vars(stats)"),
    ("stats = RunningStats().add(1).add(2)", "stats.merge(RunningStats().add([1.0, 2.0]))", "vars(stats)"),
    ("p = nn.Parameter(ones(2))\nopt = adam([p])", "opt.add_param_group({'params': [p]})", "opt.state_dict()"),
    ("p = nn.Parameter(ones(2))\nopt = adam([p])\np.grad = ones(2)\nopt.step()",
     "opt.load_state_dict(adam([p, nn.Parameter(ones(3))]).state_dict())", "opt.state_dict()"),
    ("p, q = nn.Parameter(ones(2)), nn.Parameter(ones(3))\nopt, its = adam([p]), adam([q])\nq.grad = ones(3)\nits.step()",
     "opt.load_state_dict(its.state_dict())", "opt.state_dict()"),
    ("p = CategoryProcessor()\np.fit(['a', 'b'])", "p.fit(['c'])", "vars(p)"),
    ("", "RandomNumbers().load_state_dict({'states': [], 'mps': None})", "torch.get_rng_state()"),
    (TEXTS, "match_vocab(lm, vocab, Vocab(['a']))", "[lm.state_dict(), lm.encoder.hidden]"),
    (TEXTS, "generate(lm, vocab, 'a', top_k=0)", "[lm.training, lm.encoder.hidden]"),
    (TEXTS, "generate(lm, Vocab(['xxunk', 'a']), 'a', n=30, without=())", "[lm.training, lm.encoder.hidden]"),
    (TEXTS, "save_language_model(folder / 'lm.safetensors', lm, vocab, {'emb_size': 4})", "sorted(folder.iterdir())"),
]


def frozen(x):
    """What something holds now, such that a later change does not reach it, and can be compared."""
    if isinstance(x, torch.Tensor):
        return x.dtype, tuple(x.shape), x.tolist() if x.numel() < 20 else hash(x.numpy().tobytes())
    if isinstance(x, dict):
        return {key: frozen(value) for key, value in x.items()}
    return [frozen(value) for value in x] if isinstance(x, (list, tuple)) else x


def changed(setup, call, state):
    """What a failing call has changed, in words; nothing is an empty string."""
    with surroundings() as names:
        own = prepare(setup, names)
        before = frozen(eval(state, own))
        if error_of(call, own) is None:
            return f"no error from {call}"
        after = frozen(eval(state, own))
        return "" if before == after else f"{state} after {call}: {before!s:.300} became {after!s:.300}"


@pytest.mark.parametrize("setup, call, state", UNCHANGED, ids=[call for _, call, _ in UNCHANGED])
def test_a_failed_call_leaves_things_as_they_were(setup, call, state):
    none(changed(setup, call, state))


@pytest.mark.parametrize("setup, call, state", [
    ("kept = []", "kept.append(1) or matmul(1, 1)", "kept"),
    ("layer = nn.Linear(1, 1)", "layer.weight.data.add_(1) is None or matmul(1, 1)", "layer.state_dict()"),
    ("", "(folder / 'new').touch() or matmul(1, 1)", "sorted(folder.iterdir())"),
    ("", "torch.rand(1) is None or matmul(1, 1)", "torch.get_rng_state()"),
    ("kept = []", "1", "kept"),
])
def test_a_change_and_a_quiet_call_are_seen(setup, call, state):
    assert changed(setup, call, state)


# --- the page --------------------------------------------------------------------------------------

def test_the_page_has_every_call_with_its_message(heard):
    page = errors_page(heard)
    none([row.call for row in TABLE if cell(row.call) not in page])
    assert "matmul: need shapes (n, k) and (k, m), got (2, 3) and (2, 3)" in page
    none(re.findall(r".*(?:/tmp/| at 0x).*", page), "a path or an address of this machine")


def test_the_page_is_not_made_of_a_message_that_does_not_come():
    with pytest.raises(ValueError, match="need two rows"):
        errors_page(told(rows("[matmul]\nmatmul(zeros(2), zeros(2))  ->  need two rows")))
    with pytest.raises(ValueError, match="call  ->  words"):
        rows("matmul(zeros(2), zeros(2)) -> one space too few")
