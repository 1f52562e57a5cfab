"""QEMU before its first instruction: firmware files, PCI configuration and registers over a qtest socket.

QEMU builds its ACPI tables when they are first asked for, from the bus numbers its bridges then have. So
a test numbers the buses as firmware would, and reads the tables after. No guest runs.
"""

import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from vfiokit.address import PciAddress

__all__ = ["QEMU", "QTest", "needs_qemu", "qemu_major", "qtest"]

QEMU = "qemu-system-x86_64"

_FW_CFG_DMA_HIGH, _FW_CFG_DMA_LOW = 0x514, 0x518
_FW_CFG_FILE_DIR = 0x19
_DMA_SELECT, _DMA_READ = 0x08, 0x02
_CONTROL_AT, _BUFFER_AT = 0x1000, 0x10000
_CONFIG_ADDRESS, _CONFIG_DATA = 0xCF8, 0xCFC


@cache
def qemu_major() -> int:
    """Return QEMU's major version, 0 if it is not installed."""
    path = shutil.which(QEMU)
    if path is None:
        return 0
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"version (\d+)\.", said)
    return int(found[1]) if found else 0


needs_qemu = pytest.mark.skipif(
    qemu_major() < 10, reason=f"ORACLE NOT RUN: {QEMU} of version 10 or later is missing"
)


class QTest:
    """A stopped QEMU, spoken to line by line."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")

    def command(self, line: str) -> list[str]:
        """Send *line* and return the words after ``OK``."""
        self._stream.write(line.encode() + b"\n")
        self._stream.flush()
        words = self._stream.readline().decode().split()
        assert words[:1] == ["OK"], f"{line}: {words}"
        return words[1:]

    def read(self, address: int, size: int) -> bytes:
        """Read physical memory."""
        return bytes.fromhex(self.command(f"read {address:#x} {size:#x}")[0][2:])

    def read64(self, address: int) -> int:
        """Read a 64-bit register."""
        return int(self.command(f"readq {address:#x}")[0], 16)

    def config_read(self, function: PciAddress, offset: int) -> int:
        """Read an aligned dword of config space by configuration mechanism 1."""
        self.command(f"outl {_CONFIG_ADDRESS:#x} {1 << 31 | function.source_id << 8 | offset:#x}")
        return int(self.command(f"inl {_CONFIG_DATA:#x}")[0], 16)

    def config_write(self, function: PciAddress, offset: int, value: int) -> None:
        """Write an aligned dword of config space by configuration mechanism 1."""
        self.command(f"outl {_CONFIG_ADDRESS:#x} {1 << 31 | function.source_id << 8 | offset:#x}")
        self.command(f"outl {_CONFIG_DATA:#x} {value:#x}")

    def number_bus(self, bridge: PciAddress, secondary: int, subordinate: int) -> None:
        """Give *bridge* its bus numbers, as firmware would."""
        self.config_write(bridge, 0x18, subordinate << 16 | secondary << 8 | bridge.bus)

    def table(self, signature: str) -> bytes:
        """Return the ACPI table with *signature* as QEMU hands it to firmware, without a checksum."""
        blob = self.firmware_file("etc/acpi/tables")
        offset = 0
        while offset + 8 <= len(blob):
            found, length = struct.unpack_from("<4sI", blob, offset)
            if found == signature.encode():
                return blob[offset : offset + length]
            offset += length or len(blob)
        raise AssertionError(f"QEMU made no {signature}")

    def firmware_file(self, name: str) -> bytes:
        """Read a file of fw_cfg by its DMA interface."""
        (count,) = struct.unpack(">I", self._firmware_read(_FW_CFG_FILE_DIR, 4))
        directory = self._firmware_read(_FW_CFG_FILE_DIR, 4 + 64 * count)
        for size, key, _, found in struct.iter_unpack(">IHH56s", directory[4:]):
            if found.rstrip(b"\0").decode() == name:
                return self._firmware_read(key, size)
        raise AssertionError(f"QEMU offers no {name}")

    def _firmware_read(self, key: int, size: int) -> bytes:
        control = struct.pack(">IIQ", key << 16 | _DMA_SELECT | _DMA_READ, size, _BUFFER_AT)
        self.command(f"write {_CONTROL_AT:#x} {len(control):#x} 0x{control.hex()}")
        # The register is big endian and an I/O port is not: the low half of the address goes in reversed.
        self.command(f"outl {_FW_CFG_DMA_HIGH:#x} 0x0")
        self.command(
            f"outl {_FW_CFG_DMA_LOW:#x} {int.from_bytes(_CONTROL_AT.to_bytes(4, 'big'), 'little'):#x}"
        )
        assert self.read(_CONTROL_AT, 4) == bytes(4), f"fw_cfg refused key {key:#x}"
        return self.read(_BUFFER_AT, size)


@contextmanager
def qtest(*options: str) -> Iterator[QTest]:
    """Start QEMU with *options*, its processor stopped, and stop it at the end."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory, "qtest")
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(60)
        # The log of a qtest session goes to stderr unless told, and is as long as all that it says.
        fixed = (
            "-nodefaults",
            "-display",
            "none",
            "-S",
            "-m",
            "64",
            "-accel",
            "tcg",
            "-qtest-log",
            "/dev/null",
        )
        errors = Path(directory, "errors")
        with errors.open("wb") as stderr:
            process = subprocess.Popen([QEMU, *fixed, "-qtest", f"unix:{path}", *options], stderr=stderr)
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(60)
                yield QTest(connection)
        except (TimeoutError, ConnectionError) as error:
            raise AssertionError(f"QEMU: {errors.read_text().strip()}") from error
        finally:
            process.terminate()
            process.wait(timeout=60)
