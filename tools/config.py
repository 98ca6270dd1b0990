"""Write pyproject.toml from settings.ini (nbdev and the build back end read it), or compare with `--check`."""
import json
import sys

from settings import CFG, ROOT

LISTS = ("allowed_metadata_keys", "allowed_cell_metadata_keys")
FLAGS = ("recursive", "put_version_in_init", "update_pyproject", "jupyter_hooks")
STRINGS = ("title", "nbs_path", "lib_path", "doc_path", "strip_libs", "branch", "tst_flags")
DYNAMIC = ("version description readme requires-python license authors keywords classifiers "
           "dependencies optional-dependencies entry-points scripts").split()


def pyproject(cfg: dict) -> str:
    """The whole text of pyproject.toml."""
    nbdev = [f"{k} = {json.dumps(cfg[k])}" for k in STRINGS]
    nbdev += [f"{k} = {json.dumps(cfg[k].split())}" for k in LISTS]
    nbdev += [f"{k} = {str(cfg[k].lower() == 'true').lower()}" for k in FLAGS]
    urls = [f"{name} = {json.dumps(cfg[key])}" for name, key in
            (("Repository", "git_url"), ("Documentation", "doc_url")) if cfg[key]]
    return "\n".join([
        "# Written by `make config` from settings.ini. Edit settings.ini, not this file.",
        "[build-system]", 'requires = ["setuptools>=77"]', 'build-backend = "setuptools.build_meta"', "",
        "[project]", f"name = {json.dumps(cfg['lib_name'])}", "# setup.py supplies these, from settings.ini",
        f"dynamic = {json.dumps(DYNAMIC)}", "",
        *(["[project.urls]", *urls, ""] if urls else []),
        "[tool.nbdev]", *nbdev, "",
        "[tool.ruff]", "line-length = 100", "",
        "[tool.ruff.lint]", 'select = ["E9", "F", "W6"]', "",
        "[tool.pytest.ini_options]", 'testpaths = ["tests"]',
        'markers = ["browser: needs a Chromium (set CHROMIUM to its path)"]', ""])


def main() -> None:
    path, want = ROOT / "pyproject.toml", pyproject(CFG)
    if path.exists() and path.read_text(encoding="utf-8") == want:
        return print("pyproject.toml agrees with settings.ini")
    if "--check" in sys.argv:
        sys.exit("pyproject.toml differs from settings.ini: run `make config`")
    path.write_text(want, encoding="utf-8")
    print("pyproject.toml written")


if __name__ == "__main__":
    main()
