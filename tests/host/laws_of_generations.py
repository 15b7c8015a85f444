"""Which old generations a commit takes away, and which never: laws, as in ``laws``."""

from __future__ import annotations

from fleetd.model.order import KeptGenerations, Verb
from tests.host.laws import NEW, OLD, OTHER, Law, live_trial, order, run_reverts, said
from tests.host.rig import Rig, toplevel

FIFTH = toplevel("5")
"""A system that nobody needs."""

OLDEST, NEWEST = 1, 12
ROOTS = "nix/var/nix/gcroots/fleetd"


def with_history(rig: Rig) -> None:
    """Give the profile generations of systems that nobody needs, with the old and the new one as the last two."""
    for number in range(OLDEST, NEWEST - 1):
        rig.generation(number, toplevel("abcdefghij"[number - 1]))
    rig.generation(NEWEST - 1, OLD)
    rig.generation(NEWEST, NEW)


def commit(rig: Rig, newest: int = 3, younger_s: float = 0.0, **changes: object) -> None:
    """Commit a trial whose order says what is kept."""
    live_trial(rig, generations=KeptGenerations(newest, younger_s), **changes)
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("ok", "committing")
    rig.run_commit()


def old_generations_go_with_a_commit(rig: Rig) -> None:
    """All but the newest, and what runs, boots and is gone back to."""
    with_history(rig)
    commit(rig)
    assert rig.shown().state == "committed"
    assert rig.generations() == [10, 11, 12]


def nothing_goes_where_no_order_says_so(rig: Rig) -> None:
    """It is off by default."""
    with_history(rig)
    live_trial(rig)
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.run_commit()
    assert (rig.shown().state, len(rig.generations())) == ("committed", NEWEST)


def nothing_goes_with_a_commit_that_is_undone(rig: Rig) -> None:
    """The host is back where it was, with all that it had."""
    with_history(rig)
    rig.set("loader", "lie")
    commit(rig)
    run_reverts(rig)
    assert (rig.shown().state, len(rig.generations())) == ("reverted", NEWEST)


def what_the_controller_may_go_back_to_stays(rig: Rig) -> None:
    """The last system with which a rollout succeeded may be older than what ran before this one."""
    with_history(rig)
    rig.generation(2, OTHER)
    commit(rig, 1, keep_systems=(OTHER,))
    assert rig.generations() == [2, 11, 12]


def what_is_booted_and_what_would_boot_stays(rig: Rig) -> None:
    """Also where it is neither of the two systems of the commit."""
    with_history(rig)
    rig.generation(3, OTHER)
    rig.point("run/booted-system", OTHER)
    commit(rig, 1)
    assert rig.generations() == [3, 11, 12]


def what_a_rollout_has_rooted_stays(rig: Rig) -> None:
    """A copy for a later rollout may be of a system that the host had before."""
    with_history(rig)
    rig.generation(4, OTHER)
    (rig.root / ROOTS).mkdir(parents=True)
    (rig.root / ROOTS / "r-9-next").symlink_to(OTHER)
    commit(rig, 1)
    assert rig.generations() == [4, 11, 12]


def what_is_young_stays(rig: Rig) -> None:
    """And so does what a clock says is of the future."""
    with_history(rig)
    rig.generation(5, FIFTH, days=2)
    rig.generation(6, FIFTH, days=-400)
    commit(rig, 1, younger_s=3 * 86400)
    assert rig.generations() == [5, 6, 11, 12]


def the_boot_menu_keeps_its_systems_until_it_is_made_anew(rig: Rig) -> None:
    """An entry that leads nowhere is what somebody picks in need."""
    with_history(rig)
    (rig.root / ROOTS).mkdir(parents=True)
    (rig.root / ROOTS / "menu-1").symlink_to(OTHER)
    commit(rig)
    left = {link.name: str(link.readlink()) for link in (rig.root / ROOTS).glob("menu-*")}
    assert left == {f"menu-{number}": toplevel("abcdefghij"[number - 1]) for number in range(OLDEST, 10)}


def a_root_of_the_menu_that_is_no_longer_needed_goes(rig: Rig) -> None:
    """Also where nothing is taken any more."""
    (rig.root / ROOTS).mkdir(parents=True)
    (rig.root / ROOTS / "menu-1").symlink_to(OTHER)
    commit(rig)
    assert not (rig.root / ROOTS / "menu-1").is_symlink()


def nothing_goes_where_nobody_knows_the_boot_menu(rig: Rig) -> None:
    """A boot loader that is somebody else's may list anything."""
    with_history(rig)
    commit(rig, boot_external=True)
    assert (rig.shown().state, len(rig.generations())) == ("committed", NEWEST)


def only_so_many_go_at_once_and_the_oldest_first(rig: Rig) -> None:
    """A host that had years of them is not kept busy by one commit."""
    for number in range(1, 90):
        rig.generation(number, FIFTH)
    commit(rig, 1)
    assert rig.generations() == list(range(51, 90))


def a_nix_that_takes_nothing_does_not_undo_a_commit(rig: Rig) -> None:
    """The new system is good all the same."""
    with_history(rig)
    rig.set("keeps-generations", "yes")
    commit(rig)
    assert (rig.shown().state, rig.shown().boot_default, len(rig.generations())) == ("committed", NEW, NEWEST)


LAWS: tuple[Law, ...] = (
    old_generations_go_with_a_commit,
    nothing_goes_where_no_order_says_so,
    nothing_goes_with_a_commit_that_is_undone,
    what_the_controller_may_go_back_to_stays,
    what_is_booted_and_what_would_boot_stays,
    what_a_rollout_has_rooted_stays,
    what_is_young_stays,
    the_boot_menu_keeps_its_systems_until_it_is_made_anew,
    a_root_of_the_menu_that_is_no_longer_needed_goes,
    nothing_goes_where_nobody_knows_the_boot_menu,
    only_so_many_go_at_once_and_the_oldest_first,
    a_nix_that_takes_nothing_does_not_undo_a_commit,
)
