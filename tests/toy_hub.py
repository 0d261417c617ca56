"""A model hub that answers without a network: its names, its secret, its errors."""

import httpx2

REPO, COMMIT = "someone/model", "0123456789abcdef0123456789abcdef01234567"
SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"


def answered(error: type[Exception], status: int) -> Exception:
    """An error as the hub's client raises it, with the request that failed and its token."""
    request = httpx2.Request("GET", "https://huggingface.co", headers={"authorization": f"Bearer {SECRET}"})
    return error(f"{status} for a request with {SECRET}", response=httpx2.Response(status, request=request))


def wrapped(error: Exception) -> Exception:
    """As libraries do: another error, raised from the first."""
    try:
        raise OSError("could not load the model") from error
    except OSError as outer:
        return outer
