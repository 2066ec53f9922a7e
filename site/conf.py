"""How ``make site`` makes the website; what its pages are made of stands in course_lib/authoring/website.

Sphinx is started in the root: notebooks are read where they lie, the other pages are made from site/pages.
"""

import atexit
import gc
from importlib.resources import files

import course_lib
from course_lib.authoring.address import ref, repository
from course_lib.exercises import ROOT

gc.disable()  # a fifth of the build goes into looking for garbage; what stays takes 400 MB
atexit.register(gc.freeze)  # nor is it looked for at the end, which takes six seconds

project = "Attention in computer vision"
version = release = course_lib.__version__
author = "the course's authors"
html_title = project
include_patterns = ["notebooks/*.ipynb", "exercises/*.ipynb"]
exclude_patterns = [".*"]  # not even looked through: an environment has forty thousand files
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_copybutton",
    "course_lib.authoring.website",
]

# notebooks, with the outputs that are stored in them
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_inline", "attrs_block"]
myst_links_external_new_tab = False
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]
mathjax_path = "tex-svg.js"
copybutton_selector = "div.cell_input div.highlight pre, div.highlight-sh pre, div.highlight-python pre"

# docstrings
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False  # forward() would show what torch says about every module
autodoc_preserve_defaults = True
autodoc_use_type_comments = False  # there are none, and each file would be read once more to see that
add_module_names = False
highlight_language = "text"  # formulas; examples with >>> are Python all the same
smartquotes_action = "D"  # dashes only: c' has a prime
napoleon_use_param = False  # so that "size, scales: of the retina" stays one line
napoleon_custom_sections = ["Shape", "Learned"]

html_theme = "sphinx_book_theme"
templates_path = ["templates"]
html_static_path = ["static", "sliders", str(files("mathjax") / "static/mathjax/es5/tex-svg.js")]
html_css_files = ["site.css"]
SCRIPTS = ("slider.js", "table.js", "code.js", "edge.js", "sidebar.js", "search.js")
html_js_files = [(name, {"defer": "defer"}) for name in SCRIPTS]
# The list of all pages is 18 kB in each page; the pages of source code do without.
html_sidebars = {"_modules/**": ["navbar-logo.html", "search-button-field.html"]}
html_favicon = "static/favicon.svg"
html_show_copyright = html_show_sphinx = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "logo": {"text": project},
    "use_download_button": True,
    "use_fullscreen_button": False,
    "extra_footer": "Text and figures CC BY 4.0, code MIT. What a lesson measures stands below its cell.",
}
if address := repository(ROOT):  # launch buttons follow the address; a placeholder has none
    html_theme_options |= {
        "repository_url": address,
        "repository_branch": ref(),
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"},
    }
