"""Selectors: which hosts. Names, globs, ``@tag``, ``domain:x``; ``,`` is or, ``&`` is and, ``!`` is not.

``&`` binds tighter than ``,``: ``@web & !web1, db1`` is every web host but web1, and db1. There are no brackets; no
operator has ever missed them in colmena's or ansible's patterns.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from fleetd.errors import SelectorError
from fleetd.model.fleet import Fleet, Host

EVERY = "*"

PATTERNS_LIMIT = 100
"""Each is held against every host, 3 ms for 10,000 of them, while nothing else happens: trials wait to be extended. Any
number of plain names may be selected."""


def select(fleet: Fleet, selector: str) -> tuple[str, ...]:
    """Return the names of the selected hosts, in the fleet's order.

    Raises:
        SelectorError: a term is empty, or a name, tag or domain in it does not exist. A pattern that matches nothing
            is an error as well: a typo must never select an empty fleet and report success. Or there are more than
            PATTERNS_LIMIT terms that are no plain names.
    """
    hits: dict[str, frozenset[str]] = {}
    wanted: set[str] = set()
    for part in dict.fromkeys(part.strip() for part in selector.split(",")):
        wanted |= _conjunction(fleet, part, selector, hits)
    return tuple(name for name in fleet.hosts if name in wanted)


def _conjunction(fleet: Fleet, text: str, whole: str, hits: dict[str, frozenset[str]]) -> frozenset[str]:
    return frozenset.intersection(*(_term(fleet, term.strip(), whole, hits) for term in text.split("&")))


def _term(fleet: Fleet, term: str, whole: str, hits: dict[str, frozenset[str]]) -> frozenset[str]:
    negated = term.startswith("!")
    word = term.removeprefix("!").strip()
    if not word:
        raise SelectorError(f"selector {whole!r} has an empty term")
    if word in fleet.hosts:
        hit = frozenset((word,))
    elif (known := hits.get(word)) is not None:
        hit = known
    else:
        if len(hits) >= PATTERNS_LIMIT:
            raise SelectorError(f"a selector has at most {PATTERNS_LIMIT} different patterns, tags and domains")
        hit = hits[word] = frozenset(host.name for host in fleet.hosts.values() if _matches(host, word))
    if not hit:
        raise SelectorError(f"selector {whole!r}: {_missing(fleet, word)}")
    return frozenset(fleet.hosts) - hit if negated else hit


def _matches(host: Host, word: str) -> bool:
    if word.startswith("@"):
        return word[1:] in host.tags
    if word.startswith("domain:"):
        return host.domain == word.removeprefix("domain:")
    return fnmatchcase(host.name, word)


def _missing(fleet: Fleet, word: str) -> str:
    if word.startswith("@"):
        return f"no host has the tag {word[1:]!r} (there are: {_list(t for h in fleet.hosts.values() for t in h.tags)})"
    if word.startswith("domain:"):
        domains = _list(host.domain for host in fleet.hosts.values())
        return f"no host is in the domain {word.removeprefix('domain:')!r} (there are: {domains})"
    return f"no host matches {word!r} (there are: {_list(fleet.hosts)})"


def _list(words: Iterable[str], most: int = 12) -> str:
    every = sorted(set(words))
    shown = ", ".join(every[:most])
    return (shown + ", …" if len(every) > most else shown) or "none"
