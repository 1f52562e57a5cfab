"""Run `vfiokit watch` in the guest while devices move, and leave what it printed: NAME.jsonl for each act.

The interval is longer than the test, so that a change can only have been seen because of an event.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import observe

SECONDS = 60
EVENTS = 10_000
"""More than the largest buffer holds: the kernel charges some 800 bytes for each."""


def main(edu: str, disk: str) -> None:
    """Watch drivers, an unplug and plug, and a burst that overflows the buffer of events."""
    watch("drivers", lambda _: drivers(observe.address_of(edu), observe.address_of(disk)), until="viable")
    watch("unplug", lambda _: unplug(observe.address_of(edu)), until="function-removed")
    watch("plug", lambda _: observe.write("/sys/bus/pci/rescan", "1"), until="function-added")
    watch("burst", lambda process: burst(process, observe.address_of(disk)), until="driver")


def watch(name: str, act: Callable[[subprocess.Popen[str]], None], until: str) -> None:
    """Start watching, act, and write down every line until one that speaks of *until*."""
    command = [sys.executable, "-m", "vfiokit", "watch", "--json", "--interval=600", f"--timeout={SECONDS}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()
        act(process)
        with open(f"{name}.jsonl", "w", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                if f'"change": "{until}"' in line:
                    break
        process.terminate()


def drivers(edu: str, disk: str) -> None:
    """Give the disk to VFIO, which makes its group viable; and say so of edu too."""
    observe.give(edu, "vfio-pci")
    observe.give(disk, "vfio-pci")


def unplug(address: str) -> None:
    """Take a function away as a hot unplug does."""
    observe.write(f"{observe.DEVICES}/{address}/remove", "1")


def burst(process: "subprocess.Popen[str]", address: str) -> None:
    """Make more events than the buffer holds while nobody reads, the one that counts among them."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    observe.give(address, "none")
    for _ in range(EVENTS):
        observe.write(f"{observe.DEVICES}/{address}/uevent", "change")
    observe.write_json("drops.json", drops(process.pid))
    process.send_signal(signal.SIGCONT)


def drops(pid: int) -> list[int]:
    """Return how many messages the kernel dropped for each socket that a process listens to it with."""
    with open("/proc/net/netlink", encoding="ascii") as file:
        heading, *rows = (line.split() for line in file)
    return [int(row[heading.index("Drops")]) for row in rows if int(row[heading.index("Pid")]) == pid]


if __name__ == "__main__":
    main(*sys.argv[1:])
