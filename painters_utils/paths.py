"""Where things lie. Nothing depends on the working directory."""

import os
from pathlib import Path

# The checkout that this package lies in; after `pip install .`, PAINTERS_HOME says where one is.
ROOT = Path(os.environ.get("PAINTERS_HOME") or Path(__file__).resolve().parents[1])
DATA = ROOT / "data"  # what people wrote or trained
NOTEBOOKS = ROOT / "notebooks"
CONFIG = ROOT / "config.yaml"
