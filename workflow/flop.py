"""The work of one forward pass, counted before weights are downloaded: it runs without data, on the meta device."""

import inspect
import re

import torch
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from originals.hub import Source
from originals.skeleton import empty_part, parts, pipeline_class

# What transformers of diffusers call the number of channels in which they read a text.
TEXT_CHANNELS = ("joint_attention_dim", "caption_channels", "cap_feat_dim", "text_embed_dim", "cross_attention_dim")
# What pipelines raise whose texts have another form or another name, and those that look at a value on the meta device.
UNREAD = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class PassEnds(Exception):
    """The transformer has run once; the pipeline need not go on."""


def count_flop(source: Source, length: int = 256, **size: int) -> int | None:
    """FLOP of one pass for one picture of a `size` (height, width), with a text of `length` tokens.

    The pipeline paints a text of zeros until its transformer has run once. None if it does not take such a text.
    """
    cls, transformer = pipeline_class(source), empty_part(source, "transformer")
    config, known = transformer.config, inspect.signature(cls.__call__).parameters
    channels = next((config[key] for key in TEXT_CHANNELS if key in config), None)
    if channels is None or not {"scheduler", "vae"} <= parts(source).keys():
        return None
    needed = {name: None for name, p in inspect.signature(cls).parameters.items() if p.default is p.empty}
    scheduler = parts(source)["scheduler"].from_config(source.read_json("scheduler/scheduler_config.json"))
    made = needed | {"transformer": transformer, "scheduler": scheduler, "vae": empty_part(source, "vae")}
    # What the pipeline hands to its transformer is computed on the CPU, where it has values.
    on_cpu = type(cls.__name__, (cls,), {"_execution_device": torch.device("cpu")})
    text, mask = torch.zeros(1, length, channels), torch.ones(1, length, dtype=torch.bool)
    pooled = torch.zeros(1, config.get("pooled_projection_dim") or 1)
    given = {key: 0.0 for key in ("guidance_scale", "true_cfg_scale") if key in known}
    for name in [name for name in known if re.match("(pooled_)?prompt_.*(embeds|mask)", name)]:
        given[name] = mask if "mask" in name else pooled if "pooled" in name else text

    def forget(_: object, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))

    def stop(*_: object) -> None:
        raise PassEnds

    hooks = [transformer.register_forward_pre_hook(forget, with_kwargs=True), transformer.register_forward_hook(stop)]
    counter = FlopCounterMode(display=False)
    try:
        pipe = on_cpu(**made)
        pipe.set_progress_bar_config(disable=True)
        with counter:
            pipe(num_inference_steps=1, output_type="latent", **given, **size)
    except PassEnds:
        return counter.get_total_flops()
    except UNREAD:
        return None
    finally:
        for hook in hooks:
            hook.remove()
