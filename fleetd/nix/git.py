"""The history of a flake's repository: does a commit contain the one deployed last, and did somebody trusted sign it.

Nix fetches the files of a commit and not what came before it, so the history is fetched here, without files, into a
bare repository of our own. Only references that are fetched with git have one (``git+ssh://``, ``git+https://``, …).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fleetd.errors import NotFastForward, SourceError, UntrustedCommit
from fleetd.process import ChildOutputTooLong, ChildTimeout, Done, excerpt, run

SCHEMES = ("ssh", "https", "http", "file", "git")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

QUIET: Mapping[str, str] = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES), "LC_ALL": "C"}
"""Asks nobody, and runs no transport that is a command (``ext::``)."""

UNCONFIGURED: Mapping[str, str] = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
"""What is trusted is in our own configuration and nowhere else."""

SSH_SIGNATURES = (
    *("-c", "gpg.ssh.program=ssh-keygen", "-c", "gpg.minTrustLevel=fully"),
    *("-c", "gpg.program=false", "-c", "gpg.openpgp.program=false", "-c", "gpg.x509.program=false"),
)
"""A signature of another kind would be judged by a keyring that nobody has named."""

LONGEST_SAID = 800
_CREDENTIALS = re.compile(r"(https?://)[^/@\s]+@")

HISTORIES = 20
"""Repositories whose history is kept: requests may name others than the configured one."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A commit of a repository that git can fetch; ``ref`` is where it was found, empty where that is not said."""

    url: str
    commit: str
    ref: str


def pinned(reference: str) -> Pinned | None:
    """Return the commit that a locked flake reference names; None where it is none of a git repository."""
    words = urlsplit(reference)
    kind, plus, scheme = words.scheme.partition("+")
    query = parse_qs(words.query)
    commit, ref = query.get("rev", [""])[0], query.get("ref", [""])[0]
    if kind != "git" or (plus and scheme not in SCHEMES) or _COMMIT.fullmatch(commit) is None:
        return None
    return Pinned(f"{scheme or 'git'}://{words.netloc}{words.path}", commit, ref)


class GitCommits:
    """The port ``Commits``. ``directory`` holds the histories; ``allowed_signers`` is None where nobody has to sign."""

    def __init__(self, directory: Path, allowed_signers: Path | None = None) -> None:
        self._directory = directory
        self._signers = allowed_signers
        # Two fetches into one repository would wait for each other's locks.
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, locked: str, *, since: str, timeout_s: float) -> None:
        """Raise NotFastForward, UntrustedCommit unless this commit may be deployed, SourceError where nobody can say.

        Args:
            locked: the locked reference that is to be deployed.
            since: the one that was deployed last, which it has to contain; empty where nothing was, or it need not.
            timeout_s: for all of it.
        """
        found, before = pinned(locked), pinned(since)
        if found is None:
            if self._signers is not None:
                text = "it is no commit that is fetched with git (write git+https:// or git+ssh://)"
                raise UntrustedCommit(
                    f"fleet.allowed_signers has to sign what is deployed, and nobody can say who did: {text}"
                )
            return
        moved = before is not None and before.commit != found.commit
        if not moved and self._signers is None:
            return
        try:
            async with asyncio.timeout(timeout_s), self._locks.setdefault(found.url, asyncio.Lock()):
                repository = await self._fetched(found, timeout_s)
                await self._check_signature(repository, found.commit, timeout_s)
                if before is not None and moved:
                    await self._check_history(repository, before.commit, found.commit, timeout_s)
        except (TimeoutError, ChildTimeout, ChildOutputTooLong) as error:
            raise SourceError(f"the history of {found.commit} was not there within {timeout_s:g} s") from error
        except OSError as error:
            raise SourceError(f"the history of {found.commit} cannot be fetched: git: {error}") from error

    async def _fetched(self, found: Pinned, timeout_s: float) -> Path:
        """Return a repository that has the commit and all that came before it. Raises SourceError."""
        repository = self._directory / hashlib.sha256(found.url.encode()).hexdigest()[:32]
        if not await asyncio.to_thread(_begin, self._directory, repository):
            await self._made(repository, ("init", "-q", "--bare"), timeout_s)
        await self._made(repository, ("config", "remote.origin.url", found.url), timeout_s)
        await self._made(repository, ("config", "remote.origin.promisor", "true"), timeout_s)
        # Only commits are looked at: a server that cannot leave out the rest sends it all the same.
        fetch = ("fetch", "-q", "--no-tags", "--filter=tree:0", "origin")
        done = await _git(repository, (*fetch, found.commit), timeout_s)
        if done.status != 0:
            # A server may give out only what a ref names.
            await self._made(repository, (*fetch, found.ref or "HEAD"), timeout_s)
        if not await _has(repository, found.commit, timeout_s):
            raise SourceError(
                f"the flake's repository does not give out {found.commit}: did its branch move meanwhile?"
            )
        return repository

    async def _check_signature(self, repository: Path, commit: str, timeout_s: float) -> None:
        if self._signers is None:
            return
        words = (*SSH_SIGNATURES, "-c", f"gpg.ssh.allowedSignersFile={self._signers}", "verify-commit", commit)
        done = await _git(repository, words, timeout_s, UNCONFIGURED)
        if done.status != 0:
            said = excerpt(done.stderr, LONGEST_SAID) or "it has no signature"
            raise UntrustedCommit(f"{commit} is signed by nobody in {self._signers} (fleet.allowed_signers): {said}")

    async def _check_history(self, repository: Path, before: str, commit: str, timeout_s: float) -> None:
        done = await _git(repository, ("merge-base", "--is-ancestor", before, commit), timeout_s)
        if done.status == 0:
            return
        # A commit that the repository no longer has cannot be contained either.
        if done.status == 1 or not await _has(repository, before, timeout_s):
            raise NotFastForward(
                f"{commit} does not contain {before}, which was deployed last: its branch was rewritten, or another "
                "one was deployed; --force deploys it all the same"
            )
        raise _unreadable(done, "merge-base")

    async def _made(self, repository: Path, words: tuple[str, ...], timeout_s: float) -> None:
        done = await _git(repository, words, timeout_s)
        if done.status != 0:
            raise _unreadable(done, words[0])


def _begin(directory: Path, repository: Path) -> bool:
    """Make the place of a history, and remove the ones used least lately. Returns whether it is there already."""
    is_there = (repository / "config").exists()
    repository.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(repository)
    for place in sorted(directory.iterdir(), key=lambda place: place.stat().st_mtime, reverse=True)[HISTORIES:]:
        shutil.rmtree(place, ignore_errors=True)
    return is_there


def _unreadable(done: Done, word: str) -> SourceError:
    said = excerpt(done.stderr, LONGEST_SAID) or f"git {word} ended with {done.status}"
    # What is in front of the host of a URL may be a token.
    said = _CREDENTIALS.sub(r"\1…@", said)
    return SourceError(f"the history of the flake's repository cannot be read: {said}")


async def _has(repository: Path, commit: str, timeout_s: float) -> bool:
    return (await _git(repository, ("cat-file", "-e", f"{commit}^{{commit}}"), timeout_s)).status == 0


async def _git(
    repository: Path, words: tuple[str, ...], timeout_s: float, more: Mapping[str, str] | None = None
) -> Done:
    argv = ["git", "-C", str(repository), *words]
    return await run(argv, timeout_s=timeout_s, env={**QUIET, **(more or {})})
