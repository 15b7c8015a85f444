"""Every error that crosses a room's border, one class per decision a caller can make.

::

    FleetdError                 kind on the wire; exit code of ``fleetctl``
    ├── UsageError              the request is malformed                      (exit 1, HTTP 400)
    │   ├── ConfigError         a configuration or fleet file is wrong, with its place
    │   ├── SelectorError       a selector names what is not there
    │   └── ToplevelError       a store path is not a toplevel of that host
    ├── RefusedError            understood, and policy says no                (exit 4, HTTP 409)
    │   ├── NotFastForward      a commit does not contain the one deployed last
    │   └── UntrustedCommit     nobody who may has signed a commit
    ├── NotFoundError           no such rollout, host, hook                   (exit 1, HTTP 404)
    │   └── GoneError           it was there, and is kept no more               (HTTP 410)
    ├── UnauthorizedError       no or wrong credentials                       (exit 1, HTTP 401)
    ├── OverloadedError         a bounded queue is full; try again            (exit 6, HTTP 503)
    ├── SourceError             evaluation or build failed, in Nix's words    (exit 7, HTTP 422)
    ├── JournalError            the journal cannot be read or written; the process ends
    │   ├── CorruptJournal      a record is damaged or missing; the text names its place and what to do
    │   └── NewerJournal        a record is of a later release
    ├── HostError               one host, one contact
    │   ├── Unreachable         no connection was made: the host did nothing
    │   │   └── HostFull        a connection was made, and the host has no room for the helper
    │   ├── HostIdentityError   the host key is not the known one; both fingerprints are in the text
    │   ├── LoginRefused        the host answered and refused the user or key
    │   ├── OutcomeUnknown      the order may or may not have been carried out
    │   └── OrderRefused        the helper refused; carries its code
    └── PushError               a closure did not arrive; says which path and why
"""

from __future__ import annotations


class FleetdError(Exception):
    """Something went wrong and the text says what, where, and what would be right."""

    kind = "internal"
    exit_code = 1
    http_status = 500


class UsageError(FleetdError):
    """The request cannot be carried out as written."""

    kind = "usage"
    http_status = 400


class ConfigError(UsageError):
    """A configuration or fleet file is wrong; each line of the text names a place and what would be right."""

    kind = "configuration"


class SelectorError(UsageError):
    """A selector does not parse, or names a host, tag or domain that does not exist."""

    kind = "selector"


class ToplevelError(UsageError):
    """A path is not a toplevel, is not in the store, or belongs to another host or system."""

    kind = "toplevel"


class RefusedError(FleetdError):
    """Understood, and a policy says no; the text names the policy."""

    kind = "refused"
    exit_code = 4
    http_status = 409


class NotFastForward(RefusedError):
    """The commit does not contain the one that was deployed last; the text names both."""

    kind = "not-fast-forward"


class UntrustedCommit(RefusedError):
    """The commit has no signature of anybody who is allowed to sign."""

    kind = "untrusted-commit"


class NotFoundError(FleetdError):
    """There is nothing of that name."""

    kind = "not-found"
    http_status = 404


class GoneError(NotFoundError):
    """It was there, and is kept no more."""

    kind = "gone"
    http_status = 410


class UnauthorizedError(FleetdError):
    """Credentials are missing or wrong; the text does not say which."""

    kind = "unauthorized"
    http_status = 401


class ForbiddenError(FleetdError):
    """The credentials are good and their scope does not reach."""

    kind = "forbidden"
    exit_code = 4
    http_status = 403


class OverloadedError(FleetdError):
    """A bounded queue is full; the same request may pass later."""

    kind = "overloaded"
    exit_code = 6
    http_status = 503


class SourceError(FleetdError):
    """Evaluation or build failed; the text carries Nix's own message."""

    kind = "source"
    exit_code = 7
    http_status = 422


class JournalError(FleetdError):
    """The journal cannot be read or written, or another process owns it."""

    kind = "journal"


class CorruptJournal(JournalError):
    """Something of the journal is damaged or missing: nothing is repaired and nothing started.

    ``what`` names the place and what is wrong with it; what to do is said here, once for all of them.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. No record was changed, and hosts go on without fleetd: those in trial go back by themselves."
            " Keep a copy of the state directory, restore it from a backup, and run `fleetd recover` before fleetd"
            " starts (docs/operations.md)"
        )


class NewerJournal(JournalError):
    """A record was written by a later release than this program."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(
            f"{place} was written by a newer fleetd, or is damaged: {what}. No record was changed. Start the release"
            " that wrote it, or restore the state directory from a backup of this one and run `fleetd recover`"
            " (docs/operations.md)"
        )


class HostError(FleetdError):
    """One contact with one host went wrong."""

    kind = "host"


class Unreachable(HostError):
    """No connection was made, so the host did nothing."""

    kind = "unreachable"


class HostFull(Unreachable):
    """The host let us in and has no room for the helper, so it did nothing."""

    kind = "disk-full"


class HostIdentityError(HostError):
    """The host key is not the known one: never retried, a person decides."""

    kind = "host-identity"


class LoginRefused(HostError):
    """The host answered and refused the user, the key, or the privilege command: it did nothing."""

    kind = "login-refused"


class OutcomeUnknown(HostError):
    """The link died, or the reply was cut: the order may or may not have been carried out."""

    kind = "outcome-unknown"


class OrderRefused(HostError):
    """The helper on the host refused or failed an order.

    ``code`` is the helper's own word, such as ``stale-fence``, ``drifted`` or ``wrong-host``.
    """

    kind = "order-refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PushError(FleetdError):
    """A closure did not arrive on a host.

    ``code`` is one of ``disk-full``, ``hash-mismatch``, ``rejected``, ``no-nix``, ``too-old``, ``stalled``, ``lost``.
    """

    kind = "push"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
