"""Try it out: choose a model, a prompt, a stack, a strategy and a band, and see picture and scores change."""

import io
from collections.abc import Sequence
from html import escape

import ipywidgets as widgets
from PIL import Image

from painters_utils.engine.orders import describe
from painters_utils.errors import InputError
from painters_utils.models.catalog import model_depths, model_row
from painters_utils.study.studio import SCORES, Studio
from painters_utils.study.variants import TITLES, Variant, custom_variant

from .figures import short

ENLARGED = 3  # times
STRATEGIES = ("identity", "skip", "middle_repeat", "reverse", "random_order", "parallel", "looped_parallel")


def explorer(models: Sequence[str], prompts: Sequence[str], out: str, steps: int | None = None) -> widgets.Widget:
    """Widgets to run one picture of `models` in another order; what was painted once comes back at once.

    `prompts` are offered, the first is shown; any other prompt that the model can read may be typed.
    """
    for model in models:
        model_row(model)  # an unknown name is an error here, not a click later
    return Explorer(models, prompts, out, steps).widget


class Explorer:
    """The widgets and what they do. `choose` sets them, as a click would."""

    def __init__(self, models: Sequence[str], prompts: Sequence[str], out: str, steps: int | None) -> None:
        self.prompts, self.out, self.steps = list(prompts), out, steps
        self.pipes: dict[str, object] = {}  # loaded once
        self.studios: dict[tuple, Studio] = {}
        wide = widgets.Layout(width="34rem")
        style = {"description_width": "6rem"}
        self.model = widgets.Dropdown(
            options=[(model_row(m)["title"], m) for m in models], description="model", style=style, layout=wide
        )
        self.prompt = widgets.Combobox(
            options=self.prompts, value=self.prompts[0], description="prompt", ensure_option=False, layout=wide,
            style=style, continuous_update=False,
        )  # fmt: skip
        self.seed = widgets.BoundedIntText(value=0, min=0, max=9999, description="seed", style=style)
        self.stack = widgets.Dropdown(description="stack", style=style, layout=wide)
        self.strategy = widgets.Dropdown(
            options=[(TITLES[name], name) for name in STRATEGIES], value="skip", description="strategy",
            style=style, layout=wide,
        )  # fmt: skip
        self.band = widgets.IntRangeSlider(description="layers", style=style, layout=wide, continuous_update=False)
        self.pictures, self.words = widgets.HBox(), widgets.HTML()
        self.widget = widgets.VBox(
            [self.model, self.prompt, self.seed, self.stack, self.strategy, self.band, self.pictures, self.words]
        )
        self._new_model()
        self.model.observe(lambda _: self._new_model(), "value")
        self.stack.observe(lambda _: self._new_stack(), "value")
        for control in (self.prompt, self.seed, self.strategy, self.band):
            control.observe(lambda _: self.paint(), "value")
        self.paint()

    def choose(self, **values: object) -> None:
        """Set widgets by name: `choose(strategy="reverse", band=(3, 15))`."""
        for name, value in values.items():
            getattr(self, name).value = value

    @property
    def variant(self) -> Variant:
        """What the widgets say."""
        depth = self.depths[self.stack.value]
        options = {} if self.strategy.value == "identity" else {"band": list(self.band.value)}
        return custom_variant(self.stack.value, depth, self.strategy.value, **options)

    def paint(self) -> None:
        """Paint and score the picture as chosen, beside the untouched one; bad input is said in words."""
        try:
            studio, variant = self._studio(self.model.value, self.prompt.value.strip(), self.seed.value), self.variant
            [before], [after] = studio.pictures(), studio.pictures(variant)
            row = studio.scores(variant).iloc[0]
        except InputError as error:
            self.words.value = f"<p><b>{escape(str(error))}</b></p>"
            return
        self.pictures.children = [_shown(before.image, "untouched"), _shown(after.image, variant.name)]
        scores = "".join(
            f"<tr><td>{title}</td><td><b>{row[name]:.2f}</b></td><td>{studio.full.iloc[0][name]:.2f}</td></tr>"
            for name, title in SCORES.items()
            if name in studio.score_names and row[name] == row[name]
        )
        self.words.value = (
            f"<p>{escape(short(variant.stack))}: {escape(describe(variant.order, variant.depth))}.</p>"
            f"<table><tr><th></th><th>now</th><th>untouched</th></tr>{scores}</table>"
        )

    def _new_model(self) -> None:
        self.depths = model_depths(self.model.value)
        self.stack.options = [(f"{short(stack)} ({depth} layers)", stack) for stack, depth in self.depths.items()]
        self.stack.value = next(iter(self.depths))
        self._new_stack()

    def _new_stack(self) -> None:
        if self.stack.value not in self.depths:
            return  # between two models
        depth = self.depths[self.stack.value]
        low, high = depth // 3, depth // 2
        self.band.min, self.band.max = 0, max(depth - 1, self.band.max)
        self.band.value = (low, high)
        self.band.max = depth - 1
        self.paint()

    def _studio(self, model: str, prompt: str, seed: int) -> Studio:
        key = (model, prompt, seed)
        if key not in self.studios:
            studio = Studio(model, [prompt], [seed], self.out, steps=self.steps, pipe=self.pipes.get(model))
            self.pipes[model] = studio.pipe
            self.studios[key] = studio
        return self.studios[key]


def _shown(image: Image.Image, caption: str) -> widgets.Widget:
    buffer = io.BytesIO()
    image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.LANCZOS).save(buffer, "PNG")
    picture = widgets.Image(value=buffer.getvalue(), format="png", width=image.width * ENLARGED)
    return widgets.VBox([picture, widgets.Label(caption)])
