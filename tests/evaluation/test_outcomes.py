"""Outcomes image by image: appended as they come, taken up after a kill, refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from puvae_rt.errors import ResultsError
from puvae_rt.evaluation.outcomes import (
    Outcome,
    attack_in_turn,
    broken_by,
    devices_of,
    image_names,
    image_set,
    outcome_fields,
    outcome_file,
    read_outcomes,
    standing_of,
)

IMAGES, LABELS = torch.rand(5, 1, 4, 4), torch.arange(5)
SETTINGS = {"dataset": "d", "classifier": "A", "defense": "none", "attack": "square", "epsilon": 0.3, "seed": 7}


class Attack:
    """Breaks images of odd labels; counts its calls, and dies at one of them."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.calls: list[list[int]] = []
        self.draws: list[float] = []
        self.dies_at = dies_at

    def __call__(self, x: Tensor, y: Tensor) -> Sequence[str]:
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append(y.tolist())
        self.draws.append(float(torch.rand(1)))
        return ["square" if label % 2 else "" for label in y.tolist()]


def run(path: Path, attack: Attack, n: int = 5, chunk: int = 2, gpu: str | None = None) -> list[Outcome]:
    seconds = iter(range(1000))
    return attack_in_turn(path, SETTINGS, IMAGES[:n], LABELS[:n], chunk, attack, lambda: float(next(seconds)), gpu)


def test_a_killed_run_goes_on_behind_the_last_chunk_with_the_same_chance(tmp_path: Path) -> None:
    whole, first, second = Attack(), Attack(dies_at=2), Attack()
    expected = run(tmp_path / "whole.jsonl", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "file.jsonl", first)
    assert run(tmp_path / "file.jsonl", second) == expected
    assert (first.calls, second.calls) == ([[0, 1], [2, 3]], [[4]])
    assert first.draws + second.draws == whole.draws and len(set(whole.draws)) == 3
    assert [o.broken_by for o in expected] == ["", "square", "", "square", ""] and expected[0].seconds == 0.5
    assert broken_by(expected) == {"square": 2}
    third = Attack()
    assert run(tmp_path / "file.jsonl", third) == expected and not third.calls


def test_a_line_cut_short_is_made_again_and_more_images_are_added(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    expected = run(path, Attack())
    run(path, Attack(), n=4)
    path.write_bytes(path.read_bytes()[:-5])
    attack = Attack()
    assert run(path, attack) == expected and attack.calls == [[4]]


def test_a_gpu_goes_on_where_a_cpu_was_killed_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, Attack(dies_at=1))
    assert "device" not in path.read_text(), "a CPU goes without saying, as in older files"
    second = Attack()
    outcomes = run(path, second, gpu="a GPU")
    assert second.calls == [[2, 3], [4]]
    assert [outcome.device for outcome in outcomes] == [None, None, "a GPU", "a GPU", "a GPU"]
    assert devices_of(outcomes) == {"CPU": 2, "a GPU": 3} and devices_of(outcomes[:2]) == {}
    assert run(path, Attack()) == outcomes


@pytest.mark.parametrize(
    ("line", "text", "told"),
    [
        (1, '{"image": "a", "broken_by": ""}', "line 2: seconds: got nothing"),
        (2, "{", "line 3: not readable"),
        (2, '{"image": "a", "broken_by": 3, "seconds": 1}', "line 3: broken_by"),
        (0, '{"format": 2, "settings": {}}', "format 2, this version reads 1"),
        (0, '{"format": 1, "settings": {}}', "outcomes of other settings"),
    ],
)
def test_a_damaged_file_is_refused(line: int, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    run(path, Attack())
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ResultsError, match=told):
        read_outcomes(path, SETTINGS)


def test_a_file_is_named_by_what_decides_its_outcomes_but_not_by_their_number(tmp_path: Path) -> None:
    path, settings = outcome_file(tmp_path, SETTINGS | {"n": 3})
    assert path.parent == tmp_path / "d" / "outcomes" and path.name.startswith("A-none-square-0.3-")
    assert settings == SETTINGS
    assert outcome_file(tmp_path, SETTINGS | {"n": 5})[0] == path
    assert outcome_file(tmp_path, SETTINGS | {"seed": 8})[0] != path


def test_images_are_known_by_their_pixels_and_labels() -> None:
    assert len(set(image_names(IMAGES, LABELS))) == 5
    assert image_names(IMAGES, LABELS)[0] != image_names(IMAGES, LABELS + 1)[0]
    assert image_set(IMAGES, LABELS) == image_set(IMAGES.clone(), LABELS) != image_set(IMAGES.flip(0), LABELS)


def test_fields_of_a_row_hold_every_image() -> None:
    standing = torch.tensor([True, False, True, True, False])
    row = outcome_fields(standing, IMAGES, LABELS)
    assert (row["n"], row["accuracy"], row["standing"]) == (5, 0.6, "10110")
    assert torch.equal(standing_of(json.loads(json.dumps(row))), standing)
