"""Repositories of the Hugging Face hub, as `hub:USER/NAME` or `hub:USER/NAME@REVISION`: fetched once, then read from the library's cache.

JSON, safetensors and marks of images are all that is fetched, each by a name that is known before. Nothing in a repository is run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from protege.data.files import content_of
from protege.errors import ConfigError, ProtegeError, RunError, quoted
from protege.lazy import need
from protege.runs.config import digest
from protege.runs.folder import Run
from protege.runs.records import Pushed, TimmConfig, record_of

log = logging.getLogger(__name__)

HUB = "hub:"
WEIGHTS, ABOUT = "model.safetensors", "config.json"
NAME = re.compile(r"hub:([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?")
PATIENCE = 10.0  # seconds until a hub that says nothing counts as out of reach
PICKLED = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
SHA256 = re.compile(r"[0-9a-f]{64}")  # as the hub names the contents of a large file
MOST_ABOUT = 1 << 22  # bytes of config.json; with the names of 22,000 classes it has one million


def is_hub(name: str) -> bool:
    return name.startswith(HUB)


def parsed(name: str) -> tuple[str, str | None]:
    """USER/NAME, and the revision where one is named."""
    found = NAME.fullmatch(name)
    if found is None or ".." in name:
        raise ConfigError(f"{quoted(name)} names no repository: write hub:USER/NAME, or hub:USER/NAME@REVISION.")
    return found[1], found[2]


def library(what: str) -> Any:
    """huggingface_hub, which tells of what goes wrong by what it raises alone, and draws no bars where nobody watches."""
    found, utils = need("huggingface_hub", "hub", what), need("huggingface_hub.utils", "hub", what)
    utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    return found


@dataclass(frozen=True)
class Repository:
    """One commit of a repository. Its text names both, and finds the same contents again."""

    repo: str
    commit: str

    def __str__(self) -> str:
        return f"{HUB}{self.repo}@{self.commit}"

    def file(self, name: str) -> Path:
        """In the cache, where it is there to stay; a large one is compared with the checksum that the hub names it by."""
        hub = library(str(self))
        with in_a_line(f"{HUB}{self.repo}"):
            path = Path(hub.hf_hub_download(self.repo, name, revision=self.commit))
        blob = path.resolve()
        if SHA256.fullmatch(blob.name) and digest(blob) != blob.name:
            raise RunError(f"{blob} is damaged: it is not what {self} has. Remove it, and give the same command again.")
        return path

    @cached_property
    def about(self) -> dict[str, Any]:
        """config.json as it is; empty where there is none."""
        hub = library(str(self))
        known = hub.try_to_load_from_cache(self.repo, ABOUT, revision=self.commit)
        if not isinstance(known, str):
            return {}
        try:
            found = record_of(content_of(Path(known), MOST_ABOUT), dict[str, Any])
        except OSError as error:
            raise RunError(f"{self} cannot be used: {ABOUT}: {error.strerror}.") from error
        except ValueError as error:
            raise RunError(f"{self} cannot be used: its {ABOUT} is {error}.") from error
        return found

    @property
    def weights(self) -> Path:
        return self.file(WEIGHTS)

    @property
    def is_run(self) -> bool:
        """Whether it says that `protege push` wrote it."""
        return "protege" in self.about

    def run(self) -> Run:
        """The run that was pushed: all of it is here then, and what it has seen is what the list says."""
        if not self.is_run:
            raise RunError(
                f"{self} holds no run: `protege push` did not write it. Its weights can teach, or be begun from."
            )
        files = self._checked(Pushed)["protege"]["files"]
        for name in (WEIGHTS, *files):
            path = self.file(name)
            if name.startswith("seen/") and not digest(path).startswith(path.stem):
                raise RunError(f"{self} cannot be used: {name} is not the list of images that it is named for.")
        run = Run(self.file("run.json").parent)
        _refuse_half(run, files, str(self))
        return run

    def timm(self) -> dict[str, Any]:
        """Network and normalisation, where the repository is in timm's form."""
        if "architecture" not in self.about:
            raise RunError(
                f"{self} does not say which network it is: it has no {ABOUT} of protege or timm. Name it: teacher.model."
            )
        found = self._checked(TimmConfig)
        if found.get("model_args"):
            raise RunError(
                f"{self} makes its {found['architecture']} with arguments (model_args), which is not done here. "
                "Give its network as a file of your own: teacher.model file.py:NAME."
            )
        pictures = {
            key: found["pretrained_cfg"][key] for key in ("mean", "std") if key in found.get("pretrained_cfg", {})
        }
        return {"model": {"name": f"timm:{found['architecture']}"}, **pictures}

    def _checked(self, kind: Any) -> Any:
        try:
            return record_of(json.dumps(self.about).encode(), kind)
        except ValueError as error:
            raise RunError(f"{self} cannot be used: its {ABOUT} is wrong ({error}).") from error


def _refuse_half(run: Run, files: list[str], name: str) -> None:
    record = run.record()
    if not record.get("seen", {}).get("sets"):
        raise RunError(f"{name} does not say which images it was trained on. Push it again.")
    listed = {f"seen/{one}.u64" for one in record["seen"]["sets"]}
    if missing := {"run.json", "result.json", *listed} - set(files):
        raise RunError(f"{name} is not a whole run: {min(missing)} is missing. Push it again.")


def repository(name: str) -> Repository:
    """At the commit that the name means now; where the hub is out of reach, at the one that it meant last."""
    repo, revision = parsed(name)
    hub = library(name)
    known = _in_cache(hub, repo, revision)
    if known is not None and known.commit == revision:
        return known
    try:
        with in_a_line(name):
            names = _names(hub, repo, revision)
            if WEIGHTS not in names:
                raise _no_safetensors(name, names)
            first = hub.hf_hub_download(repo, ABOUT if ABOUT in names else WEIGHTS, revision=revision)
            return Repository(repo, Path(first).parent.name)
    except OutOfReach:
        if known is None:
            raise
        log.warning("The hub is out of reach: %s is taken as it was last seen, commit %s.", name, known.commit[:7])
        return known


def _in_cache(hub: Any, repo: str, revision: str | None) -> Repository | None:
    for name in (ABOUT, WEIGHTS):
        if isinstance(path := hub.try_to_load_from_cache(repo, name, revision=revision), str):
            return Repository(repo, Path(path).parent.name)
    return None


def _names(hub: Any, repo: str, revision: str | None) -> list[str]:
    info = hub.HfApi().model_info(repo, revision=revision, timeout=PATIENCE)
    return [one.rfilename for one in info.siblings or ()]


def _no_safetensors(name: str, names: list[str]) -> RunError:
    pickled = next((one for one in names if one.endswith(PICKLED)), None)
    refused = f": {quoted(pickled, 60)} is a pickle, which can run code, and is not fetched" if pickled else ""
    return RunError(f"{name} has no weights as safetensors ({WEIGHTS}){refused}.")


# ---- what can go wrong there ----


class OutOfReach(RunError):
    """No network, or a hub that does not answer."""


@contextlib.contextmanager
def in_a_line(name: str) -> Iterator[None]:
    """What the library raises, in the user's words. Its own messages are long, and quote addresses."""
    try:
        yield
    except ProtegeError:
        raise
    except Exception as error:  # of the library, of its transport, and of the disk
        raise _worded(error, name) from error


IN_WORDS = {  # what the library raises, narrower kinds first
    "GatedRepoError": "{name} is open to those alone who accepted its terms: do so on its page, then `hf auth login`.",
    "RevisionNotFoundError": "{name}: the repository has no such revision (branch, tag or commit).",
    "RepositoryNotFoundError": "There is no repository {name}, or it is private and not open to you: `hf auth login`, or HF_TOKEN.",
    "HFValidationError": "{name} is no name that the hub allows: USER/NAME of letters, digits, `-`, `_` and `.`.",
}
BY_STATUS = {
    401: "{name}: the hub does not know the token (HF_TOKEN, or that of `hf auth login`). Give one that is valid, or none.",
    403: "{name}: the token may not do that there. Give one with the right to (HF_TOKEN, or `hf auth login`).",
    404: "{name} lacks a file that it lists. It was not pushed whole, or changes now: give the same command again.",
}


def _worded(error: Exception, name: str) -> RunError:
    errors, status = need("huggingface_hub.errors", "hub", name), _status(error)
    for kind, sentence in IN_WORDS.items():
        if isinstance(error, getattr(errors, kind)):
            return RunError(sentence.format(name=name))
    if status in BY_STATUS:
        return RunError(BY_STATUS[status].format(name=name))
    if status is not None and status < 500 and status not in (408, 429):
        return RunError(
            f"{name}: the hub refused with {status}: {str(getattr(error, 'server_message', None) or '')[:200]}"
        )
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        return RunError(f"{name} cannot be kept in the library's cache (HF_HOME): {error.strerror}.")
    return OutOfReach(
        f"{name}: the hub is out of reach, or the line broke ({_said(error, status)}). What came is not used before it is whole: "
        "give the same command again where there is a network."
    )


def _said(error: BaseException, status: int | None) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"status {status}" if status else type(error).__name__


def _status(error: BaseException | None) -> int | None:
    """What the hub answered, wherever the library wrapped it."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return response.status_code
        error = error.__cause__
    return None
