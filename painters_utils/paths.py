"""Where things lie. Nothing depends on the working directory."""

import os
from pathlib import Path

CODE = Path(__file__).resolve().parents[1]  # where this package and those beside it lie
ROOT = Path(os.environ.get("PAINTERS_HOME") or CODE)  # the checkout; after `pip install .`, PAINTERS_HOME names one
DATA = ROOT / "data"  # what people wrote or trained
NOTEBOOKS = ROOT / "notebooks"
CONFIG = ROOT / "config.yaml"
