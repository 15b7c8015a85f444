"""What git says of a commit: does it contain the one deployed last, and is it signed by somebody who may."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from fleetd.errors import NotFastForward, SourceError, UntrustedCommit
from fleetd.nix import git
from fleetd.nix.git import GitCommits, Pinned, pinned
from tests.nix.private_store import temporary_directory

GPG = """#!/bin/sh
cat > /dev/null
printf '[GNUPG:] %s\\n' NEWSIG 'GOODSIG 0123456789ABCDEF kim' 'TRUST_ULTIMATE 0 pgp'
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Rig:
    """A repository, two people with keys, and the histories that fleetd keeps."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tree = place / "tree"
        self.tree.mkdir()
        for who in ("kim", "eve"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(place / who)
            key.write_public_key(place / f"{who}.pub")
            (place / who).chmod(0o600)
        self.signers = place / "allowed_signers"
        self.signers.write_text(f'kim@example.org namespaces="git" {(place / "kim.pub").read_text()}')
        self.git("init", "-q")
        self.histories = place / "git"
        self.plain, self.strict = GitCommits(self.histories), GitCommits(self.histories, self.signers)

    def git(self, *words: str) -> str:
        config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        argv = ["git", *config, "-C", str(self.tree), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, text: str, signer: str | None = None) -> str:
        (self.tree / "file").write_text(text)
        self.git("add", "file")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.place / (signer or 'kim')}")
        self.git(*signing, "commit", "-q", "-m", text, *(["-S"] if signer else []))
        return self.git("rev-parse", "HEAD")

    def locked(self, commit: str, more: str = "ref=refs%2fheads%2fmain&") -> str:
        return f"git+file://{self.tree}?{more}rev={commit}"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.asyncio
async def test_what_goes_on_from_what_was_deployed_may_be_deployed(rig: Rig) -> None:
    first = rig.commit("one")
    rig.commit("two")
    third = rig.commit("three")
    await rig.plain.check(rig.locked(third), since=rig.locked(first), timeout_s=30)
    await rig.plain.check(rig.locked(first), since=rig.locked(first), timeout_s=30)
    await rig.plain.check(rig.locked(first), since="", timeout_s=30)
    # The history that is kept is read on from where it was.
    fourth = rig.commit("four")
    await rig.plain.check(rig.locked(fourth, ""), since=rig.locked(third), timeout_s=30)


@pytest.mark.asyncio
async def test_a_branch_that_was_rewritten_or_set_back_is_refused(rig: Rig) -> None:
    first, second = rig.commit("one"), rig.commit("two")
    with pytest.raises(NotFastForward, match=f"{first} does not contain {second}.*--force"):
        await rig.plain.check(rig.locked(first), since=rig.locked(second), timeout_s=30)
    rig.git("reset", "-q", "--hard", first)
    other = rig.commit("another two")
    with pytest.raises(NotFastForward):
        await rig.plain.check(rig.locked(other), since=rig.locked(second), timeout_s=30)
    # Also where nobody has what was deployed any more.
    rig.git("reflog", "expire", "--expire=now", "--all")
    rig.git("gc", "-q", "--prune=now")
    for histories in (rig.plain, GitCommits(rig.place / "new")):
        with pytest.raises(NotFastForward):
            await histories.check(rig.locked(other), since=rig.locked(second), timeout_s=30)
    # And where it merges what was deployed, it contains it.
    rig.git("checkout", "-q", "-b", "side", first)
    side = rig.commit("side")
    rig.git("checkout", "-q", "main")
    rig.git("merge", "-q", "-s", "ours", "-m", "merged", "side")
    merged = rig.git("rev-parse", "HEAD")
    await rig.plain.check(rig.locked(merged), since=rig.locked(side), timeout_s=30)


@pytest.mark.asyncio
async def test_only_who_is_allowed_may_sign(rig: Rig) -> None:
    signed, unsigned, foreign = rig.commit("one", "kim"), rig.commit("two"), rig.commit("three", "eve")
    await rig.strict.check(rig.locked(signed), since="", timeout_s=30)
    for commit in (unsigned, foreign):
        with pytest.raises(UntrustedCommit, match=f"{commit} is signed by nobody in .*allowed_signers"):
            await rig.strict.check(rig.locked(commit), since="", timeout_s=30)
        await rig.plain.check(rig.locked(commit), since="", timeout_s=30)
    # A signature is asked for again however often the same commit is deployed, by whoever may sign by then.
    rig.signers.write_text(f"eve@example.org {(rig.place / 'eve.pub').read_text()}")
    await rig.strict.check(rig.locked(foreign), since=rig.locked(foreign), timeout_s=30)
    with pytest.raises(UntrustedCommit):
        await rig.strict.check(rig.locked(signed), since=rig.locked(signed), timeout_s=30)


@pytest.mark.asyncio
async def test_what_people_have_configured_lets_nobody_in(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    home = rig.place / "home"
    home.mkdir()
    (rig.place / "all").write_text(f"eve@example.org {(rig.place / 'eve.pub').read_text()}")
    (home / ".gitconfig").write_text(f'[gpg "ssh"]\nallowedSignersFile = {rig.place}/all\nprogram = true\n')
    foreign = rig.commit("one", "eve")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(UntrustedCommit):
        await rig.strict.check(rig.locked(foreign), since="", timeout_s=30)


@pytest.mark.asyncio
async def test_a_signature_of_another_kind_is_none(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # A gpg that believes everything stands for a keyring that trusts whoever is in it.
    believes = rig.place / "bin/gpg"
    believes.parent.mkdir()
    monkeypatch.setenv("PATH", f"{believes.parent}:{os.environ['PATH']}")
    believes.write_text(GPG)
    believes.chmod(0o755)
    rig.commit("one")
    tree, parent = rig.git("rev-parse", "HEAD^{tree}"), rig.git("rev-parse", "HEAD")
    armour = "-----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----"
    who = "t <t@example.org> 1700000000 +0000"
    text = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\ngpgsig {armour}\n\nforged\n"
    (rig.place / "forged").write_text(text)
    forged = rig.git("hash-object", "-t", "commit", "-w", str(rig.place / "forged"))
    rig.git("reset", "-q", "--hard", forged)
    assert rig.git("verify-commit", forged) == ""
    with pytest.raises(UntrustedCommit):
        await rig.strict.check(rig.locked(forged), since="", timeout_s=30)


@pytest.mark.parametrize(
    "reference", ["path:/srv/infra?narHash=sha256-x", f"github:o/r/{COMMIT}", "", "tarball+https://x"]
)
@pytest.mark.asyncio
async def test_what_git_does_not_fetch_has_no_history(rig: Rig, reference: str) -> None:
    await rig.plain.check(reference, since=rig.locked(COMMIT), timeout_s=30)
    with pytest.raises(UntrustedCommit, match=r"git\+https://"):
        await rig.strict.check(reference, since="", timeout_s=30)


@pytest.mark.asyncio
async def test_a_history_that_cannot_be_read_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = rig.commit("one"), rig.commit("two")
    gone = f"git+file://{rig.place}/nowhere?rev={second}"
    with pytest.raises(SourceError, match=r"history of the flake's repository cannot be read: .*nowhere"):
        await rig.plain.check(gone, since=rig.locked(first), timeout_s=30)
    with pytest.raises(SourceError, match=r"was not there within 0\.01 s"):
        await rig.plain.check(rig.locked(second), since=rig.locked(first), timeout_s=0.01)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SourceError, match="cannot be fetched: git"):
        await rig.plain.check(rig.locked(second), since=rig.locked(first), timeout_s=30)


@pytest.mark.asyncio
async def test_a_commit_that_is_not_given_out_is_told(rig: Rig) -> None:
    first = rig.commit("one")
    for histories in (rig.plain, rig.strict):
        with pytest.raises(SourceError, match=f"does not give out {COMMIT}"):
            await histories.check(rig.locked(COMMIT), since=rig.locked(first), timeout_s=30)


@pytest.mark.asyncio
async def test_no_token_of_a_url_is_told(rig: Rig) -> None:
    url = "git+http://user:s3cret@127.0.0.1:9/infra"
    with pytest.raises(SourceError, match="cannot be read") as caught:
        await rig.plain.check(f"{url}?rev={COMMIT}", since=f"{url}?rev={'1' * 40}", timeout_s=30)
    assert "s3cret" not in str(caught.value)


@pytest.mark.asyncio
async def test_histories_that_nobody_uses_any_longer_are_removed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "HISTORIES", 2)
    first, second = rig.commit("one"), rig.commit("two")
    for number in range(3):
        other = rig.place / f"tree{number}"
        other.symlink_to(rig.tree)
        name = f"git+file://{other}?rev="
        await rig.plain.check(f"{name}{second}", since=f"{name}{first}", timeout_s=30)
    assert len(list(rig.histories.iterdir())) == 2


def test_references() -> None:
    assert pinned(f"git+ssh://git@x/infra?dir=a&ref=main&rev={COMMIT}") == Pinned("ssh://git@x/infra", COMMIT, "main")
    assert pinned(f"git://x/infra?rev={COMMIT}") == Pinned("git://x/infra", COMMIT, "")
    for text in (
        f"git+ext://x?rev={COMMIT}",
        "git+https://x?ref=main",
        f"https://x?rev={COMMIT}",
        "git+https://x?rev=-f",
    ):
        assert pinned(text) is None
