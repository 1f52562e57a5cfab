"""Record the guest, after the steps asked for, into a redacted capture: host.tar.xz."""

import sys

import observe

from vfiokit.cli import main

if __name__ == "__main__":
    for step in sys.argv[1:]:
        observe.take(step)
    sys.exit(main(["capture", "--redact", "--force", "host.tar.xz"]))
