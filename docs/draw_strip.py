"""Draw the README's picture: the same prompts and noise under five changes of one band of layers.

`python docs/draw_strip.py` paints with flux-mini as it stands (half a minute on two cores) and writes docs/strip.webp.
Run it again when the weights have changed, and look whether the README's caption still says what is seen.
"""

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from painters_utils import Model, build_order, layer_order, load_pipeline, paint
from painters_utils.paths import ROOT

FILE = ROOT / "docs/strip.webp"
STACK, DEPTH, BAND = "single_transformer_blocks", 38, [5, 33]  # three quarters, as in the sweep (13_sweep)
CHANGES = {
    "untouched": "identity",
    "shuffled": "random_order",
    "backwards": "reverse",
    "in parallel": "parallel",
    "left out": "skip",
    "one in place of all": "middle_repeat",
}
PROMPTS = [  # the untouched model gets them right, so that what goes wrong is the change's doing
    "a red dog wearing a blue hat on a white background",
    "an orange fox and a green frog on a blue background",
    "a red mushroom and a green tree on a pink background",
]
SIDE, GAP, HEAD = 192, 6, 34  # px; the pictures are 96 px, drawn twice as large for sharp screens


def main() -> None:
    model = Model.named("flux-mini")
    pipe = load_pipeline(model)
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 17)
    step = SIDE + GAP
    strip = Image.new("RGB", (len(CHANGES) * step - GAP, HEAD + len(PROMPTS) * step - GAP), "white")
    draw = ImageDraw.Draw(strip)
    for column, (title, strategy) in enumerate(CHANGES.items()):
        draw.text((column * step + SIDE / 2, HEAD / 2 - 2), title, "#333333", font, anchor="mm")
        order = build_order(strategy, DEPTH, None if strategy == "identity" else BAND)
        with layer_order(pipe.transformer, {STACK: order}):
            pictures = paint(pipe, PROMPTS, [0], **model.call)
        for row, picture in enumerate(pictures):
            large = picture.image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            strip.paste(large, (column * step, HEAD + row * step))
    strip.save(FILE, quality=35, method=6)
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size // 1024} KB, {strip.width} × {strip.height} px")


if __name__ == "__main__":
    main()
