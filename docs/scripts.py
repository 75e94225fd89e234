"""The gallery: how the scripts of examples/ are run, and what is shown of them."""

import os
import shutil
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FOLDER = ROOT / "build" / "examples"  # a copy: the scripts write into their folder


def copy():
    """Copy the scripts, and what introduces them, to where they are run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / "examples").glob("*.py"), DOCS / "GALLERY_HEADER.rst"]:
        shutil.copy2(path, FOLDER)


def arguments(gallery_conf, script):
    """Return the arguments of a script: a short run, unless there is MNIST to train on."""
    is_short = "FASTMLP_DATA" not in os.environ
    return ["--quick"] * (is_short and "--quick" in Path(script["src_file"]).read_text())


def saved_pictures(block, block_vars, gallery_conf):
    """Return the pictures that a block of a script has saved, as reStructuredText."""
    pictures = []
    for path in sorted(FOLDER.glob("*.png")):
        pictures.append(next(block_vars["image_path_iterator"]))
        shutil.move(path, pictures[-1])
    return figure_rst(pictures, gallery_conf["src_dir"])
