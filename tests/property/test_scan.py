"""Laws of reading: a host laid out as a tree, on disk or in a capture, is read back as it was."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from vfiokit.model.host import Host
from vfiokit.sysfs.archive import open_archive
from vfiokit.sysfs.capture import RecordingSource, pack
from vfiokit.sysfs.directory import DirectorySource
from vfiokit.sysfs.scan import Part, scan
from vfiokit.testing import hosts, layout, write_tree


def same(read: Host, drawn: Host) -> None:
    """Compare all that was drawn; the problems are the scan's own."""
    assert replace(read, problems=()) == drawn


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
