"""Configuration of the site. Name and address come from settings.ini, pages from tools/stage.py."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "docs" / "_ext"), str(ROOT / "tools")]

from settings import CFG  # noqa: E402

git_url = os.environ.get("EXP_GIT_URL", CFG["git_url"])

project, author, release = CFG["title"], CFG["author"], CFG["version"]
copyright = f"{author}. {CFG['license']}"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "svg_maths", "code_links", "house"]
exclude_patterns = ["code_names.json"]

# notebooks: the saved outputs are the documentation
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables and formulas in outputs
myst_enable_extensions = [
    "dollarmath",
    "amsmath",
    "colon_fence",
    "deflist",
    "fieldlist",
    "attrs_inline",
    "html_image",
]
myst_heading_anchors = 3
myst_footnote_transition = False

# API entries: the types of other libraries have no page here
add_module_names = False
toc_object_entries = False
maximum_signature_line_length = 72
python_display_short_literal_types = True
nitpick_ignore_regex = [("py:(class|obj|exc|data|func|meth|attr)", ".*")]

html_math_renderer = "svg_maths"
html_theme = "sphinx_book_theme"
html_title = CFG["title"]
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source, html_show_sourcelink, html_sourcelink_suffix = True, True, ""
html_last_updated_fmt = None
html_domain_indices = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": True,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "footer_content_items": ["copyright"],
    "show_toc_level": 2,
    "pygments_light_style": "github-light-high-contrast",
    "pygments_dark_style": "github-dark",
}
if git_url:
    html_theme_options |= {
        "repository_url": git_url,
        "repository_branch": CFG["branch"],
        "path_to_docs": CFG["nbs_path"],
        "use_repository_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }
copybutton_exclude = ".linenos, .gp, .go"
