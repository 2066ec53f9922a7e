"""Between root and the sandbox: ``launch.py drop|keep FOLDER … -- COMMAND …``.

Makes the folders reachable for everybody in mounts of our own, then runs COMMAND, with ``drop`` as nobody.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # not the package: that would import torch, as root

import confine

NOBODY = 65534


def main() -> None:
    """Become what the sandbox may start as."""
    end = sys.argv.index("--")
    who, folders, command = sys.argv[1], sys.argv[2:end], sys.argv[end + 1 :]
    confine.open_the_way(folders)
    if who == "drop":
        confine.become(NOBODY)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
