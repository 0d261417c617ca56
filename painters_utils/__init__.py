"""See what the layers of a diffusion transformer do: reorder them, record them, compare the pictures.

The folders are floors, and each uses only those below it. From the bottom:
- `engine`: run a model's layers in another order, record what they return, group them. No diffusers.
- `models`: know a model by its name, load it, paint with it.
- `measure`: numbers from pictures.
- `study`: what is tried, painted once, scored and kept.
- `show`: figures, charts, and what every chapter shows.
"""

import os

import lazy_loader

# transformers remarks on optional packages that nothing here uses; errors still come through.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Imported on first use (diffusers and seaborn take seconds); the names are those of the stub beside this file, which
# editors and type checkers read.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
