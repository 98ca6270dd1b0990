"""The project's settings and folders, read from `settings.ini`. Standard library only."""
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read_settings(root: Path = ROOT) -> dict[str, str]:
    """The one section of `settings.ini` as a dictionary of strings."""
    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


CFG = read_settings()
NBS = ROOT / CFG["nbs_path"]
SOLUTIONS = NBS / "solutions"
LIB = ROOT / CFG["lib_path"]
