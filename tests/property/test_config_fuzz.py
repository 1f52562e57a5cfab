"""A little of the fuzz script in every run: mutated config spaces never raise."""

from tests.property.fuzz_config import run


def test_mutated_spaces() -> None:
    *_, (checked, _) = run(150, seed=7)
    assert checked == 150
