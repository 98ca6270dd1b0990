"""The stretches of the course: where each begins, what it is called, and what a reader has at its end."""
from __future__ import annotations

from typing import NamedTuple


class Stretch(NamedTuple):
    """Pages that belong together."""
    first: str      # number of its first page
    title: str      # in the sidebar of the site, and above its part of the map
    about: str      # Markdown; what the pages lead to, and in which order


STRETCHES = [
    Stretch("00", "Support", "Tools of the course, to be read when they are needed: checks against PyTorch, pictures that must have "
            "labels, data that are proven right, and a verdict on a few runs that chance seldom fakes."),
    Stretch("01", "Lesson 8 · Matrices and gradients", "From three nested loops to a network whose gradients are worked out by hand, "
            "and to first weights with which its numbers neither vanish nor explode."),
    Stretch("02c", "Lesson 9 · The training loop", "Batches, then a loop, then a loop that others can listen to. From here on a new wish, "
            "such as a learning rate that changes, is a class beside the loop, and the loop stays as it is."),
    Stretch("05a", "Lesson 10 · Inside the model", "Three pages add to the loop and to the layers: stopping early, convolutions, a finder for "
            "the learning rate. Then hooks look into a network while it learns, and what they show is put right: by normalisation, and by "
            "first weights that are measured instead of derived."),
    Stretch("07c", "Lesson 11 · Data", "Files, tables and lists become batches in four steps. Photos are the hard case: they come "
            "broken, turned and in all sizes, and decoding them takes longer than learning from them."),
    Stretch("08c", "Lesson 11 · Optimizers", "An optimizer is a list of small functions. Every known one is put together from them, and in "
            "the end compiled into one loop of machine code."),
    Stretch("09a2", "Lesson 11 · The Learner", "Pages that end in one class. A file is whole or not there (09a2); from such a file a "
            "fit goes on that was killed (09a3); the trainer makes its own optimizer (09a4), also one for large batches (09a); "
            "the Learner is all of it in one place (09b); its history goes to a log (09c1) and to a live table (09c)."),
    Stretch("10", "Lesson 11 · Augmentation", "Photos that are never seen twice alike: first one by one with their masks and points, "
            "then a whole batch in one interpolation."),
    Stretch("10b", "Lesson 12 · Photos in earnest", "Mixed photos, 16-bit numbers and residual networks; their tricks counted one by one "
            "over several seeds; then a trained network for other classes, several processes, and a command."),
    Stretch("12", "Lesson 12 · Text", "Reviews become tokens, tokens batches; a recurrent network is written twice, once to be read and "
            "once to be fast. It learns to go on with texts, and what it has learnt is tried on a task with few labels."),
]


def stretch(name: str) -> Stretch:
    """The one that a page belongs to, by its name; pages stand in the order of their names, as in the folder."""
    return max(s for s in STRETCHES if s.first <= name)
