"""What README and docs tell people to type works: their Python runs, their commands and files are there."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from painters_utils.models.model import model_table
from painters_utils.paths import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOWNLOADED = [name for name, row in model_table().items() if not row.get("mini")]


def blocks(language: str) -> list[tuple[Path, str]]:
    """Every block of code in that language, with the document that it stands in."""
    return [
        (document, block)
        for document in DOCUMENTS
        for block in re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.M | re.S)
    ]


def by_place(found: list[tuple[Path, str]]) -> dict:
    return dict(argvalues=found, ids=[f"{document.name} {i}" for i, (document, _) in enumerate(found)])


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


RUN = [block for block in blocks("python") if not any(f'"{name}"' in block[1] for name in DOWNLOADED)]


@pytest.mark.slow
@pytest.mark.parametrize(("document", "block"), **by_place(RUN))
def test_python_runs_as_it_stands(document, block, tmp_path, monkeypatch, capsys):
    """Where it keeps something, in a folder of the test's."""
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(compile(block.replace('"results/', f'"{tmp_path}/'), name_of(document), "exec"), names)
    said = capsys.readouterr().out
    for expected in re.findall(r"^print\(describe\(.*\)  # (.+)$", block, re.M):
        assert expected in said
    picture = names.get("picture")
    assert picture is None or getattr(picture, "image", picture).size == (96, 96)
    assert not isinstance(picture, Image.Image) or len(picture.getcolors(96**2)) > 100, "a picture, not a surface"


def test_there_is_python_to_run():
    documents = {name_of(document) for document, _ in RUN}
    assert {"README.md", "docs/library.md", "docs/your-own.md"} <= documents


@pytest.mark.parametrize(("document", "block"), **by_place(blocks("sh")))
def test_commands_are_there(document, block):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for target in re.findall(r"^\s*make ([a-z-]+)", block, re.M):
        assert target in targets, f"{name_of(document)}: make {target}"
    for module in re.findall(r"python -m ([\w.]+)", block):
        assert find_spec(module), f"{name_of(document)}: python -m {module}"
    for script in re.findall(r"python ([\w/]+\.py)", block):
        assert (ROOT / script).is_file(), f"{name_of(document)}: {script}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{name_of(document)} links to {link}"
    for code in re.findall(r"`((?:painters_utils|originals|miniworld|workflow|tests|docs|data|benchmarks)/[\w/.-]*)`",
                           document.read_text()):  # fmt: skip
        assert (ROOT / code).exists(), f"{name_of(document)} speaks of {code}"
