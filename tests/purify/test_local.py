"""`puvae purify` on one machine: every kind of files, resumed after a kill, broken ones counted, nothing twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from puvae_rt.cli.command import load
from puvae_rt.errors import ContractError, DataError
from puvae_rt.purify import PurifyBatch
from puvae_rt.purify.run import Summary, here, make_job, run
from puvae_rt.video.files import FileSource

ROOT = Path(__file__).parents[2]


def purify(source: Any, output: Any, batch: PurifyBatch, max_errors: int = 0, **settings: Any) -> Summary:
    return run(*make_job(str(source), str(output), batch, **settings), here(batch), max_errors)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_of_png_becomes_one(folder: Path, tmp_path: Path, batch: PurifyBatch, pixels: np.ndarray) -> None:
    summary = purify(folder, tmp_path / "out", batch)
    assert (summary.rows, summary.before, summary.errors) == (10, 0, 0)
    expected = batch({"image": pixels})
    rows = table(tmp_path / "out" / "results.csv")
    assert [row["row"] for row in rows] == [f"{'a' if n < 5 else 'b'}/{n}.png" for n in range(10)]
    for number, row in enumerate(rows):
        image = cv2.imread(str(tmp_path / "out" / row["image"]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(image, expected["image"][number])
        assert int(row["label"]) == expected["label"][number] and row["bundle"] == batch.identity
        assert float(row["rmse"]) == pytest.approx(expected["rmse"][number])


def test_run_again_it_does_nothing_and_new_files_alone(folder: Path, tmp_path: Path, batch: PurifyBatch) -> None:
    purify(folder, tmp_path / "out", batch)
    before = contents(tmp_path / "out")
    again = purify(folder, tmp_path / "out", batch)
    assert (again.rows, again.before) == (0, 10) and contents(tmp_path / "out") == before
    shutil.copy(folder / "a" / "0.png", folder / "new.png")
    assert purify(folder, tmp_path / "out", batch).rows == 1
    assert len(table(tmp_path / "out" / "results.csv")) == 11
    (folder / "new.png").write_bytes(b"other")
    with pytest.raises(ContractError, match="was changed since OUTPUT was begun"):
        purify(folder, tmp_path / "out", batch)


def test_another_jobs_output_is_refused(folder: Path, tmp_path: Path, batch: PurifyBatch, bundle: Path) -> None:
    purify(folder, tmp_path / "out", batch)
    with pytest.raises(ContractError, match="begun with batch 4, now got 5"):
        purify(folder, tmp_path / "out", PurifyBatch(bundle, batch=5, threads=1))
    with pytest.raises(ContractError, match="none of `puvae purify`"):
        purify(folder, folder.parent / "bundle", batch)


def test_broken_images_are_counted_and_listed(folder: Path, tmp_path: Path, batch: PurifyBatch) -> None:
    (folder / "a" / "broken.png").write_bytes(b"no image")
    (folder / "note.txt").write_text("left out")
    with pytest.raises(DataError, match=r"1 rows or files are broken, expected at most 0 \(such as a/broken.png"):
        purify(folder, tmp_path / "out", batch)
    summary = purify(folder, tmp_path / "out", batch, max_errors=1)
    assert (summary.before + summary.rows, summary.errors, summary.left_out) == (11, 1, 1)
    (row,) = [row for row in table(tmp_path / "out" / "results.csv") if row["error"]]
    assert row["row"] == "a/broken.png" and row["degraded"] == "True" and not row["image"]
    assert not (tmp_path / "out" / "a" / "broken.png").exists()


def test_npz(tmp_path: Path, batch: PurifyBatch, pixels: np.ndarray) -> None:
    np.savez(tmp_path / "in.npz", images=pixels, label=np.arange(10))
    assert purify(tmp_path / "in.npz", tmp_path / "out", batch).rows == 10
    expected = batch({"image": pixels})
    with np.load(tmp_path / "out" / "in.npz") as found:
        np.testing.assert_array_equal(found["images"], expected["image"])
        np.testing.assert_array_equal(found["label"], expected["label"])
        np.testing.assert_array_equal(found["input_label"], np.arange(10))
    again = purify(tmp_path / "in.npz", tmp_path / "out", batch)
    assert (again.rows, again.before) == (0, 10)
    (tmp_path / "bad.npz").write_bytes(b"PK damaged")
    assert purify(tmp_path / "bad.npz", tmp_path / "bad", batch, max_errors=1).errors == 1


def test_video(tmp_path: Path, batch: PurifyBatch, pixels: np.ndarray) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (28, 28))
    for image in pixels:
        writer.write(np.repeat(image[..., None], 3, 2))
    writer.release()
    assert purify(tmp_path / "in.avi", tmp_path / "out", batch).rows == 10
    frames = [frame.image for frame in FileSource(tmp_path / "out" / "in.avi.mkv")]
    expected = batch({"image": pixels})
    np.testing.assert_array_equal(np.stack(frames)[..., 0], expected["image"])
    rows = table(tmp_path / "out" / "in.avi.csv")
    assert [int(row["label"]) for row in rows] == expected["label"].tolist() and rows[9]["row"] == "in.avi#9"
    assert purify(tmp_path / "in.avi", tmp_path / "out", batch).rows == 0


@pytest.mark.parametrize("form", ["binary", "struct", "tensor", "lists"])
def test_parquet(form: str, tmp_path: Path, batch: PurifyBatch, pixels: np.ndarray) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = [cv2.imencode(".png", image)[1].tobytes() for image in pixels]
    column = {
        "binary": lambda: pa.array(files),
        "struct": lambda: pa.array([{"bytes": file, "path": None} for file in files]),
        "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(pixels),
        "lists": lambda: pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8()))),
    }[form]()
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": range(10), "image": column}), tmp_path / "in" / "t.parquet", row_group_size=3)
    assert purify(tmp_path / "in", tmp_path / "out", batch).rows == 10
    found = pq.read_table(tmp_path / "out").sort_by("id")
    expected = batch({"image": pixels})
    assert found["id"].to_pylist() == list(range(10)) and found["row"][9].as_py() == "t.parquet#9"
    assert found["label"].to_pylist() == expected["label"].tolist()
    np.testing.assert_array_equal(found["score"].to_numpy(), expected["score"])
    images = found["image"].combine_chunks()
    if form in ("binary", "struct"):
        stored = (images if form == "binary" else images.field("bytes")).to_pylist()
        got = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in stored]
    else:
        got = images.to_numpy_ndarray() if form == "tensor" else images.to_pylist()
    np.testing.assert_array_equal(np.array(got), expected["image"])
    before = contents(tmp_path / "out")
    lost = next(path for path in (tmp_path / "out").glob("part-*"))
    lost.unlink()
    assert purify(tmp_path / "in", tmp_path / "out", batch).rows in (2, 4)
    assert contents(tmp_path / "out") == before


def test_an_address_of_fsspec(folder: Path, tmp_path: Path, batch: PurifyBatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/purify-in", recursive=True)
    try:
        assert purify("memory://purify-in", "memory://purify-out", batch).rows == 10
        again = purify("memory://purify-in", "memory://purify-out", batch)
        assert (again.rows, again.before) == (0, 10)
        purify(folder, tmp_path / "out", batch)
        for name, data in contents(tmp_path / "out").items():
            if not name.startswith("_puvae"):
                assert memory.cat_file(f"/purify-out/{name}") == data, name
        with pytest.raises(ContractError, match="expected a path, or an address"):
            purify("nothing://x", "memory://purify-out", batch)
    finally:
        for name in ("/purify-in", "/purify-out"):
            memory.rm(name, recursive=True)


def test_killed_it_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, image in enumerate(np.random.default_rng(1).integers(0, 256, (600, 28, 28), np.uint8)):
        cv2.imwrite(str(tmp_path / "in" / f"{number:03d}.png"), image)
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--bundle", str(bundle), "--batch", "4", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "puvae_rt.purify", *words], env=environment)
    parts = tmp_path / "out" / "_puvae" / "parts"
    while process.poll() is None and (not parts.is_dir() or len(list(parts.iterdir())) < 3):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(list(parts.glob("part-*"))) < 150 and not (tmp_path / "out" / "results.csv").exists()
    command = load("purify")
    assert command.run([*words, "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["before"] > 0 and report["before"] + report["rows"] == 600
    words[1] = str(tmp_path / "whole")
    assert command.run(words) == 0
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()
    whole, resumed = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert all(resumed[name] == whole[name] for name in whole if name != "_puvae/job.json")
