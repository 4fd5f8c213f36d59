"""What is said while pictures are drawn."""

import pytest

from pipeline.report.progress_bar import drawing


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_one_line_tells_how_many_and_quiet_tells_nothing(
    capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    with drawing(quiet=quiet) as progress:
        for done in range(3):
            progress(done, 3, "tsne_MN-to-MM")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("" if quiet else "drawing 3 figures;")
    assert said.err.count("\n") == (not quiet)
