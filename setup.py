"""The build reads `settings.ini`, so that name, version, folders and requirements are written down once."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
lib = cfg["lib_path"]
statuses = ["Planning", "Pre-Alpha", "Alpha", "Beta", "Production/Stable", "Mature", "Inactive"]
status = int(cfg["status"])
urls = {"Repository": cfg["git_url"], "Documentation": cfg["doc_url"]}

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    keywords=cfg["keywords"],
    author=cfg["author"],
    license_expression=cfg["license"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    project_urls={name: url for name, url in urls.items() if url},
    classifiers=[
        f"Development Status :: {status} - {statuses[status - 1]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        "Programming Language :: Python :: 3",
    ],
    packages=[lib],
    zip_safe=False,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={name: cfg[f"{name}_requirements"].split() for name in ("dev", "test", "docs")},
    entry_points={"nbdev": [f"{lib} = {lib}._modidx:d"],    # how nbdev finds the symbols
                  "console_scripts": cfg["console_scripts"].split()},
)
