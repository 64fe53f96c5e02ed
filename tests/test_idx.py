"""IDX images: damaged, missing and downloaded files, and the real Fashion-MNIST where it is."""

import gzip
import hashlib
import http.server
import math
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from neurosim.tasks import TASKS, Task, fashion, images, mnist, read_idx

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


pytestmark = pytest.mark.usefixtures("single_precision")


# ---------------------------------------------------------------------------------------------- IDX files
def idx(values: np.ndarray) -> bytes:
    """The IDX format written out: 0, 0, 8 = unsigned byte, number of axes; the sizes, big-endian; the bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_set(folder: Path, seed: int = 0, train: int = 36, test: int = 20) -> dict[str, np.ndarray]:
    """A small set of 28x28 images in the four files of Fashion-MNIST and MNIST."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for start, n in (("train", train), ("t10k", test)):
        arrays[f"{start}-images-idx3-ubyte"] = draw.integers(0, 256, (n, 28, 28))
        arrays[f"{start}-labels-idx1-ubyte"] = draw.integers(0, 10, n)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    return arrays


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the network or the user's own folder, unless it says so."""
    import pooch

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.delenv("NEUROSIM_DATA", raising=False)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 28, 28)])
def test_idx_round_trip(tmp_path: Path, pack: Callable[[bytes], bytes], shape: tuple[int, ...]) -> None:
    values = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "file").write_bytes(pack(idx(values)))
    got = read_idx(tmp_path / "file", len(shape))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, values)


IMAGES = idx(np.random.default_rng(1).integers(0, 256, (36, 28, 28)))
GZ = gzip.compress(IMAGES)
DAMAGED = {
    "truncated gzip": (GZ[: len(GZ) // 2], "is a truncated or damaged gzip file"),
    "gzip header only": (GZ[:5], "is a truncated or damaged gzip file"),
    "one byte of the gzip changed": (
        GZ[:9000] + bytes([GZ[9000] ^ 255]) + GZ[9001:],
        "is a truncated or damaged gzip file",
    ),
    "junk after the gzip": (GZ + b"junk", "is a truncated or damaged gzip file"),
    "empty": (b"", "is not an IDX file"),
    "a web page": (b"<!DOCTYPE html><html>Not found</html>", "is not an IDX file of bytes with 3 axes"),
    "labels, not images": (idx(np.zeros(36)), "is not an IDX file of bytes with 3 axes"),
    "floats": (b"\0\0\x0d\3" + IMAGES[4:], "is not an IDX file of bytes with 3 axes (it starts with 0x00000d03)"),
    "cut in its header": (IMAGES[:10], "is not an IDX file"),
    "truncated": (IMAGES[:-1], "is truncated: its header promises 28224 bytes of data, but 28223 follow"),
    "bytes left over": (IMAGES + b"\0", "has bytes left over: its header promises 28224 bytes of data, but 28225"),
    "no images": (idx(np.zeros((0, 28, 28))), "is empty"),
    "other size": (idx(np.zeros((36, 8, 8))), "must hold images of 28x28, but they are 8x8"),
    "another number": (idx(np.zeros((35, 28, 28))), "has 36 labels for 35 images in train-images-idx3-ubyte"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_gives_one_sentence_that_names_it(tmp_path: Path, name: str) -> None:
    content, message = DAMAGED[name]
    write_set(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.unlink()
    path = path if content[:2] == b"\x1f\x8b" else path.with_suffix("")
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        fashion(tmp_path)
    text = str(caught.value)
    assert message in text and str(tmp_path) in text and path.name in text and "\n" not in text


def test_label_that_is_no_class(tmp_path: Path) -> None:
    write_set(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.array([3, 10] * 10))))
    with pytest.raises(ValueError, match="must hold labels 0..9, but label 1 is 10: get it again.$") as caught:
        mnist(tmp_path)
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------------------------- where files are
def test_named_folder_holds_the_files_or_a_subfolder_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = write_set(tmp_path / "direct", seed=1)
    below = write_set(tmp_path / "both" / "fashion-mnist", seed=2)
    other = write_set(tmp_path / "both" / "mnist", seed=3)

    def check(task: Task, name: str, arrays: dict[str, np.ndarray]) -> None:
        assert (task.name, task.shape, task.outputs, task.network) == (name, (1, 28, 28), 10, "cnn")
        assert task.x.dtype == torch.uint8 and task.test_x is not None and task.test_y is not None
        got = (task.x[:, 0], task.y, task.test_x[:, 0], task.test_y)
        for tensor, values in zip(got, arrays.values(), strict=True):
            np.testing.assert_array_equal(tensor, values)
        assert task.validation_size == 6 and len(task.split(0).train_x) == 36 and len(task.split(0).test_x) == 20

    check(fashion(tmp_path / "direct"), "fashion", direct)
    check(mnist(str(tmp_path / "direct")), "mnist", direct)
    check(fashion(tmp_path / "both"), "fashion", below)
    monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path / "both"))
    check(TASKS["fashion"](), "fashion", below)
    check(TASKS["mnist"](), "mnist", other)
    check(fashion(tmp_path / "direct"), "fashion", direct)  # the argument goes first


@pytest.mark.parametrize("by_variable", [False, True])
def test_missing_file_is_named_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    write_set(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    if by_variable:
        monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path))
    source = "NEUROSIM_DATA" if by_variable else "data"
    with pytest.raises(FileNotFoundError) as caught:
        fashion(None if by_variable else tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 't10k-images-idx3-ubyte'}.gz (or without .gz) is missing: put it there, "
        f"or give no folder ({source}) to have it found or downloaded."
    )
    with pytest.raises(FileNotFoundError, match="^data names .*nowhere, which is not a folder"):
        mnist(tmp_path / "nowhere")


def test_damaged_system_file_is_refused_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "fashion-mnist")  # well formed, but not what was published
    monkeypatch.setattr(images, "DEBIAN", tmp_path)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz is not the published Fashion-MNIST"):
        fashion()


def test_full_set_of_other_content_is_not_taken_for_the_published_one(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(10_000))))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte.gz is not the published MNIST"):
        mnist(tmp_path)


# ---------------------------------------------------------------------------------------------- downloads
@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
) -> Iterator[tuple[dict[str, bytes], list[str], Path]]:
    """A small MNIST served on this machine; answers (by file, to be changed), requests made, and the cache."""
    import importlib

    import pooch

    monkeypatch.setattr(pooch, "retrieve", importlib.import_module("pooch.core").retrieve)
    arrays = write_set(tmp_path / "published")
    answers = {f"{name}.gz": (tmp_path / "published" / f"{name}.gz").read_bytes() for name in arrays}
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            requests.append(name)
            self.send_response(200 if name in answers else 404)
            self.send_header("Content-Length", str(len(whole.get(name, b""))))
            self.end_headers()
            self.wfile.write(answers.get(name, b""))

        def log_message(self, *_: object) -> None:
            pass

    whole = dict(answers)  # what the header promises, even when the answer stops half-way
    md5 = [hashlib.md5(answers[f"{name}.gz"]).hexdigest() for name in images.FILES]
    sha256 = [hashlib.sha256(idx(arrays[name])).hexdigest() for name in images.FILES]
    monkeypatch.setitem(images.MD5, "mnist", tuple(md5))
    monkeypatch.setitem(images.SHA256, "mnist", tuple(sha256))
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    monkeypatch.setattr(images, "DEBIAN", tmp_path / "none")
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        monkeypatch.setitem(images.URL, "mnist", f"http://127.0.0.1:{web.server_port}/")
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        yield answers, requests, tmp_path / "cache" / "mnist"
        web.shutdown()


def test_download_is_kept_and_not_repeated(server: tuple[dict[str, bytes], list[str], Path]) -> None:
    answers, requests, cache = server
    task = mnist()
    assert len(task.x) == 36 and sorted(requests) == sorted(answers)
    assert torch.equal(task.x, mnist().x) and len(requests) == 4
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == answers


@pytest.mark.parametrize("fault", ["half", "other content", "not there"])
def test_failed_download_is_neither_kept_nor_used(server: tuple[dict[str, bytes], list[str], Path], fault: str) -> None:
    answers, _, cache = server
    name = "t10k-images-idx3-ubyte.gz"
    good = answers[name]
    if fault == "not there":
        del answers[name]
    else:
        answers[name] = good[: len(good) // 2] if fault == "half" else good[:-1] + b"\1"
    with pytest.raises(FileNotFoundError) as caught:
        mnist()
    text = str(caught.value)
    assert name in text and "NEUROSIM_DATA" in text and "--data DIR" in text and "\n" not in text
    assert sorted(path.name for path in cache.iterdir()) == sorted(images_before(name))  # no half or temporary file
    answers[name] = good
    assert len(mnist().x) == 36


def images_before(name: str) -> list[str]:
    """The files that are downloaded before the one named."""
    files = [f"{file}.gz" for file in images.FILES]
    return files[: files.index(name)]


def test_half_file_in_the_cache_is_fetched_anew(server: tuple[dict[str, bytes], list[str], Path]) -> None:
    answers, requests, cache = server
    mnist()
    (cache / "train-images-idx3-ubyte.gz").write_bytes(answers["train-images-idx3-ubyte.gz"][:100])
    assert len(mnist().x) == 36 and len(requests) == 5
    assert (cache / "train-images-idx3-ubyte.gz").read_bytes() == answers["train-images-idx3-ubyte.gz"]


def test_no_connection_says_what_to_do(
    server: tuple[dict[str, bytes], list[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(images.URL, "fashion-mnist", "http://127.0.0.1:9/")  # nobody listens on the discard port
    with pytest.raises(FileNotFoundError) as caught:
        fashion()
    text = str(caught.value)
    assert text.startswith("http://127.0.0.1:9/train-images-idx3-ubyte.gz could not be downloaded (ConnectionError)")
    assert "install Debian's dataset-fashion-mnist or name a folder" in text and "\n" not in text


# ---------------------------------------------------------------------------------------------- the real thing
@pytest.mark.skipif(not DEBIAN_FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian() -> None:
    task = fashion()
    assert task.x.shape == (60_000, 1, 28, 28) and task.x.dtype == torch.uint8
    assert task.test_x is not None and task.test_y is not None and task.test_x.shape == (10_000, 1, 28, 28)
    assert task.y[:5].tolist() == [9, 0, 0, 3, 0]
    assert task.y.bincount().tolist() == [6000] * 10 and task.test_y.bincount().tolist() == [1000] * 10
    tuning = task.split(0, tuning=True)
    assert len(tuning.train_x) == 50_000 and tuning.test_y.bincount().tolist() == [1000] * 10
    final = task.limited(train=5000).split(0)
    assert len(final.train_x) == 5000 and len(final.test_x) == 10_000
    batch = next(task.batches(final, 0, 0))
    assert batch.x.shape == (32, 1, 28, 28) and batch.x.dtype == torch.float32
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz is not the published MNIST"):
        mnist(DEBIAN_FASHION)


def test_import_is_light() -> None:
    code = "import sys, neurosim.tasks; print([m for m in ('sklearn', 'pooch', 'requests') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
