"""Import modules, each in a process of its own, and report what they did besides.

    python -I import_alone.py ROOT DISTRIBUTION MODULE…

The process starts without the project on its path, with no GPU, with optional packages refused and the network
closed. torch is imported once, here; each module then in a fork, so that nobody sees what another has imported.
"""
import importlib
import importlib.metadata as metadata
import os
import random
import re
import sys
import tempfile
import traceback

ROOT, DISTRIBUTION, *MODULES = sys.argv[1:]


def needed(name, seen):
    """Names of the distributions that `name` requires, directly or not, without its extras."""
    from packaging.requirements import Requirement

    if (name := re.sub(r"[-_.]+", "-", name).lower()) in seen:
        return seen
    seen.add(name)
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return seen
    for r in map(Requirement, requires):
        if r.marker is None or r.marker.evaluate({"extra": ""}):
            needed(r.name, seen)
    return seen


def requirements():
    """What `settings.ini` says that the package needs."""
    from configparser import ConfigParser

    parser = ConfigParser(delimiters=["="])
    parser.read(os.path.join(ROOT, "settings.ini"), encoding="utf-8")
    return [re.split(r"[<>=!~\[; ]", r)[0] for r in parser["DEFAULT"]["requirements"].split()]


class Refuse:
    """Answer the import of an optional package as a machine would that does not have it."""

    def __init__(self):
        wanted = needed(DISTRIBUTION, set()).union(*(needed(r, set()) for r in requirements()))
        owners = metadata.packages_distributions()
        self.names = {top for top, dists in owners.items()
                      if not any(re.sub(r"[-_.]+", "-", d).lower() in wanted for d in dists)}
        self.names -= sys.stdlib_module_names | {"packaging"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r} (optional packages are refused here)", name=name)


def watch(faults):
    """Note every file that is written, every socket and every process that is started."""
    def audit(event, args):
        if event == "open":
            path, mode, flags = args
            writes = isinstance(mode, str) and set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, (str, bytes)) and "matplotlib" not in str(path) and str(path) != os.devnull:
                faults.append(f"opens {path!r} for writing")
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"):
            if "matplotlib" not in str(args):           # it keeps a list of the fonts
                faults.append(f"{event} {args}")
        elif event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "urllib.Request"):
            faults.append(f"uses the network: {event}")
            raise OSError("the network is closed here")
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
            faults.append(f"starts a process: {event} {args[:2]}")

    sys.addaudithook(audit)


def state():
    """What an import must leave as it was."""
    import numpy
    import torch

    classes = (torch.Tensor, torch.nn.Module, torch.optim.Optimizer, torch.nn.Parameter)
    return {
        "torch's number of threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch's default type": torch.get_default_dtype(), "torch's default device": torch.get_default_device(),
        "torch's random state": torch.get_rng_state().tolist(), "Python's random state": random.getstate(),
        "numpy's random state": [str(x) for x in numpy.random.get_state()],
        "whether gradients are on": torch.is_grad_enabled(), "torch's print options": str(torch._tensor_str.PRINT_OPTS),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "the working folder": os.getcwd(), "the recursion limit": sys.getrecursionlimit(),
        "sys.excepthook": sys.excepthook, "sys.stdout": sys.stdout, "the environment": dict(os.environ),
        **{f"the attributes of {c.__name__}": {k: id(v) for k, v in vars(c).items()} for c in classes}}


def look(name):
    """Import one module; what is wrong, one line each."""
    faults, before = [], state()
    watch(faults)
    try:
        module = importlib.import_module(name)
    except BaseException:
        return [*faults, traceback.format_exc(limit=-3)]
    after = state()
    faults += [f"changes {what}" for what in before if before[what] != after[what]]
    listed = getattr(module, "__all__", ())
    faults += [f"__all__ lists {n}, which is not there" for n in listed if not hasattr(module, n)]
    if not os.path.abspath(module.__file__).startswith(os.path.abspath(ROOT) + os.sep):
        faults.append(f"was imported from {module.__file__}, not from {ROOT}")
    if sys.modules["torch"].cuda.is_initialized():
        faults.append("starts CUDA")
    return faults


def fork(name):
    """Look at one module in a child process; what it wrote, to stdout, stderr and as its report."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as report:
        if (pid := os.fork()) == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            faults = look(name)
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(report.fileno(), "\n".join(faults).encode())
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        printed.seek(0)
        report.seek(0)
        faults = [report.read().decode()] + [f"prints {t!r}" for t in [printed.read().decode()] if t]
        return [f for f in faults + ([f"ends with status {status}"] if status else []) if f]


def main():
    sys.meta_path.insert(0, Refuse())
    sys.path.insert(0, ROOT)
    import numpy  # noqa: F401
    import torch  # noqa: F401

    sys.stdout.flush()
    for name in MODULES:
        print(f"== {name}\n" + ("\n".join(fork(name)) or "ok"), flush=True)


main()
