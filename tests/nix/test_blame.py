"""What differs, and what of it the failing units use first."""

from __future__ import annotations

from dataclasses import replace

from fleetd.nix.blame import blame
from fleetd.ports import PathInfo
from tests.nix.test_diff import BASE, info


def using(one: PathInfo, *others: PathInfo) -> PathInfo:
    return replace(one, references=tuple(other.path for other in others))


def systems() -> tuple[list[PathInfo], list[PathInfo]]:
    openssl_old, openssl = info("openssl-3.0.13"), info("openssl-3.0.14")
    nginx_old, nginx = using(info("nginx-1.26.0"), openssl_old), using(info("nginx-1.28.0"), openssl)
    before = [*BASE, openssl_old, nginx_old, using(info("unit-web.service", "1"), nginx_old), info("ant-1.10.1")]
    after = [
        *BASE,
        openssl,
        nginx,
        using(info("unit-web.service", "2"), nginx),
        info("ant-1.10.2"),
        info("unit-a.timer"),
    ]
    return before, after


def test_what_a_failing_unit_uses_comes_first_and_the_nearest_before_all() -> None:
    assert blame(*systems(), ["web.service"]) == (
        "units web.service, +a.timer; packages nginx 1.26.0 -> 1.28.0, openssl 3.0.13 -> 3.0.14, ant 1.10.1 -> 1.10.2"
    )


def test_without_a_failing_unit_everything_is_told_by_name() -> None:
    assert blame(*systems(), []) == (
        "units +a.timer, web.service; packages ant 1.10.1 -> 1.10.2, nginx 1.26.0 -> 1.28.0, openssl 3.0.13 -> 3.0.14"
    )


def test_what_was_rebuilt_is_told_where_a_failing_unit_uses_it() -> None:
    old, new = info("zlib-1.3", "1"), info("zlib-1.3", "2")
    unit = using(info("unit-web.service", "2"), new)
    before, after = [*BASE, old, info("unit-web.service", "1")], [*BASE, new, unit]
    assert blame(before, after, ["web.service"]) == "units web.service; packages zlib (rebuilt)"
    assert blame(before, after, ["sshd.service"]) == "units web.service"


def test_a_kernel_is_told_and_long_lists_end_with_a_number() -> None:
    many = [info(f"p{number:02d}-1.0") for number in range(20)]
    told = blame(BASE, [*BASE[:3], info("linux-6.18.2"), info("initrd-linux-6.18.2"), *many], [])
    assert told.endswith("; kernel 6.12.1 -> 6.18.2")
    assert " and 14 more" in told


def test_of_the_same_system_there_is_nothing_to_tell() -> None:
    assert blame(BASE, BASE, ["sshd.service"]) == ""
