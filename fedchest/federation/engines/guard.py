"""Runs one command for an owner that may die: whatever becomes of the owner, the command ends with it.

Started as a script by its path, with the standard library only, so that it costs milliseconds and a few megabytes.
The owner holds the other end of its standard input; a pipe closes by itself however its owner ended, kill -9 included.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5.0


def main() -> int:
    """Run the command given as arguments and return its status; end it and its children when the owner lets go."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is meant for the command, the guard stays to the end
    threading.Thread(target=_end_with_owner, args=(command,), daemon=True).start()
    status = command.wait()
    os.killpg(0, signal.SIGTERM)
    return status if status >= 0 else 128 - status


def _end_with_owner(command: "subprocess.Popen[bytes]") -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        command.wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
