"""Figures: drawn in one style, shown with caption and alt text, and kept as files where the page finds them."""

import base64
import io
import json
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

from painters_utils.files import write_whole
from painters_utils.paths import ROOT

from .drawings import Drawing

if TYPE_CHECKING:  # for their names alone: they load torch
    from painters_utils.engine.bands import Bands
    from painters_utils.models.painting import Picture

# Okabe & Ito's colours: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8a8f98"
SHOWN_DPI = 80  # on a page, whatever the resolution of the file
SHORT = 24  # letters of a table's cell that is not broken
CHARTS = 5000  # colours that a chart has at most; a photograph has more, and without loss it is never smaller
KINDS = {".webp": "webp", ".svg": "svg+xml"}  # of picture files

# A prompt may hold signs that the font has not; they are drawn as boxes, and the alt text holds them.
warnings.filterwarnings("ignore", "Glyph .* missing from")
sns.set_theme(
    style="ticks",
    rc={"figure.dpi": 110, "font.size": 10, "axes.spines.top": False, "axes.spines.right": False},
)


@dataclass(frozen=True)
class FigureFile:
    """A figure as it is kept: a picture, `{name}.webp` or `.svg`, and beside it in `{name}.json` what a page needs."""

    picture: bytes
    kind: str  # ".webp" or ".svg"
    caption: str
    alt: str
    width: int
    height: int

    def save(self, folder: Path, name: str) -> None:
        about = asdict(self)
        del about["picture"]
        for kind, content in ((self.kind, self.picture), (".json", json.dumps(about, indent=1).encode())):
            with write_whole(folder / f"{name}{kind}") as unfinished:
                unfinished.write_bytes(content)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        about = json.loads((folder / f"{name}.json").read_text())
        return cls(picture=(folder / f"{name}{about['kind']}").read_bytes(), **about)

    def html(self, name: str, link: str = "") -> str:
        """The figure with its caption, both texts escaped; the picture is part of it, or lies where `link` says."""
        inside = f"data:image/{KINDS[self.kind]};base64,{base64.b64encode(self.picture).decode()}"
        source = f'src="{escape(link)}" loading="lazy"' if link else f'src="{inside}"'
        return (
            f'<figure id="{escape(name)}"><img {source} alt="{escape(self.alt)}" width="{self.width}" '
            f'height="{self.height}" style="max-width:100%;height:auto;background:#fff">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def figure_file(figure: Figure | Drawing, caption: str, alt: str) -> FigureFile:
    """What `show` keeps of a figure, which is closed."""
    if not caption.strip() or not alt.strip():
        raise ValueError(f"a figure needs a caption and an alt text: {caption!r} and {alt!r} do not do")
    if isinstance(figure, Drawing):
        return FigureFile(figure.svg.encode(), ".svg", caption, alt, figure.width, figure.height)
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", bbox_inches="tight", facecolor="white", dpi=figure.dpi, pil_kwargs={"compress_level": 0}
    )
    plt.close(figure)
    picture = Image.open(buffer).convert("RGB")
    width, height = (round(SHOWN_DPI * side / figure.dpi) for side in picture.size)
    return FigureFile(smallest_webp(picture), ".webp", caption, alt, width, height)


def show(figure: Figure | Drawing, name: str, caption: str, alt: str, out: str | Path) -> None:
    """Display a figure with its caption, and keep it in `{out}/figures/` (`out` relative to the repository).

    `alt` says in words what the figure shows, for those who do not see it. The output's metadata name it for
    the page.
    """
    file = figure_file(figure, caption, alt)
    file.save(ROOT / out / "figures", name)
    display(HTML(file.html(name)), metadata={"painters": {"figure": name}})


def smallest_webp(picture: Image.Image) -> bytes:
    """The picture as WebP: lossy, or in steps of 8 of 255 without loss, whichever is smaller; for charts the latter."""
    kinds: list[tuple[Image.Image, dict[str, Any]]] = [(picture, {"quality": 23})]
    if picture.getcolors(CHARTS):
        flat = picture.point([round(value / 255 * 31) * 255 // 31 for value in range(256)] * 3)
        kinds.append((flat, {"lossless": True}))
    files = []
    for kind, options in kinds:
        buffer = io.BytesIO()
        kind.save(buffer, format="webp", method=6, **options)
        files.append(buffer.getvalue())
    return min(files, key=len)


def show_table(table: pd.DataFrame, caption: str) -> None:
    """Display a table with its caption; every cell is escaped."""
    display(HTML(table_html(table, caption)))


def table_html(table: pd.DataFrame, caption: str) -> str:
    """A table with its caption as HTML, every cell escaped; numbers and other short cells stay on one line."""
    numbers = {column: "{:,}".format for column in table.select_dtypes("integer")}
    html = table.map(unbroken).to_html(
        index=False, border=0, escape=True, na_rep="–", justify="left", formatters=numbers
    )  # fmt: skip
    return f'<figure class="table"><div>{html}</div><figcaption>{escape(caption)}</figcaption></figure>'


def unbroken(cell: object) -> object:
    """A short text with spaces and signs at which no line ends; anything else as it is."""
    if not isinstance(cell, str) or len(cell) > SHORT:
        return cell
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", cell).replace(" ", "\N{NO-BREAK SPACE}")


def say(text: str) -> None:
    """Show a sentence as prose, for what is only known once the notebook has run: Markdown without HTML and links.

    A model's name or a prompt may be in it, and neither may run a script on the page.
    """
    display(Markdown(escape(text, quote=False).replace("[", "&#91;")))


# -- pictures -----------------------------------------------------------------------------------------------


def picture_rows(rows: Mapping[str, Sequence["Picture"]], titles: Sequence[str] | None = None) -> Figure:
    """A labelled row of pictures for each entry, `titles` above the columns; none is shown larger than it is."""
    columns, pixels = max(map(len, rows.values())), next(iter(rows.values()))[0].image.width
    size, gap = min(10.5 / columns, pixels / SHOWN_DPI, 2.0), 4 / min(pixels, 160)
    wide, high = (number + gap * (number - 1) for number in (columns, len(rows)))  # in pictures
    figure = plt.figure(figsize=(size * wide, size * high), dpi=min(max(SHOWN_DPI, pixels // 2), 110))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))  # one for all: each takes time
    axis.axis("off")
    exact = "nearest" if round(size * figure.dpi) == pixels else "auto"  # pixel for pixel, wherever the figure is cut
    for row, (label, pictures) in enumerate(rows.items()):
        top = row * (1 + gap)
        for column, picture in enumerate(pictures):
            left = column * (1 + gap)
            box = (left, left + 1, top + 1, top)
            axis.imshow(picture.image, extent=box, aspect="auto", interpolation=exact)
        axis.text(-0.04, top + 0.5, label, ha="right", va="center", fontsize=9)
    for column, title in enumerate(titles or []):  # a prompt is text, whatever signs it holds
        axis.annotate(
            wrapped(title, int(size * 15)), (column * (1 + gap) + 0.5, 0), (0, 4), textcoords="offset points",
            ha="center", va="baseline", fontsize=8, color="#444", parse_math=False,
        )  # fmt: skip
    return figure


def wrapped(text: str, width: int) -> str:
    """The text in lines of at most `width` characters, six at most."""
    return "\n".join(textwrap.wrap(text, width, max_lines=6, placeholder=" …"))


# -- similarity ---------------------------------------------------------------------------------------------


def side_by_side(size: tuple[float, float], widths: Sequence[float], **options: bool) -> tuple[Figure, list[Axes]]:
    """Panels of these relative widths in a row."""
    figure, axes = plt.subplots(
        1, len(widths), figsize=size, width_ratios=widths, squeeze=False, layout="constrained", **options
    )
    return figure, axes[0].tolist()


def heatmaps(
    matrices: Mapping[str, np.ndarray], bands: Mapping[str, "Bands"] | None = None, unit: str = "cosine"
) -> Figure:
    """Similarity matrices side by side on one colour scale, with the bands drawn over them where given."""
    side = 4.3 if len(matrices) < 3 else 2.7
    figure, axes = side_by_side((side * len(matrices) + 0.9, side), [1] * len(matrices))
    low = min(float(np.nanmin(matrix)) for matrix in matrices.values())
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        drawn = axis.imshow(matrix, cmap="viridis", vmin=low, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="layer", ylabel="layer" if axis is axes[0] else "")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(6, integer=True))
        sns.despine(ax=axis, left=True, bottom=True)
        for band in bands[title].bands if bands and len(bands[title].bands) > 1 else []:
            first, last = band.span
            wide = last - first + 1
            axis.add_patch(Rectangle((first - 0.5, first - 0.5), wide, wide, fill=False, ec="white", lw=2))
            axis.text(
                (first + last) / 2, (first + last) / 2, band.name, fontsize=9, va="center", ha="center", color="white",
                path_effects=[withStroke(linewidth=2.5, foreground="#333")],
            )  # fmt: skip
    figure.colorbar(drawn, ax=axes, label=f"{unit} similarity".strip(), shrink=0.9)
    return figure
