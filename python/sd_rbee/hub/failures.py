"""What the hub's errors mean, and what to do about them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sd_rbee.errors import CheckpointError, DownloadError, ModelNotFoundError
from sd_rbee.hub import cache
from sd_rbee.hub.reference import Reference

ROOM = "make room there, or set HF_HUB_CACHE to a folder elsewhere"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def explained(reference: Reference) -> Iterator[None]:
    """Turns what goes wrong inside, on the way to the hub or there, into this package's errors.

    Raises:
        ModelNotFoundError: There is no such repository, revision or file.
        DownloadError: It is there and was not given: no access, no network, no room for it.
        CheckpointError: It was given, and cannot be used.
    """
    from httpx2 import HTTPError, InvalidURL
    from huggingface_hub import constants, errors

    repo, page = reference.repo, f"{constants.ENDPOINT}/{reference.repo}"
    try:
        yield
    except ModelNotFoundError as error:
        if isinstance(error, DownloadError):
            raise
        raise ModelNotFoundError(f"{reference}: {error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{reference}: {error}") from None
    except errors.OfflineModeIsEnabled:
        raise DownloadError(
            f"{reference} is not at hand, and HF_HUB_OFFLINE forbids to download it; unset it, and pull it"
        ) from None
    except errors.GatedRepoError as error:
        raise DownloadError(f"{repo} is gated: {_way_in(page)}") from error
    except errors.DisabledRepoError as error:
        raise DownloadError(f"{repo} is disabled by the hub, see {page}") from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{repo} has no branch, tag or commit {reference.revision!r}, see {page}") from error
    except errors.RepositoryNotFoundError as error:
        unless = "the account of HF_TOKEN may not see it" if _sends_token() else "it is private: then set HF_TOKEN"
        raise ModelNotFoundError(f"there is no model {repo} at {constants.ENDPOINT}, unless {unless}") from error
    except errors.HfHubHTTPError as error:
        raise DownloadError(f"{reference}: {_refusal(error.response.status_code, constants.ENDPOINT)}") from error
    except (HTTPError, InvalidURL) as error:
        what = str(error) or type(error).__name__
        raise DownloadError(
            f"{reference}: {constants.ENDPOINT} cannot be reached ({what}); what has come is kept, try again"
        ) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DownloadError(f"{reference}: the disk of {cache.folder()} is full; {ROOM}") from error


def _way_in(page: str) -> str:
    if _sends_token():
        return (
            f"the account of your token has no access yet. Accept the conditions at {page}, logged in as that account, "
            "and wait where the authors approve each request; the token itself must be allowed to read gated models"
        )
    return (
        f"log in at {page}, accept the conditions there, make a token that may read at "
        f"{page.split('/', 3)[0]}//{page.split('/', 3)[2]}/settings/tokens, and set HF_TOKEN to it"
    )


def _refusal(status: int, endpoint: str) -> str:
    match status:
        case 401:
            return f"{endpoint} does not know the token that it was sent; set HF_TOKEN to a valid one, or unset it"
        case 403:
            return f"{endpoint} forbids it to the token that it was sent; it needs one that may read"
        case 429:
            return f"{endpoint} has had too many requests; wait, or set HF_TOKEN, which raises the limit"
        case _:
            return f"{endpoint} answered with status {status}; what has come is kept, try again later"


def _sends_token() -> bool:
    from huggingface_hub.utils import build_hf_headers

    return "authorization" in build_hf_headers()
