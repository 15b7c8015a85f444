"""A stand-in for nix-eval-jobs, which is not to be had here: its words and lines as its README and source have them.

It takes the same options and the same kind of expression, which Nix itself must take for one; the attributes are then
evaluated with the real Nix, one after the other. ``$STAND_IN_LOG`` gets a line for each run; ``$STAND_IN_FAULT`` makes
it end early (``dies``), say nothing of the last attribute (``silent``), never end with it (``stuck``), or never begin
(``hangs``).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

FLAGS = ("--extra-experimental-features", "nix-command flakes")


def line(expression: str, attribute: str) -> dict[str, object]:
    argv = ["nix", *FLAGS, "eval", "--raw", "--expr", f'({expression})."{attribute}".drvPath']
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    start: dict[str, object] = {"attr": f'"{attribute}"', "attrPath": [attribute]}
    if done.returncode != 0:
        return {**start, "error": done.stderr}
    path = done.stdout
    return {**start, "drvPath": path, "name": path[44:-4], "outputs": {"out": "/nix/store/x"}, "system": "x86_64-linux"}


def main() -> int:
    words = sys.argv[1:]
    for option in ("--workers", "--max-memory-size", "--expr"):
        assert option in words, option
    expression = words[words.index("--expr") + 1]
    assert "builtins.getFlake" in expression, expression
    names = re.findall(r'"([^"]+)" = flake\.', expression)
    with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
        log.write(json.dumps(words) + "\n")
    # Only parsed, and its variables bound: a name in it that is none ends the real one before the first attribute too.
    check = ["nix-instantiate", "--parse", "--expr", expression]
    parsed = subprocess.run(check, capture_output=True, text=True, check=False)
    if parsed.returncode != 0:
        sys.stderr.write(parsed.stderr)
        return 1
    fault = os.environ.get("STAND_IN_FAULT", "")
    if fault == "hangs":
        time.sleep(600)
    for name in names[: len(names) - (fault in ("silent", "stuck"))]:
        print(json.dumps(line(expression, name)), flush=True)
        if fault == "dies":
            sys.stderr.write("error: worker ran out of memory\n")
            return 1
    if fault == "stuck":
        time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
