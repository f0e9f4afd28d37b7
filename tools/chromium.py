"""Make sure that there is a Chromium for the browser test: Debian's package where it can be installed.

Prints what it did. Never fails: without a browser the test says why it is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess

INSTALL = [
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
]


def main() -> None:
    if found := shutil.which("chromium"):
        print(f"browser for tests: {found}")
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        print("no chromium here, and it can't be installed without apt-get and root: the browser test will be skipped")
        return
    print("installing chromium for the browser test", flush=True)
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in INSTALL:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
        if done.returncode:
            print(f"{' '.join(command)} failed, the browser test will be skipped: {done.stderr.strip()[-300:]}")
            return
    print(f"browser for tests: {shutil.which('chromium')}")


if __name__ == "__main__":
    main()
