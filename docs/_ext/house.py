"""House rules: alt text of figures, the real notebook behind the download button, no dead button."""

from __future__ import annotations

import shutil
from pathlib import Path

from myst_nb.core.render import NbElementRenderer
from settings import NBS

plain_render_image = NbElementRenderer.render_image


def render_image(self, data):
    """As myst-nb does it, with the alt text that stands in the output's metadata."""
    images = plain_render_image(self, data)
    about = data.output_metadata.get(data.mime_type, {})
    if isinstance(about, dict) and about.get("alt"):
        images[0]["alt"] = about["alt"]
    return images


def is_notebook(pagename: str) -> bool:
    return (NBS / f"{pagename}.ipynb").exists()


def buttons(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Download and edit only where there is a notebook behind the page; the rest is generated."""
    if not is_notebook(pagename):
        drop = {"download-buttons", "download-source-button", "edit-button", "source-edit-button"}
        context["header_buttons"] = [
            strip(b, drop) for b in context.get("header_buttons", []) if b.get("label") not in drop
        ]


def strip(button: dict, drop: set[str]) -> dict:
    if button.get("type") != "group":
        return button
    return {
        **button,
        "buttons": [
            b
            for b in button["buttons"]
            if b.get("label") not in drop and "/edit/" not in b.get("url", "")
        ],
    }


def finish(app, error) -> None:
    """Put the committed notebooks behind the download buttons; drop what only a debugger reads."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for file in out.rglob("*.map"):
        file.unlink()
    for file in (out / "_sources").rglob("*"):
        original = NBS / file.relative_to(out / "_sources")
        if file.is_file():
            shutil.copyfile(original, file) if original.exists() else file.unlink()


def setup(app) -> dict:
    NbElementRenderer.render_image = render_image
    app.connect("html-page-context", buttons, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
