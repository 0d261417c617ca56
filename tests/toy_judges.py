"""CLIP and DINOv2 with a few random channels, saved as a model hub would hold them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
)

SMALL = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
WORDS = ["<s>", "</s>", "<unk>", "a", "green", "balloon", "on", "gray", "background", "red", "bridge", "blue"]


def save_toy_clip(folder: Path) -> Path:
    """A whole CLIP: model, tokenizer of WORDS that reads 8 of them, image processor."""
    torch.manual_seed(0)
    text = dict(vocab_size=len(WORDS), max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1)
    config = CLIPConfig(
        text_config=text | SMALL | dict(intermediate_size=16),
        vision_config=dict(image_size=32, patch_size=16, intermediate_size=16) | SMALL,
        projection_dim=8,
    )
    with_weights(CLIPModel(config)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


def save_toy_dino(folder: Path) -> Path:
    """A whole DINOv2: model and image processor."""
    torch.manual_seed(0)
    with_weights(Dinov2Model(Dinov2Config(image_size=28, patch_size=14, mlp_ratio=1, **SMALL))).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


@torch.no_grad()
def with_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Drawn wide, so that other pictures give other vectors; CLIP's temperature stays."""
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            parameter.normal_(0, 0.5)
    return model.eval()
