"""Figures as files, drawings of orders, and charts that say what their numbers say."""

import io
import json
from html.parser import HTMLParser
from itertools import chain
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from painters_utils.engine.bands import find_bands
from painters_utils.engine.strategies import build_order
from painters_utils.models.painting import Picture
from painters_utils.show import charts, figures
from painters_utils.show.drawings import COLOURS, WIDE, Drawing, order_svg, stacks_svg
from painters_utils.study import experiments
from painters_utils.study.experiments import EXPERIMENTS, Experiment
from workflow.findings import grid
from workflow.findings.claims import FAILS, HOLDS, OPEN, UNMEASURED, Verdict, verdict_counts

HOSTILE = '"><script>alert(1)</script> \u202etxt'


@pytest.fixture
def shown(monkeypatch) -> list[tuple[str, dict]]:
    """What notebooks would display, and with which metadata."""
    shown = []
    monkeypatch.setattr(figures, "display", lambda html, metadata=None: shown.append((html.data, metadata)))
    return shown


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def image_of(html: str) -> dict[str, str]:
    """The attributes of the one picture in it."""
    found = []

    class Images(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend([dict(attrs)] * (tag == "img"))

    Images().feed(html)
    [image] = found
    return image


def line() -> plt.Figure:
    figure, axis = plt.subplots(figsize=(3, 2))
    axis.plot([1, 2, 3])
    return figure


# -- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", [line(), order_svg({"": [0, [1, 2]]}, 3)], ids=["chart", "drawing"])
def test_a_figure_is_a_file_with_what_a_page_needs_beside_it(tmp_path, shown, figure):
    kind = ".svg" if isinstance(figure, Drawing) else ".webp"
    figures.show(figure, "toy", caption=HOSTILE, alt="a & b", out=tmp_path)
    about = json.loads((tmp_path / "figures/toy.json").read_text())
    [(html, metadata)] = shown
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"toy{kind}", "toy.json"}
    assert (about["caption"], about["alt"], about["kind"]) == (HOSTILE, "a & b", kind)
    assert metadata == {"painters": {"figure": "toy"}}
    assert image_of(html)["width"] == str(about["width"]) and image_of(html)["src"].startswith("data:image/")
    file = figures.FigureFile.load(tmp_path / "figures", "toy")
    assert file.html("toy") == html, "the page shows what the notebook showed"
    assert image_of(file.html("toy", link=f"../toy{kind}"))["src"] == f"../toy{kind}"
    if kind == ".webp":
        with Image.open(tmp_path / "figures/toy.webp") as picture:
            assert round(picture.width * figures.SHOWN_DPI / 110) == about["width"]


def test_hostile_text_renders_as_text(tmp_path, shown):
    figures.show(line(), "toy", caption=HOSTILE, alt=HOSTILE, out=tmp_path)
    figures.show_table(pd.DataFrame({"a": [HOSTILE, HOSTILE * 3]}), HOSTILE)
    figures.show(order_svg({HOSTILE: [0, 1]}, 2), "drawn", caption="x", alt="y", out=tmp_path)
    assert not any("<script>" in html for html, _ in shown)
    assert image_of(shown[0][0])["alt"] == HOSTILE
    assert "&lt;script&gt;" in (tmp_path / "figures/drawn.svg").read_text()


@pytest.mark.parametrize(("caption", "alt"), [(" ", "x"), ("x", "")])
def test_a_figure_without_words_is_refused(tmp_path, caption, alt):
    with pytest.raises(ValueError, match="caption and an alt text"):
        figures.show(line(), "toy", caption=caption, alt=alt, out=tmp_path)


def test_a_chart_keeps_its_lines_and_a_photograph_is_not_kept_without_loss():
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    chart = np.full((120, 160, 3), 255, np.uint8)
    chart[::20], chart[:, ::20] = (0, 114, 178), (0, 0, 0)
    kinds = [figures.smallest_webp(Image.fromarray(of))[12:16] for of in (noise, chart)]
    assert kinds == [b"VP8 ", b"VP8L"]


def test_short_cells_of_a_table_stay_on_one_line():
    html = figures.table_html(pd.DataFrame({"kept": ["-0.93 (-0.97 – -0.90)"], "why": ["long words " * 5]}), "x")
    assert "−0.93 (−0.97 – −0.90)".replace(" ", "\N{NO-BREAK SPACE}") in html
    assert "long words long" in html


# -- drawings -----------------------------------------------------------------------------------------------


def elements(drawing: Drawing, tag: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(drawing.svg).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


@pytest.mark.parametrize("depth", [8, 38, 57])
@pytest.mark.parametrize("row", [row for row in EXPERIMENTS if row.example is not None], ids=lambda row: row.name)
def test_a_drawing_of_an_order_shows_each_layer_as_often_as_it_runs(depth, row):
    over = {"band": [2, depth - 3]} if "band" in row.example else {}
    orders = {"all": list(range(depth)), row.title: build_order(row.name, depth, **{**row.example, **over})}
    drawing = order_svg(orders, depth)
    steps = chain.from_iterable(orders.values())
    layers = list(chain.from_iterable(step if isinstance(step, list) else [step] for step in steps))
    words = [text.text for text in elements(drawing, "text")]
    assert words[:2] == list(orders) and sorted(map(int, words[2:])) == sorted(layers)
    assert drawing.alt.startswith("all: every layer runs once, in order; ")
    assert drawing.width <= WIDE + 4 and drawing.height < 500
    sizes = [float(group.get("font-size")) for group in elements(drawing, "g") if group.get("font-size")]
    assert min(sizes) > 7, "numbers can be read"
    for box in elements(drawing, "rect"):
        assert 0 <= float(box.get("x")) and float(box.get("x")) + float(box.get("width")) <= drawing.width
        assert 0 <= float(box.get("y")) and float(box.get("y")) + float(box.get("height")) <= drawing.height
    assert drawing.svg == order_svg(orders, depth).svg


def test_layers_in_parallel_share_a_frame_and_large_groups_stay_low():
    frames = lambda order, depth: [  # noqa: E731
        (float(box.get("width")), float(box.get("height"))) for box in elements(order_svg({"": order}, depth), "rect")
    ]
    assert frames([0, 1, 2], 3) == []
    [(wide, high)] = frames([0, [1, 2, 3], 4], 5)
    assert (wide, high) == (26, 78)
    [(wide, high)] = frames([0, [*range(1, 31)], 31], 32)
    assert (wide, high) == (4 * 26, 8 * 26), "thirty layers in four columns"


def test_numbers_have_contrast_on_every_tile():
    drawing = order_svg({"": list(range(8))}, 8)
    shades = [float(box.get("stroke-opacity")) for box in elements(drawing, "path")]
    assert shades == sorted(set(shades)), "the later, the darker"
    assert contrast(COLOURS["ink"], tinted(COLOURS["accent"], shades[-1])) > 4.5


def test_a_drawing_of_stacks_has_a_mark_for_each_layer():
    drawing = stacks_svg({"joint_transformer_blocks": 4, "single_transformer_blocks": 32})
    assert len(elements(drawing, "rect")) == 36
    words = [text.text for text in elements(drawing, "text")]
    assert words == ["MM-DiT · 4", "0", "3", "single · 32", "0", "5", "10", "15", "20", "25", "31"]
    assert drawing.alt == "4 layers in joint_transformer_blocks, then 32 layers in single_transformer_blocks"
    assert drawing._repr_html_() == drawing.__html__() == drawing.svg


# -- charts -------------------------------------------------------------------------------------------------


def contrast(one: str, other: tuple[float, float, float] | str) -> float:
    """Of two colours, as the Web Content Accessibility Guidelines define it."""
    values = [np.array(to_rgb(colour)) for colour in (one, other)]
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in values]
    dark, light = sorted(float(c @ (0.2126, 0.7152, 0.0722)) for c in linear)
    return (light + 0.05) / (dark + 0.05)


def tinted(colour: str, opacity: float) -> tuple[float, float, float]:
    """A colour on white paper."""
    return tuple(opacity * np.array(to_rgb(colour)) + 1 - opacity)


def verdicts() -> list[Verdict]:
    presets = ("both", "article", "matched")
    kinds = [HOLDS, FAILS, OPEN, UNMEASURED]
    found = [Verdict(str(claim), model, preset, kinds[(claim + len(model) + n) % 4])
             for claim in range(1, 6) for model in ("flux-mini", "sd3-mini") for n, preset in enumerate(presets)
             if (preset == "both") == (claim < 3)]  # fmt: skip
    return found[:-1]  # one was not studied


def test_every_verdict_is_drawn_once():
    found = verdicts()
    [axis] = grid.verdict_grid(found).axes
    drawn = [text.get_text() for text in axis.texts]
    counts = verdict_counts(found)
    assert {kind: drawn.count(grid.SIGNS[kind][0]) for kind in counts} == counts
    assert len(drawn) == len(found) == len(axis.patches)
    widths = [round(patch.get_width()) for patch in axis.patches]
    assert widths == [2 if one.preset == "both" else 1 for one in found], "without presets, over both columns"
    assert [label.get_text() for label in axis.get_xticklabels()][:2] == ["flux\narticle", "flux\nmatched"]


@pytest.mark.parametrize("kind", [HOLDS, FAILS, OPEN, UNMEASURED])
def test_signs_of_verdicts_can_be_read(kind):
    _, colour = grid.SIGNS[kind]
    assert contrast(colour, tinted(colour, grid.TINT)) >= 4.5


def table(strategy: str = "skip") -> pd.DataFrame:
    rows = []
    for number, share in enumerate((0.25, 0.5, 0.75)):
        row = {"name": f"{strategy} {number}", "stack": ["transformer_blocks", "single_transformer_blocks"][number % 2]}
        row |= {"strategy": strategy, "preset": "matched", "share": share, "duplicates": 0.1, "distance": 0.2}
        for score in ("kept", "adherence", "layout"):
            row |= {score: 1 - share, f"{score} low": 0.9 - share, f"{score} high": 1.1 - share}
        rows.append(row | {"clip": np.nan, "clip low": np.nan, "clip high": np.nan})
    return pd.DataFrame(rows)


def test_the_sweep_takes_title_colour_and_marker_from_the_table_of_experiments(monkeypatch):
    row = Experiment("every_other", "every other layer is left out", colour="#123456", marker="*")
    monkeypatch.setattr(experiments, "EXPERIMENTS", [*EXPERIMENTS, row])
    figure = charts.sweep_chart({"toy": pd.concat([table("skip"), table("every_other")])})
    skip, every_other = figure.legends[0].legend_handles
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["skip", "every other"]
    assert (every_other.get_color(), every_other.get_marker()) == ("#123456", "*")
    drawn = [line for line in figure.axes[0].lines if line.get_color() == skip.get_color()]
    assert list(drawn[0].get_ydata()) == [1.0, 0.75, 0.5, 0.25]


def test_what_is_kept_is_drawn_and_written_as_it_is():
    rows = table()
    [axis] = charts.kept_chart(rows).axes
    assert [label.get_text() for label in axis.get_legend().get_texts()] == [
        "score kept", "facts of the prompt", "layout kept"
    ]  # fmt: skip
    assert [label.get_text() for label in axis.get_yticklabels()][:2] == ["MM-DiT: skip 0", "single: skip 1"]
    written = charts.kept_table(rows)
    assert written["score kept"].tolist() == ["75 % (65 – 85 %)", "50 % (40 – 60 %)", "25 % (15 – 35 %)"]
    assert written["fit to the prompt"].tolist() == ["–"] * 3


def test_the_other_charts_show_all_of_their_panels():
    by_layer = pd.DataFrame({"skipped": [0.1, 0.2, 3.0], "skipped low": [0.0, 0.1, 2.0], "skipped high": [0.2, 0.3, 4]})
    assert len(charts.along_depth({"MM-DiT": by_layer, "single": by_layer}, "rise", log=True).axes) == 2
    assert charts.along_depth({"": by_layer}, "contrast", xlabel="step").axes[0].get_xlabel() == "step"
    lost = pd.DataFrame({"kept": [0.1, 0.9], "layout": [0.2, 0.3]})
    first = charts.roles_map({"MM-DiT": lost, "single": lost}).axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["score kept", "layout kept"]
    loops = charts.loops_map({"MM-DiT": pd.DataFrame([[1.0, 0.5], [0.2, 0.3]], index=[3, 5], columns=[2, 4])})
    assert [text.get_text() for text in loops.axes[0].texts] == ["1.00", "0.50", "0.20", "0.30"]
    assert [patch.get_x() for patch in loops.axes[0].patches] == [1.02, 0.02], "each row's best is boxed"
    alike = np.kron(np.eye(3), np.full((6, 6), 0.8)) + 0.1
    np.fill_diagonal(alike, 1)
    bands = {"MM-DiT": find_bands(alike)}
    boxed = figures.heatmaps({"MM-DiT": alike}, bands).axes[0]
    assert len(boxed.patches) == len(bands["MM-DiT"].bands) == 3


@pytest.mark.parametrize("rows, columns", [(2, 2), (1, 7), (3, 5)])
def test_pictures_stand_pixel_for_pixel_wherever_the_figure_is_cut(rows, columns):
    noise = np.random.default_rng(0).integers(0, 256, (rows, columns, 96, 96, 3), dtype=np.uint8)
    pictures = {f"row {n}": [Picture("", 0, Image.fromarray(one)) for one in some] for n, some in enumerate(noise)}
    figure = figures.picture_rows(pictures, titles=["a $ b"] * columns)
    buffer = io.BytesIO()
    figure.savefig(buffer, bbox_inches="tight", dpi=figure.dpi)
    shown = np.asarray(Image.open(buffer).convert("RGB"))
    for one in noise.reshape(-1, 96, 96, 3):
        corners = np.argwhere((shown[:-95, :-95] == one[0, 0]).all(-1))
        assert any(np.array_equal(shown[y : y + 96, x : x + 96], one) for y, x in corners)
    file = figures.figure_file(figure, "caption", "alt")
    assert (file.width, file.height) == Image.open(io.BytesIO(file.picture)).size


def test_what_was_learned_has_a_point_for_each_choice_and_a_line_for_all_layers():
    rows = [{"name": name, "worth": worth, "learned": worth, "learned low": worth - 0.1, "learned high": worth + 0.1}
            for name, worth in (("worth most", 0.6), ("chance 1", 0.2), ("chance 2", 0.1), ("all", 0.5))]  # fmt: skip
    figure = charts.learned_chart({"colour": pd.DataFrame(rows), "style": pd.DataFrame(rows)}, "worth", "worth")
    for axis, lesson in zip(figure.axes, ("colour", "style"), strict=True):
        chosen, by_chance, every = axis.lines
        assert axis.get_title() == lesson and set(every.get_ydata()) == {0.5}
        assert list(by_chance.get_xdata()) == [0.2, 0.1] and list(chosen.get_ydata()) == [0.6]
    assert [text.get_text() for text in figure.legends[0].texts] == ["worth most", "by chance", "all layers"]
