"""Every file of this folder that ends in .txt is a story; README.md explains the words."""

from __future__ import annotations

from pathlib import Path

import pytest

from .runner import ScenarioError, read, run

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=[path.stem for path in STORIES])
def test_story_goes_as_told(path: Path) -> None:
    scenario = read(path)
    runs = run(scenario)
    assert runs > 1 or scenario.interrupt is None


def test_there_are_at_least_thirty_stories() -> None:
    assert len(STORIES) >= 30


def test_a_line_that_is_not_understood_fails_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("given nothing protected yet\ndance on a\n")
    with pytest.raises(ScenarioError, match=r"story\.txt:2: dance on a"):
        run(read(path))


def test_an_empty_story_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("# nothing\n")
    with pytest.raises(ScenarioError, match="nothing happens"):
        read(path)
