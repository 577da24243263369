"""Lines of a report wait in a file."""

import tracemalloc

from nt_lightning.pool.overlap.listing import Listing


def test_lines_are_in_a_file_and_not_in_memory(tmp_path):
    listing = Listing(tmp_path / "new")
    entry = {"text": "x" * 10_000}
    tracemalloc.start()
    for _ in range(500):  # 5 MB
        listing.add(entry)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert len(listing) == 500
    listing.write(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").stat().st_size > 5e6


def test_lines_come_back_as_they_are(tmp_path):
    listing = Listing()
    listing.add({"a": "é\u2028\n"})
    assert list(listing) == ['{"a": "é\u2028\\n"}']
    listing.add({"b": "\ud800"})  # a lone surrogate, as JSON may hold it
    assert list(listing) == ['{"a": "é\u2028\\n"}', '{"b": "\\ud800"}']
    listing.write(tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert text == '{"a": "é\u2028\\n"}\n{"b": "\\ud800"}\n'
