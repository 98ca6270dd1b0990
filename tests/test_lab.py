"""A real JupyterLab in a real browser opens a lesson and runs all of its cells."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chromium import chromium

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
NOTEBOOK = "01_matmul.ipynb"
START, CELLS = 90, 600  # seconds for the server to start, and for all cells to run

RUN = """async path => {
  const app = window.jupyterapp; await app.restored;
  const w = await app.commands.execute('docmanager:open',
    {path, factory: 'Notebook', kernel: {name: 'python3'}});
  await w.context.ready; await w.sessionContext.ready; app.shell.activateById(w.id);
  await app.commands.execute('notebook:run-all-cells');
  const cells = w.content.model.toJSON().cells.filter(c => c.cell_type == 'code');
  const text = c => Array.isArray(c.source) ? c.source.join('') : c.source;
  return {cells: cells.filter(c => text(c).trim()).length,
    ran: cells.filter(c => c.execution_count).length,
    errors: cells.flatMap(c => c.outputs.filter(o => o.output_type == 'error')
      .map(o => `${text(c).slice(0, 200)}\\n  ${o.ename}: ${o.evalue}`))};
}"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def jupyterlab(folder: Path, tmp: Path) -> Iterator[str]:
    """JupyterLab on this machine only, with settings and state of its own; gives its address."""
    news = tmp / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    env = {
        **os.environ,
        **{k: str(tmp / v) for k, v in own.items()},
        "EXP_DATA": "sample",
        "IN_TEST": "1",
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    address, log = f"http://127.0.0.1:{port}", tmp / "lab.log"
    with log.open("w") as out:
        lab = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                f"--port={port}",
                "--ServerApp.port_retries=0",
                "--IdentityProvider.token=",
                "--ServerApp.password=",
                "--expose-app-in-browser",
                f"--ServerApp.root_dir={folder}",
            ],
            env=env,
            stdout=out,
            stderr=out,
        )
    try:
        end = time.monotonic() + START
        while True:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2).close()
                break
            except OSError:
                assert lab.poll() is None and time.monotonic() < end, (
                    f"no JupyterLab:\n{log.read_text()[-2000:]}"
                )
                time.sleep(0.2)
        yield address
    finally:
        lab.terminate()
        try:
            lab.wait(15)
        except subprocess.TimeoutExpired:
            lab.kill()
            lab.wait()


@pytest.mark.browser
@pytest.mark.longest(60)
def test_a_lesson_runs_in_jupyterlab(tmp_path):
    name = (
        NOTEBOOK
        if (NBS / NOTEBOOK).exists()
        else next((f.name for f in sorted(NBS.glob("[0-9]*.ipynb"))), None)
    )
    if name is None:
        pytest.skip("there is no lesson yet")
    work = tmp_path / "nbs"  # the run must not touch the repository
    shutil.copytree(NBS, work, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    foreign: list[str] = []
    with chromium() as browser, jupyterlab(work, tmp_path) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        own = (address, address.replace("http", "ws"), "data:", "blob:")
        page.on("request", lambda r: None if r.url.startswith(own) else foreign.append(r.url))
        page.set_default_timeout(CELLS * 1000)
        page.goto(f"{address}/lab?reset")
        page.wait_for_function("window.jupyterapp")
        result = page.evaluate(RUN, name)
        page.close()
    assert not result["errors"], "\n\n".join(result["errors"])
    assert result["ran"] == result["cells"] > 0
    assert not foreign, f"requests that leave the machine: {foreign}"
