"""The model hub: what was downloaded first stays, every error says what to do, and no token is shown."""

import errno
import json
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors
from toy_hub import COMMIT, REPO, SECRET, answered, wrapped

from originals.hub import Source, missing_gib
from painters_utils import Model, load_pipeline
from painters_utils.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")


def test_the_commit_that_was_downloaded_first_stays(tmp_path):
    cache = tmp_path / "hub/models--someone--model"
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(COMMIT)
    assert Source(repo=REPO, revision="main").commit == COMMIT
    assert Source(repo=REPO, revision=COMMIT[::-1]).commit == COMMIT[::-1], "a commit needs no looking up"


def test_a_revision_that_cannot_be_looked_up_stands_for_itself(online):
    online["error"] = httpx2.ConnectError("Name or service not known")
    assert Source(repo=REPO, revision="main").commit == "main"


def test_a_folder_has_no_commit_and_says_what_it_lacks(tmp_path):
    source = Source(folder=tmp_path)
    assert source.commit == "" and str(source) == str(tmp_path)
    for damage in (None, "{"):
        if damage:
            (tmp_path / "model_index.json").write_text(damage)
        with pytest.raises(InputError, match="model_index.json .* missing or damaged"):
            source.read_json("model_index.json")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answered(errors.GatedRepoError, 403), r"gated: .*/someone/model .*hf auth"),
        (answered(errors.RepositoryNotFoundError, 401), r"no repository someone/model .* private"),
        (answered(errors.RevisionNotFoundError, 404), r"no revision 'main': .*/commits"),
        (answered(errors.RemoteEntryNotFoundError, 404), r"no diffusers pipeline \(no model_index.json\)"),
        (answered(errors.HfHubHTTPError, 401), r"refused someone/model \(401\): .*hf auth login"),
        (answered(errors.HfHubHTTPError, 403), r"refused someone/model \(403\)"),
        (answered(errors.HfHubHTTPError, 503), r"503 for someone/model: try again later"),
        (errors.LocalEntryNotFoundError("not in the cache"), r"cannot be reached: connect"),
        (errors.OfflineModeIsEnabled("offline"), r"cannot be reached: .*HF_HUB_OFFLINE"),
        (httpx2.ConnectError("Name or service not known"), r"cannot be reached"),
        (OSError(errno.ENOSPC, "No space left on device"), r"disk is full: .*HF_HOME"),
    ],
)
def test_the_hubs_errors_say_what_to_do(online, error, message):
    for raised in (error, wrapped(error)):
        online["error"] = raised
        with pytest.raises(InputError, match=message) as found:
            load_pipeline(REPO)
        text = str(found.value)
        assert "\n" not in text and SECRET not in text
        assert found.value.__cause__ is None and found.value.__suppress_context__, "no request is printed with it"


def test_what_is_still_to_be_downloaded_is_said_by_the_hub(online, monkeypatch, tmp_path):
    source = Model.named("flux-schnell").source
    online["error"] = httpx2.ConnectError("no network")
    assert missing_gib(source) is None
    del online["error"]
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"transformer": ["diffusers", "FluxTransformer2DModel"]}))
    online["model_index.json"] = index
    names = ("flux.safetensors", "transformer/a-00001-of-00002.safetensors", "transformer/a.fp16.safetensors",
             "transformer/a.bin", "other/a.safetensors")  # fmt: skip
    listed = [SimpleNamespace(rfilename=name, size=3 * 2**30) for name in names]
    monkeypatch.setattr(
        huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: SimpleNamespace(siblings=listed))
    )
    assert missing_gib(source) == 3.0, "safetensors of the pipeline's parts, no variants"
