"""A stolen login gets nothing: a host that names who may give orders obeys nobody else, for every verb."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import asyncssh
import pytest

from fleetd.host.signing import OrderSigner
from fleetd.host.wire import encode_order
from fleetd.model.fence import Fence
from fleetd.model.order import Verb
from tests.host.laws import NEW, OLD, SYSTEMS, order, said
from tests.host.rig import HELPER, Rig, Shown
from tests.host.test_helper_against_the_model import place

BEGINNINGS = (Verb.TRIAL, Verb.STAGE, Verb.DRY_ACTIVATE)
VERBS = (*BEGINNINGS, Verb.EXTEND, Verb.COMMIT, Verb.RELEASE, Verb.REVERT, Verb.SETTLE)


def new_signer() -> OrderSigner:
    """Return a signer with a key that nobody knows yet."""
    return OrderSigner(asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode(), "a test")


OURS, THIEF = new_signer(), new_signer()


def armed(helper: str | None = None) -> Rig:
    """Return a host that obeys signed orders only."""
    rig = Rig(place() / "host", *SYSTEMS, helper=helper)
    signers = rig.root / "etc/fleetd-host/allowed_signers"
    signers.parent.mkdir()
    signers.write_text(OURS.allowed_signer + "\n")
    return rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = armed()
    yield made
    shutil.rmtree(made.root.parent)


def seen(rig: Rig) -> Shown:
    """Return what no refused order may change."""
    return replace(rig.shown(), deadline="")


def live(rig: Rig) -> None:
    """Bring the host into a trial by signed orders."""
    document = encode_order(order(rig, Verb.TRIAL, 10))
    assert said(rig.ask("trial", document + OURS.sign(document))) == ("ok", "started")
    rig.run_switch()
    assert rig.shown().state == "trial"


def attacks(rig: Rig, verb: Verb) -> dict[str, bytes]:
    """Return what somebody may send who has the login, has seen orders go by, and has no order key."""
    seq = 10 if verb is Verb.EXTEND else 20
    wanted = order(rig, verb, seq)
    document, other = encode_order(wanted), encode_order(order(rig, Verb.SETTLE, 5))
    highest = encode_order(replace(wanted, fence=Fence(10**17, 10**17)))
    signed = document + OURS.sign(document)
    return {
        "unsigned": document,
        "forged": document + THIEF.sign(document),
        "a signature of something else": document + OURS.sign(other),
        "other words": document.replace(b"fence=1.", b"fence=9.") + OURS.sign(document),
        "a word more": document + b"last_resort=reboot\n" + OURS.sign(document),
        "the highest fence": highest,
        "an empty signature": document + b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        "cut": signed[:-60],
        "two orders": document + document + OURS.sign(document),
    }


@pytest.mark.parametrize("verb", VERBS)
def test_without_the_key_no_order_is_obeyed(rig: Rig, verb: Verb) -> None:
    if verb not in BEGINNINGS:
        live(rig)
    before = seen(rig)
    for name, document in attacks(rig, verb).items():
        end, code = said(rig.ask(verb.value, document))
        assert (end, code) in (("refused", "unsigned"), ("refused", "bad-signature")), (name, end, code)
        assert seen(rig) == before, name


@pytest.mark.parametrize("verb", VERBS)
def test_a_captured_order_is_worth_nothing_later_or_elsewhere(rig: Rig, verb: Verb) -> None:
    if verb not in BEGINNINGS:
        live(rig)
    document = encode_order(order(rig, verb, 10 if verb is Verb.EXTEND else 20))
    captured = document + OURS.sign(document)
    machine = rig.root / "etc/machine-id"
    identity = machine.read_text()
    machine.write_text("f" * 32 + "\n")
    assert said(rig.ask(verb.value, captured)) == ("refused", "wrong-host")
    machine.write_text(identity)
    rig.pass_time(61)
    assert said(rig.ask(verb.value, captured)) == ("refused", "expired")
    rig.reboot()
    assert said(rig.ask(verb.value, captured)) == ("refused", "expired")


def test_a_replayed_order_does_nothing_again(rig: Rig) -> None:
    live(rig)
    document = encode_order(order(rig, Verb.REVERT, 20))
    captured = document + OURS.sign(document)
    assert said(rig.ask("revert", captured)) == ("ok", "reverting")
    rig.run_revert()
    assert said(rig.ask("revert", captured)) == ("ok", "repeat")
    assert rig.shown().state == "reverted"


@pytest.mark.parametrize("connection", ["10.0.0.9 40000 10.0.0.1 22", "fe80::9%eth0 40000 fe80::1%eth0 2222"])
def test_where_the_controller_came_in_is_kept(rig: Rig, connection: str) -> None:
    document = encode_order(order(rig, Verb.TRIAL, 10))
    rig.ask("trial", document + OURS.sign(document), {"SSH_CONNECTION": connection})
    assert f"ssh={connection}" in rig.record("meta").splitlines()


def test_the_environment_of_a_login_is_no_line_of_the_record(rig: Rig) -> None:
    """Root runs what the record names: a login that could write there would be root."""
    evil = "10.0.0.9 40000 10.0.0.1 22\nold=/nix/store/of-a-thief\nlast_resort=reboot"
    document = encode_order(order(rig, Verb.TRIAL, 10))
    assert said(rig.ask("trial", document + OURS.sign(document), {"SSH_CONNECTION": evil})) == ("ok", "started")
    lines = rig.record("meta").splitlines()
    assert [line for line in lines if line.startswith(("old=", "last_resort=", "ssh="))] == [
        f"old={OLD}",
        "last_resort=none",
        "ssh=",
    ]


def test_where_the_signers_cannot_be_read_nobody_is_one(rig: Rig) -> None:
    signers = rig.root / "etc/fleetd-host/allowed_signers"
    signers.unlink()
    signers.symlink_to("/run/secrets/that-are-not-there-yet")
    document = encode_order(order(rig, Verb.SETTLE, 10))
    assert said(rig.ask("settle", document)) == ("refused", "unsigned")
    assert said(rig.ask("settle", document + OURS.sign(document))) == ("refused", "bad-signature")
    assert rig.shown().fence == "0.0"


def test_an_order_for_one_verb_is_none_for_another(rig: Rig) -> None:
    live(rig)
    document = encode_order(order(rig, Verb.SETTLE, 20))
    assert said(rig.ask("revert", document + OURS.sign(document))) == ("refused", "bad-order")
    assert rig.shown().state == "trial"


def test_another_toplevel_needs_another_signature(rig: Rig) -> None:
    document = encode_order(order(rig, Verb.TRIAL, 10))
    changed = document.replace(f"toplevel={NEW}".encode(), f"toplevel={OLD}".encode())
    assert changed != document
    assert said(rig.ask("trial", changed + OURS.sign(document))) == ("refused", "bad-signature")


@pytest.mark.parametrize("evil", ["../../etc", "a b", "a;reboot", "$(reboot)", "-rf", "x" * 200])
def test_an_id_is_a_word(rig: Rig, evil: str) -> None:
    document = encode_order(order(rig, Verb.TRIAL, 10, id=evil))
    assert said(rig.ask("trial", document + OURS.sign(document))) == ("refused", "bad-order")


@pytest.mark.parametrize("evil", ["/nix/store/../../tmp/x", "/tmp/x", "/nix/store/" + "1" * 32 + "-a b", "$(reboot)"])
def test_a_toplevel_is_a_store_path(rig: Rig, evil: str) -> None:
    document = encode_order(order(rig, Verb.TRIAL, 10, toplevel=evil))
    assert said(rig.ask("trial", document + OURS.sign(document))) == ("refused", "not-a-toplevel")


@pytest.mark.parametrize("verb", ["", "facts;reboot", "../x", "shell", "-x"])
def test_other_words_are_no_verbs_of_a_controller(rig: Rig, verb: str) -> None:
    before = seen(rig)
    assert said(rig.ask(verb)) == ("error", "unknown-verb")
    assert seen(rig) == before


def test_questions_need_no_signature(rig: Rig) -> None:
    assert said(rig.ask("facts")) == ("ok", "facts")
    assert said(rig.ask("status")) == ("ok", "status")


def test_a_full_disk_does_not_keep_a_host_from_checking(rig: Rig) -> None:
    live(rig)
    rig.set("full-from", "0")
    document = encode_order(order(rig, Verb.SETTLE, 20))
    assert said(rig.ask("settle", document + THIEF.sign(document))) == ("refused", "bad-signature")
    assert said(rig.ask("settle", document + OURS.sign(document))) == ("error", "disk-full")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('[ -n "$signature" ] || refuse unsigned', '[ -n "$signature" ] || return 0; true || refuse unsigned'),
        ("    refuse bad-signature ", "    true "),
        ("-n fleetd-order", "-n file"),
    ],
    ids=["unsigned is let through", "bad is let through", "another namespace"],
)
def test_without_its_protection_the_host_would_obey_a_thief_or_nobody(old: str, new: str) -> None:
    text = HELPER.read_text()
    assert text.count(old) == 1
    rig = armed(text.replace(old, new))
    try:
        with pytest.raises(AssertionError):
            test_without_the_key_no_order_is_obeyed(rig, Verb.SETTLE)
    finally:
        shutil.rmtree(rig.root.parent)
