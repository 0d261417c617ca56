"""See what the layers of a diffusion transformer do: reorder them, record them, compare the pictures.

Read in this order.
- The engine: `stacks` (find a model's blocks), `blocks` (what can stand among them), `orders` (run them in another
  order), `strategies` (build orders), `recorder` (measure how alike layers are), `bands` (group them).
- The pictures: `catalog`, `hub` and `pipelines` (know a model, load it, paint), `compare` (how much pictures changed),
  `judges` (what pretrained networks see in them), `denoising` (what a model predicts, without painting).
- The study: `variants` (what is tried), `studio` and `store` (paint it once, score it, keep it), `findings` (judge the
  claims), `figures`, `charts`, `chapter` and `results` (show and keep), `explore` (try it by hand).
- The page: `config`, `execute`, `run` (make it all), `report`, `story`, `drawings`, `costs` (tell it).
"""

import os
from importlib import import_module

# transformers remarks on optional packages that nothing here uses; errors still come through.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

_PUBLIC = {
    "stacks": ["find_stacks"],
    "orders": ["check_order", "describe", "layer_order"],
    "strategies": ["build_order", "middle_band"],
    "recorder": ["Recording", "record_activations"],
    "bands": ["find_bands"],
    "catalog": ["call_settings", "folder_name", "model_depths", "model_row"],
    "pipelines": ["load_pipeline", "paint"],
    "compare": ["change", "interval"],
    "variants": ["article_variants", "custom_variant", "matched_variants"],
    "studio": ["Studio"],
    "figures": ["heatmaps", "picture_rows", "show", "show_table"],
    "results": ["read_numbers", "recorded", "save_numbers", "say"],
    "errors": ["InputError"],
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    """Import on first use: diffusers and seaborn take seconds, and a worker that only paints scenes needs neither."""
    if name not in _HOME:
        raise AttributeError(f"module 'painters_utils' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
