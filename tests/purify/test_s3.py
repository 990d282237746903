"""A bucket in, a bucket out, on moto's S3; `make slow` installs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from puvae_rt.errors import FileError
from puvae_rt.purify import PurifyBatch
from tests.purify.test_local import purify, table

pytest.importorskip("s3fs", reason="needs the extra [s3]; `make slow` installs it")
moto = pytest.importorskip("moto.server", reason="needs moto[server]; `make slow` installs it")
pytestmark = pytest.mark.long


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    s3fs.S3FileSystem.clear_instance_cache()  # fsspec keeps a file system with the address of its first use
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield f"http://{host}:{port}"
    server.stop()


def test_a_bucket_in_and_out(address: str, folder: Path, tmp_path: Path, batch: PurifyBatch) -> None:
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True)
    files.mkdir("images")
    files.put(str(folder), "images/in", recursive=True)
    assert purify("s3://images/in", "s3://images/out", batch).rows == 10
    purify(folder, tmp_path / "out", batch)
    for row in table(tmp_path / "out" / "results.csv"):
        assert files.cat_file(f"images/out/{row['image']}") == (tmp_path / "out" / row["image"]).read_bytes()
    assert files.cat_file("images/out/results.csv") == (tmp_path / "out" / "results.csv").read_bytes()
    again = purify("s3://images/in", "s3://images/out", batch)
    assert (again.rows, again.before) == (0, 10)
    part = next(name for name in files.find("images/out/_puvae/parts"))
    files.rm_file(part)
    assert purify("s3://images/in", "s3://images/out", batch).rows in (2, 4)


def test_parquet_and_npz_in_a_bucket(address: str, tmp_path: Path, batch: PurifyBatch, pixels: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import s3fs

    files = s3fs.S3FileSystem(skip_instance_cache=True)
    files.mkdir("tables")
    images = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", images=pixels)
    for name in ("t.parquet", "t.npz"):
        files.put_file(str(tmp_path / name), f"tables/{name}")
        assert purify(f"s3://tables/{name}", f"s3://tables/out-{name}", batch).rows == 10
    expected = batch({"image": pixels})
    found = pq.read_table("tables/out-t.parquet", filesystem=files).sort_by("row")
    assert found["label"].to_pylist() == expected["label"].tolist()


def test_a_bucket_that_is_not_there(address: str, tmp_path: Path, batch: PurifyBatch) -> None:
    from puvae_rt.errors import DataError

    with pytest.raises((FileError, DataError), match="gone"):
        purify("s3://gone/in", tmp_path / "out", batch)
