"""Laws of reading: a host laid out as a tree, on disk or in a capture, is read back as it was."""

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from vfiokit.model.host import Host
from vfiokit.sysfs.archive import open_archive
from vfiokit.sysfs.capture import RecordingSource, pack
from vfiokit.sysfs.directory import DirectorySource
from vfiokit.sysfs.memory import MemorySource
from vfiokit.sysfs.scan import Part, scan
from vfiokit.testing import hosts, layout, write_tree


def same(read: Host, drawn: Host) -> None:
    """Compare all that was drawn; the problems are the scan's own."""
    assert replace(read, problems=()) == drawn


class Shuffled(MemorySource):
    """A tree that lists its directories in another order at every call."""

    def __init__(self, tree: MemorySource, random: random.Random) -> None:
        super().__init__("shuffled")
        self.__dict__.update(tree.__dict__)
        self._random = random

    def listdir(self, path: str) -> list[str]:
        names = super().listdir(path)
        self._random.shuffle(names)
        return names


class TestRoundTrip:
    @given(hosts())
    def test_a_tree_in_memory_gives_the_host_back(self, host: Host) -> None:
        same(scan(layout(host)), host)

    @given(hosts(readable=True))
    def test_a_readable_host_has_no_problems(self, host: Host) -> None:
        assert scan(layout(host)).problems == ()

    @given(hosts(readable=True, max_devices=8))
    @settings(max_examples=25)
    def test_a_tree_on_disk_gives_the_host_back(self, host: Host) -> None:
        with TemporaryDirectory() as directory:
            write_tree(layout(host), Path(directory))
            same(scan(DirectorySource(directory)), host)

    @given(hosts())
    def test_a_capture_gives_the_host_back(self, host: Host) -> None:
        recorder = RecordingSource(layout(host))
        read = scan(recorder)
        data = pack(recorder.tree, kernel="6.12", tool="test")
        assert scan(open_archive(data, "capture")) == read

    @given(hosts())
    def test_a_capture_holds_all_that_a_listing_reads(self, host: Host) -> None:
        recorder = RecordingSource(layout(host))
        scan(recorder)
        assert scan(recorder.tree, Part.LISTING) == scan(layout(host), Part.LISTING)

    @given(hosts(), st.randoms(use_true_random=False))
    def test_the_order_in_which_a_directory_lists_does_not_matter(
        self, host: Host, order: random.Random
    ) -> None:
        assert scan(Shuffled(layout(host), order)) == scan(layout(host))
