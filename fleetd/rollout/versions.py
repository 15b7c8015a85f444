"""Which versions of records there are, how older ones become today's, and what the release before this one can read.

Three ways to change what is written, from the harmless one on:

- *A field with a default* is added. Old records take the default. It is named in ``ADDED``, and left out while it says
  its default, because the release before refuses fields that it does not know.
- *A kind of record* is added, or a word that a field may have. It is named in ``NEW_KINDS`` or ``NEW_WORDS``, and not
  written while the release before may have to take over again, which it may while the control node's own host is on
  trial (``needs_this_release``).
- *The meaning changes*: the kind gets a new version in ``NEWEST`` and an upcaster from the one before. Such a record
  the release before cannot read either.

What is in ``ADDED``, ``NEW_KINDS`` and ``NEW_WORDS`` may leave them one release later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

Data = Mapping[str, object]
Upcaster = Callable[[Data], Data]

TAG = "is"
"""The key under which a record says of which class a value is."""

FIRST = 1

NEWEST: Mapping[str, int] = {}
"""The version of each kind of record that is written now, where it is not the first."""

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
"""From (kind, version) to the data of the next version. None for any change that a default of a field describes."""

ADDED: Mapping[str, tuple[str, ...]] = {
    "RevertIntended": ("unjudged",),
    "HostPlan": ("hooks",),
    "RolloutSpec": ("hooks",),
}
"""Fields that the release before does not know, by class."""

NEW_KINDS: tuple[str, ...] = (
    "RecoveryBegan",
    "ActivationRecovered",
    "HostRecovered",
    "RecoveryEnded",
    "PowerCycleIntended",
    "PowerCycled",
    "Baseline",
    "HostFoundUnwell",
    "HostFoundWell",
    "HostExcused",
    "HostOwed",
    "HostNotOwed",
    "HostAdopted",
    "HookIntended",
    "HookEnded",
    "HookGivenUp",
    "HooksCleared",
)
"""Records that the release before does not know."""

NEW_WORDS: Mapping[tuple[str, str], tuple[str, ...]] = {("RolloutSpec", "kind"): ("catch-up", "restore")}
"""Values of a class' field that the release before does not know."""


class TooNew(ValueError):
    """A record is of a later release than this program."""


def version_of(kind: str, newest: Mapping[str, int] = NEWEST) -> int:
    """Return the version in which records of a kind are written."""
    return newest.get(kind, FIRST)


def upcast(
    kind: str,
    version: int,
    data: Data,
    newest: Mapping[str, int] = NEWEST,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> Data:
    """Return the data of a record as today's version has it, one version after the other.

    Raises TooNew for a version that this program does not know, ValueError for one that never was, or for data that
    its upcaster cannot read.
    """
    today = version_of(kind, newest)
    if version > today:
        raise TooNew(f"it is of version {version} of its kind, and this fleetd reads versions up to {today}")
    if version < FIRST:
        raise ValueError(f"it is of version {version}, and versions begin with {FIRST}")
    for step in range(version, today):
        try:
            data = upcasters[kind, step](data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its version {step} cannot be read as {step + 1}: {error!r}") from error
    return data


def needs_this_release(kind: str, data: object) -> bool:
    """Whether the release before this one could not read a record."""
    return kind in NEW_KINDS or _has_added(kind, data)


def _has_added(name: str, value: object) -> bool:
    if isinstance(value, Mapping):
        own = str(value.get(TAG, name))
        added = ADDED.get(own, ())
        return any(
            key in added or inner in NEW_WORDS.get((own, key), ()) or _has_added("", inner)
            for key, inner in value.items()
        )
    return isinstance(value, list) and any(_has_added("", item) for item in value)
