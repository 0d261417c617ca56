"""What the page's sentences say: numbers and cases, from what the notebooks of this run saved. The words are templates.

`numbers` are each model's by notebook, `{"flux-mini": {"05_skip": {"rows": [...]}}}`; what did not run is not there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import pandas as pd

from painters_utils.engine.describe import short
from painters_utils.measure import intervals
from painters_utils.models.model import Model
from painters_utils.study.experiments import experiment
from painters_utils.study.scores import MARGIN, NAMES, verdict

Numbers = Mapping[str, Mapping[str, Mapping]]
Rows = Sequence[Mapping]
STILL_PAINTS, NO_LONGER = 0.75, 0.5  # of the score: what the headline calls painting, and what it does not
SPARED = 0.9  # of the score: what is kept without a layer that can be spared
# What is said of a strategy when the middle half of a stack is handed to it.
WAYS = {
    "random_order": "shuffled",
    "reverse": "reversed",
    "looped_parallel": "looped in parallel",
    "parallel": "in parallel",
    "skip": "left out",
    "middle_repeat": "one layer in place of all",
}
ALL = "all layers"  # of a model with several stacks, in notebook 19_worth
CARDS = ("random_order", "reverse", "skip", "middle_repeat")  # of the first screen, beside the untouched model


# -- the first screen -----------------------------------------------------------------------------------------


def halves(findings: Mapping) -> dict[str, Any]:
    """What all models' strategies keep on the same halves, and what may be said of it for sure."""
    found = findings.get("halves") or {}
    kept = found.get("kept", {})
    if not set(CARDS) <= set(kept):
        return {"kept": {}, "shuffle_paints": False, "one_worst": False}
    shuffled, skipped = lead(found, "random_order", "skip"), lead(found, "skip", "middle_repeat")
    return found | {
        "random_less_skip": shuffled,
        "skip_less_repeat": skipped,
        "shuffle_paints": kept["random_order"]["low"] > STILL_PAINTS,
        "order_less": shuffled["low"] > 0,
        "one_worst": skipped["low"] > 0 and kept["middle_repeat"]["high"] < NO_LONGER,
    }


def lead(compared: Mapping, one: str, other: str) -> dict[str, float]:
    """By how much `one` is ahead of `other`, whichever of the two is ahead."""
    ahead = compared["ahead"]
    if other in ahead.get(one, {}):
        return ahead[one][other]
    behind = ahead[other][one]
    return {"mean": -behind["mean"], "low": -behind["high"], "high": -behind["low"]}


def deepest(numbers: Numbers, model: Model) -> str | None:
    """The deepest stack of which the middle half was changed."""
    each = numbers[model.key].get("13_sweep", {}).get("halves", {}).get("each stack", {})
    whole = [stack for stack, of in each.items() if set(CARDS) <= set(of["kept"])]
    return max(whole, key=lambda stack: model.depths[stack], default=None)


def most_telling(numbers: Numbers, models: Sequence[Model]) -> str:
    """The model on whose deepest stack the ways to run a half differ most: the page opens with it."""

    def differ(model: Model) -> float:
        if (stack := deepest(numbers, model)) is None:
            return -1
        kept = [one["mean"] for one in numbers[model.key]["13_sweep"]["halves"]["each stack"][stack]["kept"].values()]
        return max(kept) - min(kept)

    return max(models, key=differ).key


def on_each_half(numbers: Numbers, models: Sequence[Model]) -> dict[str, Mapping]:
    """What the ways keep of each stack whose middle half was changed in all of them, by the stack's name."""
    return {
        f"{model.title}’s {short(stack)} stack" if len(model.depths) > 1 else model.title: of
        for model in models
        for stack, of in numbers[model.key].get("13_sweep", {}).get("halves", {}).get("each stack", {}).items()
        if set(CARDS) <= set(of["kept"])
    }


def without_half(numbers: Numbers, models: Sequence[Model]) -> list[str]:
    """The stacks that are too short for a middle half: "AuraFlow mini’s MM-DiT stack of 4 layers"."""
    return [
        f"{model.title}’s {short(stack)} stack of {depth} layers"
        for model in models
        for stack, depth in model.depths.items()
        if stack not in numbers[model.key].get("13_sweep", {}).get("halves", {}).get("each stack", {stack})
    ]


def surely_least(of: Mapping, way: str) -> bool:
    """Whether surely less is kept under this way than under any other."""
    return all(lead(of, other, way)["low"] > 0 for other in of["kept"] if other != way)


def no_less(of: Mapping, way_: str) -> tuple[list[str], list[str]]:
    """The ways under which surely less is kept than under this one, and those that cannot be told from it, in words."""
    ahead = {other: lead(of, other, way_) for other in of["kept"] if other != way_}
    told = {other: f"{way(other)} ({typeset(intervals.percent(of['kept'][other]['mean']))})" for other in ahead}
    less = [told[other] for other, by in ahead.items() if by["high"] < 0]
    return less, [told[other] for other, by in ahead.items() if by["low"] <= 0 <= by["high"]]


def cards(numbers: Numbers, model: Model, strips: Sequence[Mapping]) -> dict[str, Any]:
    """The first figure: the untouched model and four ways to run the middle half of its deepest stack."""
    if (stack := deepest(numbers, model)) is None or not strips:
        return {"shown": []}
    kept = numbers[model.key]["13_sweep"]["halves"]["each stack"][stack]["kept"]
    of = {strip["strategy"]: strip for strip in strips if strip["stack"] == stack}
    if not set(CARDS) <= set(of):
        return {"shown": []}
    depth, name, band = model.depths[stack], short(stack), of["skip"]["band"]
    whole = f"{name} layers {band} of {depth}"
    shown = [
        {"strip": strips[0], "title": "Untouched", "says": f"all {sum(model.depths.values())} layers in order",
         "kept": "100 %", "ends": "", "alt": f"Six pictures of the untouched {model.title}."}
    ]  # fmt: skip
    for strategy in CARDS:
        share, between = typeset(intervals.percent(*kept[strategy].values())).split(" (")
        orders = draws(numbers[model.key]["13_sweep"]["rows"]) if strategy == "random_order" else 1
        one, over = (f", in {orders} orders; one is shown", f" over {orders} orders") if orders > 1 else ("", "")
        how = f"one of {whole} run in place of all" if strategy == "middle_repeat" else f"{whole} {WAYS[strategy]}"
        about = {
            "title": WAYS[strategy].capitalize(), "says": f"{name} layers {band}{one}", "kept": share,
            "ends": f"({between} ",
            "alt": f"The same six pictures with {how}. Of the score{over}, {share} is kept.",
        }  # fmt: skip
        shown.append({"strip": of[strategy]} | about)
    return {"shown": shown, "band": whole}


def draws(rows: Rows) -> int:
    """In how many random orders the halves of a sweep's rows ran."""
    named = (re.search(r"(\d+) draws$", row["name"]) for row in rows)
    return max((int(found.group(1)) for found in named if found), default=1)


def single_layers(numbers: Numbers) -> list[dict]:
    """For each model the layer that is needed most, and how many others can be spared."""
    known = {model: of["12_layer_by_layer"] for model, of in numbers.items() if "12_layer_by_layer" in of}
    worst = {model: min(layers["rows"], key=itemgetter("kept")) for model, layers in known.items()}
    return [{"model": model, "row": worst[model], "is": verdict_of(worst[model]), "spared": sum(of["spared"].values()),
             "layers": len(of["rows"])} for model, of in known.items()]  # fmt: skip


def another_picture(numbers: Numbers) -> dict | None:
    """The layer that the score can spare and the layout cannot: of those with more than SPARED, the least layout."""
    spared = [
        {"model": model, "row": row}
        for model, of in numbers.items()
        for row in of.get("12_layer_by_layer", {}).get("rows", ())
        if row["kept low"] > SPARED and row.get("layout") is not None
    ]
    least = min(spared, key=lambda one: one["row"]["layout"], default=None)
    return least if least and least["row"]["layout"] < NO_LONGER else None


# -- the sections ---------------------------------------------------------------------------------------------


def way(strategy: str) -> str:
    """What is said of the strategy; one that is new has its title."""
    return WAYS.get(strategy, experiment(strategy).title)


def ranked(compared: Mapping) -> str:
    """ "shuffled keeps 82 % (75 – 89 %) of the score, …, one layer in place of all 26 % (16 – 37 %)"."""
    kept = list(compared["kept"].items())
    first, rest = kept[0], kept[1:]
    listed = ", ".join(f"{way(name)} {100 * of['mean']:.0f} %" for name, of in rest)
    return typeset(f"{way(first[0])}, the half keeps {100 * first[1]['mean']:.0f} % of the score; {listed}")


def on_the_half(of: Mapping[str, Mapping], strategy: str) -> dict[str, Any] | None:
    """What a strategy keeps of the middle half, where all can be compared; None if it was not swept.

    `more`, of layers looped in parallel: how much more than without loops.
    """
    compared = of.get("13_sweep", {}).get("halves", {}).get("all stacks", {})
    if strategy not in (kept := compared.get("kept", {})):
        return None
    looped = strategy == "looped_parallel" and "parallel" in kept
    return {"way": way(strategy), "kept": kept[strategy], "is": verdict(kept[strategy]["low"], kept[strategy]["high"]),
            "more": lead(compared, strategy, "parallel") if looped else None}  # fmt: skip


def bad_quarter(of: Mapping[str, Mapping]) -> Mapping | None:
    """The band at random, as large as a quarter's, without which least is kept, if that is surely catastrophic."""
    at_random = [row for row in of.get("14_controls", {}).get("rows", ()) if row["name"].endswith("at random")]
    worst = min(at_random, key=itemgetter("kept"), default=None)
    return worst if worst and verdict_of(worst) == "catastrophic" else None


def least_agreed(read: Mapping) -> dict | None:
    """The kind of fact on which eye and checker agree least (02_checker)."""
    return min(read.get("agreement", ()), key=lambda row: row["agree"]["mean"], default=None)


def differing(findings: Mapping) -> str:
    """How often a verdict depends on the layers that were chosen, of the cases measured on the author's and matched."""
    cells = [cell for cell in findings["claims"] if cell["verdict"] != "not measured"]
    article, matched = ({(cell["claim"], cell["model"]) for cell in cells if cell["preset"] == preset}
                        for preset in ("article", "matched"))  # fmt: skip
    others, claims = len(findings["differ"]), len({case.split(" ")[0] for case in findings["differ"]})
    return (f"A claim was tried on both the author’s orders and the matched ones {len(article & matched)} times; in "
            f"{others} of these, over {claims} claim{'s' * (claims > 1)}, the verdict depends on which.")  # fmt: skip


def in_short(rows: Rows) -> dict:
    """Of the variants of one experiment: the least and the most harmful, and how many are surely which."""
    are = [verdict_of(row) for row in rows]
    counts = {kind: are.count(kind) for kind in ("catastrophic", "tolerable")}
    best, worst = (most(rows, key=itemgetter("kept")) for most in (max, min))
    harm = any(row["kept high"] < 1 for row in rows)
    return {"count": len(rows), "best": best, "worst": worst, "harm": harm, **counts}


def pictures(rows: Rows) -> str:
    """On how many pictures each row rests: "40 pictures a row", "15 pictures a row, each in up to 10 orders"."""
    counts = sorted({row["pictures"] for row in rows if row.get("pictures")})
    orders = max((row.get("orders", 1) for row in rows), default=1)
    told = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}" if counts else "few"
    return f"{told} pictures a row" + (f", each in up to {orders} orders" if orders > 1 else "")


def distinct(rows: Rows) -> list[Mapping]:
    """The rows, those once that say what an earlier one says: both presets may have one order."""
    found: dict[tuple, Mapping] = {}
    for row in rows:
        found.setdefault((row["stack"], row.get("words") or row["name"], row.get("combine"), str(row.get("affected")),
                          str(row.get("steps"))), row)  # fmt: skip
    return list(found.values())


def parts(rows: Rows) -> list[dict]:
    """The scores that the overall one is made of."""
    names = ("adherence", "quality") if "adherence" in rows[0] else ("clip", "dino")
    return [{"name": name, "title": NAMES[name]} for name in names if rows[0].get(name) is not None]


def scores(rows: Rows) -> list[dict]:
    """The scores of the map of roles that this model's pictures have."""
    wanted = ("adherence", "broad", "fine", "quality", "layout", "clip", "dino", "coarse", "detail")
    return [{"name": name, "title": NAMES[name]} for name in wanted if rows[0].get(name) is not None]


def roles(rows: Rows) -> list[dict]:
    """Of each score that the model has, the layer that costs most of it."""
    wanted = ("broad", "fine", "layout", "quality") if "layout" in rows[0] else ("clip", "dino", "coarse", "detail")
    measured = {score: [row for row in rows if row.get(score) is not None] for score in wanted}
    worst = {score: min(some, key=itemgetter(score)) for score, some in measured.items() if some}
    return [
        {"score": NAMES[score], "row": row}
        | {"mean": 1 - row[score], "low": 1 - row[f"{score} high"], "high": 1 - row[f"{score} low"]}
        for score, row in worst.items()
    ]


def apart(roles: Mapping[str, Rows]) -> dict | None:
    """Of pairs of scores that miss different layers most, the one of which each most surely needs its own layer: its
    stack, `of` how many, whether it is `sure` after the correction for them, and for each {"score", "layer", "other",
    "own"}; None if that is not even likely of one pair."""
    pairs = [{"stack": stack} | dict(pair) for stack, some in roles.items() for pair in some]
    surest = max(pairs, key=lambda pair: (pair["sure"], min(own["low"] for own in pair["own"])), default=None)
    if surest is None or min(own["low"] for own in surest["own"]) <= 0:
        return None
    told = zip(surest["scores"], surest["layers"], reversed(surest["layers"]), surest["own"], strict=True)
    return {"stack": short(surest["stack"]), "of": len(pairs), "sure": surest["sure"],
            "each": [{"score": NAMES[score].removesuffix(" kept"), "layer": layer, "other": other, "own": own}
                     for score, layer, other, own in told]}  # fmt: skip


def by_stack(rows: Rows) -> dict[str, list[Mapping]]:
    """The rows of each stack, by its short name, each with its number among all."""
    found: dict[str, list[Mapping]] = {}
    for number, row in enumerate(rows):
        found.setdefault(short(row["stack"]), []).append(dict(row) | {"number": number})
    return found


def without(rows: Rows) -> list[list]:
    """What page.js says when a layer is chosen: its name, what is kept, and each score's share."""
    named = [(one["name"], one["title"].removesuffix(" kept")) for one in scores(rows)]
    found = []
    for row in rows:
        told = [f"{title} {intervals.percent(row[name])}" for name, title in named if row.get(name) is not None]
        found.append([f"without {layer(row)}", f"{percent(row)} of the score", "kept: " + typeset("; ".join(told))])
    return found


def thinned(models: Sequence[Model], searched: Callable[[str, Model], Mapping]) -> dict | None:
    """Of the models' searches for fewer layers: of each {"gone", "layers", "kept"}, the share of the score that was
    wanted, and whether it is of none sure whether that is kept."""
    thin = [(of, of["judged"][0]) for model in models if (of := searched("fewer", model))]
    if not thin:
        return None
    rows = [{"gone": row["left out"], "layers": of["layers"], "kept": row["kept"]} for of, row in thin]
    unsure = all(row["kept"]["low"] <= of["wanted"] <= row["kept"]["high"] for of, row in thin)
    return {"rows": rows, "wanted": thin[0][0]["wanted"], "open": unsure}


def damped(finds: Sequence[Mapping]) -> dict[str, int] | None:
    """In how many stacks of the models' searches for drift one layer, damped to a quarter, is surely better than none
    of the middle half, in how many surely worse, and in how many the difference surely lies within MARGIN."""
    beside = [row["beside the skip"] for find in finds for row in find.get("repeats", ())
              if row["strategy"] == "middle_repeat" and row["damping"] == 4]  # fmt: skip
    if not beside:
        return None
    better = sum(of["low"] > 0 and of["high"] >= MARGIN for of in beside)
    worse = sum(of["high"] < 0 and of["low"] <= -MARGIN for of in beside)
    same = sum(-MARGIN < of["low"] and of["high"] < MARGIN for of in beside)
    return {"stacks": len(beside), "better": better, "worse": worse, "same": same}


def measures(told: Sequence[Mapping], painting: int) -> list[dict]:
    """Of notebook 19_worth's rank correlations, those over all layers: each cheap measure's, and its cost as a share of
    the passes that painting took, the best first."""
    rows = [
        {"name": row["measure"], "score": row["score lost"], "picture": row["picture changed"],
         "cost": row["passes"] / painting}
        for row in told if row["layers"] == ALL
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -(row["score"]["mean"] or 0))


def in_each_stack(told: Sequence[Mapping], measure: str) -> dict[str, Mapping]:
    """A measure's rank correlation with the score lost in each stack of a model that has several; not where one ranking
    is all that can be drawn, as of four layers."""
    rows = [row for row in told if row["measure"] == measure and row["layers"] != ALL]
    return {row["layers"]: of for row in rows if (of := row["score lost"])["low"] < of["high"]}


def above(rows: Sequence[Mapping], name: str) -> dict[str, Any]:
    """The cheap measures whose rank correlation with the score lost is higher than that of the measure of this name,
    and whether the intervals of all of them overlap with its."""
    own = next(row["score"] for row in rows if row["name"] == name)
    higher = [row for row in rows if (row["score"]["mean"] or 0) > own["mean"]]
    overlap = all(row["score"]["low"] <= own["high"] for row in higher)
    return {"names": [row["name"] for row in higher], "overlap": overlap}


def rarely(share: float) -> str:
    """A small share, of a thousand cases: "2 %", "less than 1 %"."""
    return "less than 1 %" if share < 0.005 else intervals.percent(share)


def ranked_otherwise(worth: Mapping, stack: str, blocks: Sequence[int]) -> bool:
    """Whether the search for layers' worth finds other layers of a stack worth most than these."""
    layers = pd.DataFrame(**worth["layers"])
    most = layers[layers["stack"] == stack].nlargest(len(blocks), "score lost")
    return set(most["layer"]) != set(blocks)


def any_order(bands: Rows) -> str:
    """Whether it matters in which random order a band runs: the bands of 08_random_order, its draws compared."""
    sure = [band for band in bands if band["sure"]]
    told = [
        f"In the {short(band['stack'])} stack’s {band['place']} band it matters which order is drawn: the worst of "
        f"{band['draws']} keeps {intervals.percent(band['worst'])}, the best {intervals.percent(band['best'])}, and "
        f"luck alone sets them so far apart in {rarely(band['luck'])} of cases."
        for band in sure
    ]
    if others := len(bands) - len(sure):
        where = "the other band" if others == 1 else "the other bands"
        told.append(f"In {where} one order is as good as another, as far as these pictures tell." if sure else
                    "In no band does it surely matter which order is drawn.")  # fmt: skip
    return " ".join(told)


def worst(rows: Rows) -> int:
    """The number of the row of which least is kept."""
    return min(range(len(rows)), key=lambda number: rows[number]["kept"])


def lost(row: Mapping, score: str) -> int:
    """The percentage of a score that is lost, 0 to 100."""
    value = row.get(score)
    return 0 if value is None else round(100 * min(max(1 - value, 0), 1))


def counted(counts: Mapping[str, int]) -> str:
    """ "12 hold, 20 hold in part and 5 are undecided"."""
    words = {"holds": "hold", "holds in part": "hold in part", "no difference": "find no difference"}
    listed = [f"{number} {words.get(kind, 'are ' + kind)}" for kind, number in counts.items()]
    return ", ".join(listed[:-1]) + f" and {listed[-1]}" if len(listed) > 1 else listed[0]


def parts_of(found: Sequence[Mapping], kinds: Sequence[str]) -> dict[str, int]:
    """How many parts of the claims' verdicts are of each of these kinds, those that occur."""
    are = [one["verdict"] for cell in found for one in cell["outcomes"]]
    return {kind: are.count(kind) for kind in kinds if kind in are}


def surely(found: Sequence[Mapping]) -> int:
    """How many verdicts hold and still do after the correction for many tests."""
    return sum(
        cell["verdict"] == "holds" and all(one.get("survives", True) for one in cell["outcomes"]) for cell in found
    )


def contradicted_in_part(found: Sequence[Mapping]) -> int:
    """How many verdicts hold in part and have a part that is contradicted."""
    return sum(
        cell["verdict"] == "holds in part" and any(one["verdict"] == "not reproduced" for one in cell["outcomes"])
        for cell in found
    )


def verdict_of(row: Mapping) -> str:
    """What is sure about a variant: "catastrophic", "tolerable" or something between."""
    return verdict(row["kept low"], row["kept high"])


def percent(row: Mapping) -> str:
    """ "70 % (62 – 78 %)"."""
    return typeset(intervals.percent(*(row[key] for key in ("kept", "kept low", "kept high"))))


def typeset(words: str) -> str:
    """The words as they are printed: true minus signs before numbers, typographic apostrophes, and no end
    of a line within "70 %" and "(62 – 78 %)"."""
    words = re.sub(r"(?<![\w–])-(?=\d)", "\N{MINUS SIGN}", words)
    words = re.sub(r"(?<=\w)'", "\N{RIGHT SINGLE QUOTATION MARK}", words).replace(" %", "\N{NO-BREAK SPACE}%")
    return words.replace(" – ", "\N{NO-BREAK SPACE}–\N{WORD JOINER}\N{NO-BREAK SPACE}")


def place(row: Mapping) -> str:
    """ "MM-DiT skip 7–10"; no line ends within "7–10" or "× 3"."""
    name = row["name"].replace(" × ", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}")
    return f"{short(row['stack'])} {name}".replace("–", "–\N{WORD JOINER}")


def as_run(row: Mapping) -> str:
    """What the article's author ran beside what he wrote, in brackets; "" if nothing."""
    return f" ({row['slip']})" if row.get("slip") else ""


def layer(row: Mapping) -> str:
    """Of a single layer's row, "MM-DiT layer 7"."""
    return f"{short(row['stack'])} layer {row['name'].split()[-1]}"


def titles_of(rows: Rows) -> dict[str, str]:
    """The titles of the strategies that the rows are of."""
    return {name: experiment(name).title for name in dict.fromkeys(row["strategy"] for row in rows)}
