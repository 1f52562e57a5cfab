"""Where vfiokit keeps what it must remember, and how to put it elsewhere."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Places"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories of the state; each can be set by an environment variable.

    :ivar run: locks; gone after a reboot. ``VFIOKIT_RUN_DIR``.
    :ivar state: journals and records. ``VFIOKIT_STATE_DIR``.
    :ivar config: what is bound at boot. ``VFIOKIT_CONFIG_DIR``.
    :ivar rules: udev's rules. ``VFIOKIT_UDEV_DIR``.
    :ivar driverctl: files of that tool. ``VFIOKIT_DRIVERCTL_DIR``.
    """

    run: Path = Path("/run/vfiokit")
    state: Path = Path("/var/lib/vfiokit")
    config: Path = Path("/etc/vfiokit")
    rules: Path = Path("/etc/udev/rules.d")
    driverctl: Path = Path("/etc/driverctl.d")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Places":
        """Return the places that the environment sets, else the usual ones."""
        values = os.environ if environment is None else environment
        names = {
            "run": "RUN",
            "state": "STATE",
            "config": "CONFIG",
            "rules": "UDEV",
            "driverctl": "DRIVERCTL",
        }
        given = {field: values.get(f"VFIOKIT_{name}_DIR") for field, name in names.items()}
        return cls(**{field: Path(value) for field, value in given.items() if value})
