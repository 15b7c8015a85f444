"""The words of every Nix command."""

from __future__ import annotations

from fleetd.nix import commands

NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
SAFE = [
    "--no-update-lock-file",
    "--no-write-lock-file",
    "--no-use-registries",
    "--option",
    "accept-flake-config",
    "false",
]


def test_words() -> None:
    assert commands.publish("/nix/store/x", "s3://c") == [*NIX, "copy", "--to", "s3://c", "/nix/store/x"]
    assert commands.evaluate_flake("git+file:///x#a") == [*NIX, "eval", "--raw", *SAFE, "--", "git+file:///x#a.drvPath"]
    assert commands.evaluate_data("path:/x#fleet") == [*NIX, "eval", "--json", *SAFE, "--", "path:/x#fleet"]
    assert commands.lock("path:/x") == [*NIX, "flake", "metadata", "--json", *SAFE, "--", "path:/x"]
    assert commands.evaluate_file("./hive.nix", "web1") == ["nix-instantiate", "./hive.nix", "--attr", "web1"]
    assert commands.build("/nix/store/x.drv", "/r/a") == [
        *("nix-store", "--realise", "/nix/store/x.drv", "--add-root", "/r/a", "--indirect"),
        *("--keep-going", "--log-format", "internal-json"),
    ]
    assert commands.keep(["/nix/store/x", "/nix/store/y"], "/r/a") == [
        *("nix-store", "--realise", "/nix/store/x", "/nix/store/y", "--add-root", "/r/a", "--indirect"),
        *("--option", "substitute", "false"),
    ]
    assert commands.keep_derivation("/nix/store/x.drv", "/r/a") == [
        *("nix-instantiate", "--add-root", "/r/a", "--indirect", "--expr", "import /nix/store/x.drv")
    ]
    assert commands.invalid(["/nix/store/x"]) == ["nix-store", "--check-validity", "--print-invalid", "/nix/store/x"]
    assert commands.path_info("/nix/store/x") == [
        *NIX,
        "path-info",
        "--offline",
        "--json",
        "--recursive",
        "/nix/store/x",
    ]


def test_no_text_of_a_user_is_an_option() -> None:
    assert commands.evaluate_file("--eval", "--strict")[1:] == ["./--eval", "--attr", "--strict"]
    for argv in (commands.lock("--help"), commands.evaluate_flake("--help")):
        assert argv[-2] == "--"
