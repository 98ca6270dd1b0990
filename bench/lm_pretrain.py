#!/usr/bin/env python3
"""Lesson 12b at full length: pretrain a language model on WikiText, and say what it costs and how good it is.

    python bench/lm_pretrain.py --folder DIR                         the model that lesson 12c takes further
    python bench/lm_pretrain.py --folder DIR --resume                the same, after it was killed
    python bench/lm_pretrain.py --folder DIR --recipe own            WikiText's own tokens: a comparable perplexity
    python bench/lm_pretrain.py --folder DIR --json results/lm_pretrain_rules.json

Two recipes are here by name, and each of their numbers can be changed: `--emb-size 200 --epochs 6`. The folder gets
a log, checkpoints, the model with its vocabulary and the result; a run that is killed goes on from the last
checkpoint, to the same bits if the number of threads is the same. `--data` is found as in the lessons (EXP_MIRROR,
EXP_CACHE, or the network). Before a run that begins, a few steps are measured: how long the two halves of a step
take, and how long the run will be about.
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path

import torch

from common import cpu_name, options, write_result

from exp.cnn import default_device
from exp.datasets import load_data
from exp.language_learner import generate, lm_cross_entropy
from exp.lm_pretrain import PretrainRecipe, load_language_model, pretrain, pretrain_learner, wikitext_documents
from exp.text_batches import Vocab

RECIPES = {
    "rules": PretrainRecipe(),
    # the sizes of PyTorch's example word_language_model, and every word of WikiText-2
    "own": PretrainRecipe(tokens="own", max_vocab=40_000, min_freq=1, emb_size=200, n_hid=200, batch=20, epochs=3, lr=3e-3),
}
PROMPTS = ("the film was", "in the year", "the best")


def step_seconds(model, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """Seconds of the two halves of a step, both ways: "reading" (encoder) and "choosing" (decoder and loss)."""
    def clock():
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    start = clock()
    features = model.encoder(x)
    read = clock()
    inner = features.detach().requires_grad_()
    lm_cross_entropy(model.decoder(inner), y).backward()
    chosen = clock()
    features.backward(inner.grad)
    return {"reading": read - start + clock() - chosen, "choosing": chosen - read}


def measure(recipe: PretrainRecipe, texts, steps: int) -> dict:
    """Seconds of the two halves of a step, and of the whole of it, and what follows for the run."""
    words = wikitext_documents(texts, recipe.tokens)
    vocab = Vocab.from_texts(words["train"], recipe.max_vocab, recipe.min_freq)
    train, valid = ([vocab.encode(t) for t in words[part]] for part in ("train", "valid"))
    learn = pretrain_learner(recipe, train, valid[:1], len(vocab))
    batches, halves = iter(learn.dls.train), []
    device = default_device()
    learn.model.to(device)
    for x, y in islice(batches, steps + 1):
        start = time.perf_counter()
        found = step_seconds(learn.model, x.to(device), y.to(device))
        learn.opt.step()
        learn.opt.zero_grad()
        halves.append(found | {"step": time.perf_counter() - start})
    middle = {name: statistics.median(row[name] for row in halves[1:]) for name in halves[0]}
    minutes = recipe.epochs * len(learn.dls.train) * middle["step"] / 60
    return middle | {"batches an epoch": len(learn.dls.train), "about minutes of training": minutes}


def chosen_recipe(args) -> PretrainRecipe:
    """The recipe by name, with what the command changes in it."""
    given = {f.name: getattr(args, f.name) for f in fields(PretrainRecipe) if getattr(args, f.name) is not None}
    return PretrainRecipe(**asdict(RECIPES[args.recipe]) | given)


def parser():
    found = options(__doc__)
    found.add_argument("--data", default="wikitext-2", choices=["wikitext-2", "wikitext-103", "articles"])
    found.add_argument("--recipe", default="rules", choices=[*RECIPES], help="what to start from (default rules)")
    for field in fields(PretrainRecipe):
        kind = type(field.default)
        found.add_argument(f"--{field.name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper())
    found.add_argument("--folder", type=Path, required=True, help="of the run; made if it is not there")
    found.add_argument("--resume", action="store_true", help="go on in a folder that has this run")
    found.add_argument("--every", type=int, default=1000, help="batches from checkpoint to checkpoint")
    found.add_argument("--threads", type=int, help="of the processor (default: PyTorch's own choice)")
    found.add_argument("--steps", type=int, default=10, help="steps to measure before the run; 0: none")
    return found


def main() -> int:
    args = parser().parse_args()
    if (args.folder / "run.json").exists() and not args.resume:
        parser().error(f"{args.folder} has a run: go on with --resume, or give another folder")
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe, texts = chosen_recipe(args), load_data(args.data)
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"{texts.title}, tokens: {recipe.tokens}; {cpu_name()}, {torch.get_num_threads()} threads; {recipe}", flush=True)
    seconds = args.folder.parent / f"{args.folder.name}_step.json"
    if args.steps and not (args.folder / "run.json").exists():
        seconds.write_text(json.dumps(measure(recipe, texts, args.steps)))
        print(seconds.read_text(), flush=True)
    found = pretrain(recipe, texts, args.folder, resume=args.resume, every=args.every)
    model, vocab = load_language_model(args.folder / "model.safetensors")
    drawn = {prompt: " ".join(generate(model, vocab, prompt, 40, temperature=0.8, seed=0)) for prompt in PROMPTS}
    step = json.loads(seconds.read_text()) if seconds.exists() else None
    print(f"\n{found['parameters']:,} parameters, {found['vocabulary']:,} words; perplexity: "
          f"valid {found['valid_perplexity']:.2f}, test {found['test_perplexity']:.2f}")
    for prompt, text in drawn.items():
        print(f"  {prompt} … {text}")
    write_result(args.json, f"Pretraining on {texts.title}, tokens: {recipe.tokens}", step=step, prompts=drawn, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
