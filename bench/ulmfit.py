#!/usr/bin/env python3
"""Lesson 12c at length: what does pretraining bring, with few labelled reviews and with more?

    python bench/ulmfit.py --model DIR/model.safetensors --folder RUNS --json results/ulmfit.json
    python bench/ulmfit.py --tiny --folder RUNS        generated texts and small numbers, to try it
    python bench/ulmfit.py --model DIR/model.safetensors --backward BACK --full --folder RUNS     for a GPU

`--model` is what `bench/lm_pretrain.py` has saved. For each seed its words are matched to those of the reviews, and it is tuned on
reviews without their labels: those of the training part and unlabelled ones, never the test reviews. Then, for each number of labelled
reviews, a classifier is trained in each of the ways, and a bag of words beside it. In one seed all ways see the same labelled
reviews. Epochs and rates are the same for all seeds; the rates of 12c were chosen on the validation reviews of seed 0, with 500
labelled ones, among five settings for a pretrained model and three for one from scratch. The price of the bag's weights is chosen on validation reviews, which are
training reviews kept apart. Each run meets the test reviews once, when it is done.

With `--backward` the same is done with all texts turned round, and the two classifiers vote; a backward model is pretrained in that
folder if there is none, with the recipe of the forward one. `--full` takes all reviews and all of their words.

Each run is written into the folder when it is done; the same command goes on where it was killed.
"""
from __future__ import annotations

import copy
import json
import random
import statistics as stats
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from common import cpu_name, options, write_result

from exp.awd_lstm import LanguageModel, language_model
from exp.checkpoints import load_weights, save_weights
from exp.data_block import DataBunch
from exp.datasets import load_data
from exp.language_learner import perplexity
from exp.learner import Learner
from exp.lm_pretrain import (PretrainRecipe, load_language_model, pretrain_learner, save_language_model,
                             wikitext_documents)
from exp.photo_runs import write_json
from exp.resuming import Checkpoint
from exp.text import Tokenizer, tokenize_all
from exp.text_batches import Vocab, language_model_dls, text_classifier_dls
from exp.text_classifier import LogisticRegression, bag_of_words, text_classifier
from exp.ulmfit import backwards, match_vocab, mean_probabilities, train_classifier, tune_language_model

SCRATCH, MATCHED, TUNED, BACKWARD, BOTH, BAG = (
    "from scratch", "pretrained", "pretrained and tuned", "the same, backwards", "both directions", "bag of words")
PRICES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)      # of a weight in logistic regression
TINY = {"data": "reviews", "seeds": 3, "sizes": [60, 240], "valid": 200, "test": 200, "lm_texts": 600, "lm_epochs": 2, "max_vocab": 2000,
        "batch": 16, "steps": 60}
FULL = {"sizes": [100, 500, 2500, 22_000], "valid": 2500, "test": None, "lm_texts": None, "cut": None, "lm_epochs": 8, "lm_batch": 64,
        "seq_len": 70, "batch": 64, "steps": 600, "max_vocab": 60_000}


def shuffled(items: list, seed: int) -> list:
    """The items in another order; always the same one."""
    random.Random(seed).shuffle(items := list(items))
    return items


def balanced(pairs: list[tuple[str, int]], seed: int) -> list[tuple[str, int]]:
    """Reviews in random order, one of each label in turns."""
    halves = [shuffled([p for p in pairs if p[1] == label], seed + label) for label in (0, 1)]
    return [pair for both in zip(*halves) for pair in both]


@dataclass
class Seed:
    """The reviews of one seed, and its models; a model is made when it is asked for, or read if it was made before."""
    args: object
    seed: int
    reviews: object
    tokens: Callable[[str], list[str]]

    @cached_property
    def parts(self) -> tuple[list, list, list]:
        """Validation pairs, labelled pairs, and texts for the language model."""
        args, tested = self.args, {text for text, _ in self.reviews.test}      # some reviews are in IMDB twice
        rest = balanced([(text, label) for text, label in dict(self.reviews.train).items() if text not in tested], 10 * self.seed)
        valid, rest = rest[:args.valid], rest[args.valid:]
        more = [text for text, _ in rest[max(args.sizes):]] + self.reviews.unlabelled
        apart = tested | {text for text, _ in valid}
        texts = [text for text, _ in rest[:max(args.sizes)]] + [text for text in shuffled(more, self.seed) if text not in apart]
        return valid, rest, texts[:args.lm_texts]

    @cached_property
    def lm_docs(self) -> list[list[str]]:
        return tokenize_all(self.parts[2], self.tokens)

    @cached_property
    def vocab(self) -> Vocab:
        return Vocab.from_texts(self.lm_docs, self.args.max_vocab)

    def pairs(self, some: list[tuple[str, int]], turned: bool = False) -> list[tuple[Tensor, int]]:
        """Numbers of tokens, the last `--cut` of them, with labels."""
        cut = self.args.cut or 0
        docs = [self.vocab.encode(self.tokens(text)[-cut:]) for text, _ in some]
        return list(zip(backwards(docs) if turned else docs, [label for _, label in some]))

    def matched(self, path: Path) -> LanguageModel:
        """The pretrained model with the words of the reviews."""
        model, old = load_language_model(path, self.args.dropout)
        return match_vocab(model, old, self.vocab)

    def tuned(self, path: Path, turned: bool) -> LanguageModel:
        """The same, trained on the reviews; from its file if there is one."""
        args, name = self.args, f"lm_{'backward' if turned else 'forward'}_{self.seed}"
        model, file = self.matched(path), args.folder / f"{name}.safetensors"
        if (args.folder / f"{name}.json").exists():
            return load_weights(model, file)
        way = backwards if turned else list
        docs, valid = ([self.vocab.encode(t) for t in part] for part in (self.lm_docs, [self.tokens(t) for t, _ in self.parts[0]]))
        dls = language_model_dls(way(docs), way(valid), args.lm_batch, args.seq_len, seed=self.seed)
        torch.manual_seed(self.seed)
        start = time.perf_counter()
        learn = tune_language_model(model, dls, args.lm_epochs, args.lm_lr, max_norm=args.lm_clip)
        save_weights(learn.model.cpu(), file)
        write_json(args.folder / f"{name}.json", {
            "seed": self.seed, "words": len(self.vocab), "texts": len(docs), "tokens": sum(map(len, docs)),
            "perplexity": learn.history[-1]["valid_perplexity"], "history": learn.history, "seconds": time.perf_counter() - start})
        return model


def epochs_for(n: int, args) -> int:
    """About as many steps for each number of reviews, but 7 epochs or more, as thawing takes 4; and 20 at most."""
    return max(7, min(20, round(args.steps * args.batch / n)))


def train_way(data: Seed, encoder, n: int, test_pairs: list, turned: bool, **how) -> tuple[Learner, dict, Tensor]:
    """One classifier: what it came to, and its scores for the test reviews."""
    args, (valid, labelled, _) = data.args, data.parts
    bunch = text_classifier_dls(data.pairs(labelled[:n], turned), data.pairs(valid, turned), data.pairs(test_pairs, turned),
                                args.batch, seed=data.seed)
    torch.manual_seed(data.seed)
    model = text_classifier(encoder, 2, args.seq_len, dropouts=(0.2, 0.1))
    start = time.perf_counter()
    learn = train_classifier(model, DataBunch(bunch.train, None), epochs_for(n, args), **how)
    seconds = time.perf_counter() - start
    scores, targets = learn.get_preds(bunch.test)              # the one look at the test reviews
    right = (scores.argmax(1) == targets).double().mean().item()
    return learn, {"accuracy": right, "valid": learn.validate(bunch.valid)["accuracy"], "epochs": epochs_for(n, args),
                   "train loss": learn.history[-1]["train_loss"], "seconds": seconds}, torch.cat([scores, targets[:, None]], 1)


def bag_run(data: Seed, n: int, test_pairs: list) -> dict:
    """Logistic regression on which of the words there are that the classifiers read; the price chosen on validation reviews."""
    start = time.perf_counter()
    valid, labelled, _ = data.parts
    docs = {name: data.pairs(part) for name, part in (("train", labelled[:n]), ("valid", valid), ("test", test_pairs))}
    bags = {name: (bag_of_words([ids for ids, _ in part], len(data.vocab)), torch.tensor([y for _, y in part]))
            for name, part in docs.items()}

    def share(fitted: LogisticRegression, name: str) -> float:
        x, y = bags[name]
        return (fitted.predict(x) == y).double().mean().item()
    fits = [LogisticRegression(l2).fit(*bags["train"]) for l2 in PRICES]
    best = max(fits, key=lambda fitted: share(fitted, "valid"))
    return {"accuracy": share(best, "test"), "valid": share(best, "valid"), "l2": best.l2, "seconds": time.perf_counter() - start}


def one_run(data: Seed, way: str, n: int, test_pairs: list) -> dict:
    """A way of training with n labelled reviews."""
    args, turned = data.args, way == BACKWARD
    if way == BAG:
        return bag_run(data, n, test_pairs)
    if way == BOTH:
        votes = [torch.load(scores_file(args, each, n, data.seed)) for each in (TUNED, BACKWARD)]
        voted = mean_probabilities([vote[:, :2] for vote in votes])
        return {"accuracy": (voted.argmax(1) == votes[0][:, 2]).double().mean().item()}
    how = {"gradual": False, "ratio": 1, "lr": args.scratch_lr} if way == SCRATCH else {"ratio": args.ratio, "lr": args.lr}
    path = args.backward / "model.safetensors" if turned else args.model
    if way == SCRATCH:
        torch.manual_seed(1000 + data.seed)
        encoder = language_model(len(data.vocab), **args.model_sizes).encoder
    else:
        encoder = (data.matched(path) if way == MATCHED else data.tuned(path, turned)).encoder
    _, found, scores = train_way(data, copy.deepcopy(encoder), n, test_pairs, turned, **how)
    torch.save(scores, scores_file(args, way, n, data.seed))
    return found


def scores_file(args, way: str, n: int, seed: int) -> Path:
    return args.folder / f"{way.replace(' ', '_').replace(',', '')}_{n}_{seed}.pt"


def once(path: Path, run: Callable[[], dict]) -> dict:
    """A result from its file, or found now and written."""
    if not path.exists():
        write_json(path, run())
    return json.loads(path.read_text(encoding="utf-8"))


def pretrain_backward(args) -> None:
    """A model of turned articles, with the recipe of the forward model; goes on if it was killed."""
    about = json.loads((args.model.parent / "run.json").read_text(encoding="utf-8"))
    recipe, texts = PretrainRecipe(**about["recipe"]), load_data(about["data"]["name"])
    words = wikitext_documents(texts, recipe.tokens)
    vocab = Vocab.from_texts(words["train"], recipe.max_vocab, recipe.min_freq)
    train, valid = (backwards(vocab.encode(t) for t in words[part]) for part in ("train", "valid"))
    args.backward.mkdir(parents=True, exist_ok=True)
    saved = args.backward / "checkpoint.pt"
    learn = pretrain_learner(recipe, train, valid, len(vocab), [Checkpoint(saved, 500)])
    learn.fit_one_cycle(recipe.epochs, resume=saved if saved.exists() else None)
    save_language_model(args.backward / "model.safetensors", learn.model, vocab, recipe.sizes)
    write_json(args.backward / "result.json", {"valid_perplexity": perplexity(learn), "history": learn.history})


def tiny_model(args) -> None:
    """A small model of generated articles, for `--tiny`."""
    args.model = args.folder / "tiny" / "model.safetensors"
    args.model.parent.mkdir(exist_ok=True)
    recipe = PretrainRecipe(emb_size=32, n_hid=64, batch=32, epochs=1, lr=1e-2)
    if not args.model.exists():
        texts = load_data("articles")
        words = wikitext_documents(texts)
        vocab = Vocab.from_texts(words["train"])
        learn = pretrain_learner(recipe, *([vocab.encode(t) for t in words[part]] for part in ("train", "valid")), len(vocab))
        learn.fit_one_cycle(recipe.epochs)
        save_language_model(args.model, learn.model, vocab, recipe.sizes)
        write_json(args.model.parent / "run.json", {"recipe": vars(recipe), "data": {"name": "articles"}})


def chosen(argv: list[str] | None = None):
    """The options; those of `--tiny` and `--full` are other defaults."""
    found = options(__doc__)
    found.add_argument("--folder", type=Path, required=True, help="of the runs; made if it is not there")
    found.add_argument("--model", type=Path, help="….safetensors of bench/lm_pretrain.py")
    found.add_argument("--backward", type=Path, help="folder of a model of turned texts; made if there is none")
    found.add_argument("--tiny", action="store_true", help="generated texts, a small model: to try it")
    found.add_argument("--full", action="store_true", help="all reviews, all their words")
    found.add_argument("--data", default="imdb", choices=["imdb", "reviews"])
    found.add_argument("--seeds", type=int, default=3, help="runs of each kind (default 3)")
    found.add_argument("--sizes", type=int, nargs="+", default=[50, 150, 500], help="numbers of labelled reviews")
    found.add_argument("--valid", type=int, default=300, help="training reviews kept apart")
    found.add_argument("--test", type=int, default=1000, help="test reviews (default 1000)")
    found.add_argument("--cut", type=int, default=150, help="tokens of a review that a classifier reads: the last ones")
    found.add_argument("--lm-texts", type=int, default=1000, help="reviews to tune the language model on")
    found.add_argument("--lm-epochs", type=int, default=2)
    found.add_argument("--lm-batch", type=int, default=16)
    found.add_argument("--lm-lr", type=float, default=4e-3)
    found.add_argument("--lm-clip", type=float, default=0.25)
    found.add_argument("--seq-len", type=int, default=35)
    found.add_argument("--max-vocab", type=int, default=10_000)
    found.add_argument("--dropout", type=float, help="share of the paper's dropout (default: as pretrained)")
    found.add_argument("--batch", type=int, default=16)
    found.add_argument("--steps", type=int, default=250, help="of a classifier, about; at least 7 epochs, at most 20")
    found.add_argument("--lr", type=float, default=2e-2, help="highest rate of a classifier's head")
    found.add_argument("--ratio", type=float, default=1.3, help="of the rates of two groups")
    found.add_argument("--scratch-lr", type=float, default=1e-2, help="highest rate of all groups, from scratch")
    found.add_argument("--threads", type=int, help="of the processor")
    which, _ = found.parse_known_args(argv)
    found.set_defaults(**(TINY if which.tiny else FULL if which.full else {}))
    args = found.parse_args(argv)
    if args.model is None and not args.tiny:
        found.error("need --model, a file that bench/lm_pretrain.py saved; or --tiny")
    if args.seeds < 2 or min(args.sizes) < 2:
        found.error("need 2 seeds or more, and 2 labelled reviews or more")
    return args


def same_settings(args) -> dict:
    """Note what is run in the folder, or refuse a folder of other settings."""
    skip = ("json", "folder", "threads", "tiny", "full", "seeds", "model_sizes", "sizes", "backward")
    about = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in skip}
    about |= {"most labelled": max(args.sizes)}
    note = args.folder / "settings.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != about:
        sys.exit(f"need another folder: {args.folder} has runs with other settings, {note.read_text(encoding='utf-8')}")
    write_json(note, about)
    return about


def table(runs: dict[str, dict[int, list[dict]]]) -> list[dict]:
    """A row a way and number of reviews; printed, too."""
    rows = []
    for way, by_size in runs.items():
        for n, its in by_size.items():
            found = [run["accuracy"] for run in its]
            rows.append({"way": way, "labelled": n, "accuracy": stats.mean(found), "std": stats.stdev(found), "runs": its})
            print(f"{way:22} {n:6,} {rows[-1]['accuracy']:.4f} ± {rows[-1]['std']:.4f}   {', '.join(f'{a:.3f}' for a in found)}")
    return rows


def main(argv: list[str] | None = None) -> int:
    args = chosen(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.tiny:
        tiny_model(args)
    about = same_settings(args)
    args.model_sizes = json.loads(args.model.with_suffix(".json").read_text(encoding="utf-8"))["sizes"]
    if args.dropout is not None:
        args.model_sizes |= {"dropout_factor": args.dropout}
    if args.backward and not (args.backward / "result.json").exists():
        pretrain_backward(args)
    reviews, tokens, start = load_data(args.data), Tokenizer(), time.perf_counter()
    test_pairs = balanced(reviews.test, 42)[:args.test]
    ways = [BAG, SCRATCH, MATCHED, TUNED, *([BACKWARD, BOTH] if args.backward else [])]
    print(f"{reviews.title}: {cpu_name()}, {torch.get_num_threads()} threads; {about}", flush=True)
    runs, tuning = {way: {n: [] for n in args.sizes} for way in ways}, []
    for seed in range(args.seeds):
        data = Seed(args, seed, reviews, tokens)
        for n in args.sizes:
            for way in ways:
                found = once(scores_file(args, way, n, seed).with_suffix(".json"), lambda: one_run(data, way, n, test_pairs))
                runs[way][n].append({"seed": seed, **found})
                print(f"{time.perf_counter() - start:6.0f} s  seed {seed}  {n:6,} labelled  {way:22} {found['accuracy']:.4f}", flush=True)
        for direction in ("forward", *(["backward"] if args.backward else [])):
            its = json.loads((args.folder / f"lm_{direction}_{seed}.json").read_text(encoding="utf-8"))
            tuning.append({"direction": direction, **its})
    print()
    rows = table(runs)
    write_result(args.json, f"ULMFiT on {reviews.title}", data=reviews.title, settings=about | {"model": args.model and args.model.name}, sizes=args.sizes, seeds=[*range(args.seeds)],
                 model=args.model_sizes, tuning=tuning, results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
