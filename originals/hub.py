"""Where a pipeline lies: a folder, or the model hub; and what went wrong there, in one line with the remedy.

No token is read or shown here.
"""

import errno
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import errors

from painters_utils.errors import InputError

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """A pipeline's place: a `folder` on this machine, or `repo` ("owner/name") on the model hub at a `revision`."""

    folder: Path | None = None
    repo: str = ""
    revision: str = ""

    def __str__(self) -> str:
        return str(self.folder) if self.folder else self.repo

    @cached_property
    def commit(self) -> str:
        """The commit that the revision means ("" for a folder): what was downloaded first stays, lest a study changes
        halfway. A revision that cannot be looked up stands for itself."""
        if self.folder or COMMIT.fullmatch(self.revision):
            return self.revision
        try:
            return fetch_file(self.repo, self.revision, "model_index.json").parent.name
        except InputError:
            return self.revision

    def read_json(self, file: str) -> dict:
        """A JSON file of the pipeline, such as "transformer/config.json"; `InputError` if it cannot be had."""
        path = self.folder / file if self.folder else fetch_file(self.repo, self.revision, file)
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{file} of {str(self)!r} is missing or damaged ({error}): get the model anew") from error


def fetch_file(repo: str, revision: str, file: str) -> Path:
    """One small file of a repository, from the cache or else downloaded. `InputError` says why it cannot be had."""
    found = hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(found, str):
        return Path(found)
    with explain_errors(repo, revision):
        require_hub()
        return Path(hub.hf_hub_download(repo, file, revision=revision))


def require_hub() -> None:
    """One short question to the model hub, which raises what it may; a download would ask five times, for minutes."""
    hub.get_session().head(hub.constants.ENDPOINT, timeout=10)


def missing_gib(source: Source) -> float | None:
    """GiB of a repository that are still to be downloaded, as the hub lists them; None if the hub cannot be asked."""
    try:
        with explain_errors(source.repo, source.commit):
            require_hub()
            listed = hub.HfApi().model_info(source.repo, revision=source.commit, files_metadata=True).siblings or []
            parts = source.read_json("model_index.json")
    except InputError:
        return None
    # As diffusers chooses: safetensors in the pipeline's folders, no variants.
    chosen = re.compile(rf"({'|'.join(map(re.escape, parts))})/[^/.]+\.safetensors")
    missing = [it for it in listed if chosen.fullmatch(it.rfilename) and not is_here(source, it.rfilename)]
    return sum(file.size or 0 for file in missing) / 2**30


def is_here(source: Source, file: str) -> bool:
    """Whether a file of a repository lies in the cache."""
    return isinstance(hub.try_to_load_from_cache(source.repo, file, revision=source.commit), str)


@contextmanager
def explain_errors(repo: str, revision: str) -> Iterator[None]:
    """Turn what the hub raises, also deep inside another library's error, into an `InputError` with the remedy."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (remedy := find_remedy(error, repo, revision)) is None:
            raise
        raise InputError(remedy) from None  # a chain of requests can hold more than should be printed


def find_remedy(error: BaseException, repo: str, revision: str) -> str | None:
    """What an error of the hub means and what to do, in one line; None if it is none of the hub's."""
    page = f"https://huggingface.co/{repo}"
    cause: BaseException | None = error
    while cause is not None:  # what the error was raised from, the outermost first
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            return f"the disk is full: free some space, or set HF_HOME to another; the download of {repo} then goes on"
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.GatedRepoError):
            return (
                f"{repo} is gated: sign in at {page} and accept its licence, then run `hf auth login` here "
                "or set HF_TOKEN (the token needs read access to gated repositories)"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{repo} has no revision {revision!r}: see {page}/commits for those there are"
        if isinstance(cause, errors.RemoteEntryNotFoundError):
            return f"{repo} is no diffusers pipeline (no model_index.json): see {page} for one that is"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return (
                f"there is no repository {repo} on the model hub, or it is private: check the name at {page}; "
                "for a private one run `hf auth login` or set HF_TOKEN"
            )
        if status in (401, 403):
            return f"the model hub refused {repo} ({status}): run `hf auth login` with a token that may read it"
        if status is not None:
            return f"the model hub answered {status} for {repo}: try again later; what was downloaded is kept"
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | errors.HTTPError):
            return (
                f"{repo} is not on this machine and the model hub cannot be reached: connect to the network (and unset "
                "HF_HUB_OFFLINE), or copy the pipeline's folder here and name that"
            )
        cause = cause.__cause__ or cause.__context__
    return None
