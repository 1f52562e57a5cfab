"""What vfiokit has moved and where it came from: a file a function, kept until it is given back."""

import json
import os
from pathlib import Path

from vfiokit.address import PciAddress
from vfiokit.binding.codec import decode_record, encode
from vfiokit.binding.goal import Move
from vfiokit.binding.journal import sync_directory
from vfiokit.binding.plan import Record
from vfiokit.errors import UsageError, VfiokitError

__all__ = ["Records"]

_SUFFIX = ".json"


class Records:
    """The records in a directory.

    :param directory: made at the first record.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> dict[PciAddress, Record]:
        """Return every record, by address.

        :raises VfiokitError: if one cannot be read: giving back from what is damaged would be guessing.
        """
        found = {}
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            try:
                record = decode_record(path.read_text(encoding="utf-8"))
            except (OSError, UsageError) as error:
                raise VfiokitError(str(error), operation="read record", subject=str(path)) from error
            found[record.address] = record
        return found

    def add(self, moves: tuple[Move, ...]) -> None:
        """Keep where functions came from; one that is kept already keeps the older origin."""
        present = self.all()
        for move in moves:
            if move.address not in present:
                self._write(
                    Record(
                        address=move.address, identity=move.identity, original=move.before, home=move.home
                    )
                )

    def drop(self, address: PciAddress) -> None:
        """Forget a function that is back."""
        self._path(address).unlink(missing_ok=True)

    def _write(self, record: Record) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(record.address)
        beside = path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as stream:
            json.dump(encode(record), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_directory(self._directory)

    def _path(self, address: PciAddress) -> Path:
        return self._directory / f"{address}{_SUFFIX}"
