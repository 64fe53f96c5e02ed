"""Images to classify: scikit-learn's 8x8 digits, and the 28x28 sets Fashion-MNIST and MNIST as IDX files.

The 28x28 files are looked for in the folder the user names (the argument `data`, else the variable NEUROSIM_DATA), in
its subfolder fashion-mnist or mnist if there is one; else where Debian's package dataset-fashion-mnist puts them; else
they are downloaded once, checked and kept in the user's cache. A named folder is never completed by a download.
"""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import numpy as np

from neurosim.tasks.base import Task

DEBIAN = Path("/usr/share/datasets")  # holds fashion-mnist, where the package is installed
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TITLE = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST"}
URL = {
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
}
MD5 = {  # of the compressed files at URL, in the order of FILES; from the Fashion-MNIST README and from torchvision
    "fashion-mnist": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "mnist": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
}
SHA256 = {  # of the uncompressed content, which does not depend on who compressed it (Debian did so anew)
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
PUBLISHED = (60_000, 60_000, 10_000, 10_000)  # items in each of FILES


def digits(data: str | Path | None = None) -> Task:
    """1,797 handwritten digits x [1797, 1, 8, 8] in [0, 1]; a fixed 297 validate, by the seed 1,000 train and 500 test.

    They come with scikit-learn (UCI "Optical Recognition of Handwritten Digits", Alpaydin & Kaynak 1998), so `data` is
    not used; it is there so that every task is called alike.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = bunch.images[:, None] / 16
    return Task.from_arrays(x, bunch.target, name="digits", validation_size=297, test_size=500, network="mlp")


def fashion(data: str | Path | None = None) -> Task:
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): images of clothes in 10 classes, x [60000, 1, 28, 28] uint8.

    10,000 more are the published test set; 10,000 of the 60,000, the same for every seed, validate. `data`: the folder
    with the files, which may also hold a smaller set in the same layout.
    Raises FileNotFoundError for a file that is missing, ValueError for one that is damaged; both name it.
    """
    return _images("fashion", "fashion-mnist", data)


def mnist(data: str | Path | None = None) -> Task:
    """MNIST (LeCun, Bottou, Bengio & Haffner 1998): 60,000 + 10,000 handwritten digits. As `fashion` in all else."""
    return _images("mnist", "mnist", data)


def read_idx(path: str | Path, dims: int) -> np.ndarray:
    """The bytes of an IDX file, plain or gzip: dims = 3 for images [n, rows, columns], 1 for labels [n]. Read-only.

    The format (LeCun): bytes 0 0 8 dims, then each size as a big-endian 32-bit integer, then the data, one byte each.
    Raises ValueError, naming the file, if it is truncated, is damaged, is too long or is no such file.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a truncated or damaged gzip file: get it again.") from error
    start = 4 + 4 * dims
    if len(content) < start or content[:4] != bytes((0, 0, 8, dims)):
        raise ValueError(
            f"{path} is not an IDX file of bytes with {dims} axes (it starts with 0x{content[:4].hex()}): get it again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    got, expected = len(content) - start, math.prod(shape)
    if got != expected:
        short = "is truncated" if got < expected else "has bytes left over"
        raise ValueError(
            f"{path} {short}: its header promises {expected} bytes of data, but {got} follow; get it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _images(name: str, folder: str, data: str | Path | None) -> Task:
    named = data or os.environ.get("NEUROSIM_DATA")
    if named:
        paths = _in_named_folder(Path(named).expanduser(), folder, "data" if data else "NEUROSIM_DATA")
    elif (DEBIAN / folder).is_dir():
        paths = [_find(DEBIAN / folder, file, "reinstall the package dataset-fashion-mnist") for file in FILES]
    else:
        paths = [_download(folder, number) for number in range(len(FILES))]
    x, y, test_x, test_y = (_read(path, folder, number, exact=not named) for number, path in enumerate(paths))
    for images, labels, i in ((x, y, 0), (test_x, test_y, 2)):
        if len(images) != len(labels):
            raise ValueError(
                f"{paths[i + 1]} has {len(labels)} labels for {len(images)} images in {paths[i].name}: get both again."
            )
    return Task.from_arrays(
        x[:, None],
        y,
        name=name,
        test_x=test_x[:, None],
        test_y=test_y,
        validation_size=max(1, len(x) // 6),  # 10,000 of 60,000
        outputs=10,
        network="cnn",
    )


def _read(path: Path, folder: str, number: int, exact: bool) -> np.ndarray:
    """One checked file. Its content must be the published one if `exact`, or if it has the published number of items.

    A named folder may so hold a smaller set in the same layout, but never one full set under the other's name.
    """
    values = read_idx(path, 3 if number % 2 == 0 else 1)
    if len(values) == 0:
        raise ValueError(f"{path} is empty: get it again.")
    if values.ndim == 3 and values.shape[1:] != (28, 28):
        raise ValueError(f"{path} must hold images of 28x28, but they are {values.shape[1]}x{values.shape[2]}.")
    if values.ndim == 1 and values.max() > 9:
        raise ValueError(f"{path} must hold labels 0..9, but label {values.argmax()} is {values.max()}: get it again.")
    if exact or len(values) == PUBLISHED[number]:
        digest = hashlib.sha256(np.array([0x0800 + values.ndim, *values.shape], ">u4").tobytes())  # the header
        digest.update(values.data)
        if digest.hexdigest() != SHA256[folder][number]:
            raise ValueError(
                f"{path} is not the published {TITLE[folder]}: get it again, or use Task.from_arrays for other data."
            )
    return values


def _in_named_folder(named: Path, folder: str, source: str) -> list[Path]:
    """The four files in the folder the user named, or in its subfolder."""
    if not named.is_dir():
        raise FileNotFoundError(
            f"{source} names {named}, which is not a folder: name the one with the {TITLE[folder]} files."
        )
    place = named / folder if (named / folder).is_dir() else named
    return [
        _find(place, file, f"put it there, or give no folder ({source}) to have it found or downloaded")
        for file in FILES
    ]


def _find(place: Path, file: str, advice: str) -> Path:
    """`file`.gz or `file` in the folder `place`; the compressed one first, since it carries a checksum."""
    for path in (place / f"{file}.gz", place / file):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{place / file}.gz (or without .gz) is missing: {advice}.")


def _download(folder: str, number: int) -> Path:
    """The file from the user's cache, downloaded first if need be; pooch moves it there once its checksum is right."""
    import pooch

    file = f"{FILES[number]}.gz"
    place = Path(pooch.os_cache("neurosim")) / folder
    debian = "install Debian's dataset-fashion-mnist or " if folder == "fashion-mnist" else ""
    try:
        downloader = pooch.HTTPDownloader(timeout=30)
        return Path(
            pooch.retrieve(URL[folder] + file, f"md5:{MD5[folder][number]}", file, place, downloader=downloader)
        )
    except (OSError, ValueError) as error:  # no connection, no such page, no place to write; wrong checksum
        why = "came damaged" if isinstance(error, ValueError) else "could not be downloaded"
        raise FileNotFoundError(
            f"{URL[folder]}{file} {why} ({type(error).__name__}): {debian}name a folder that holds the "
            f"{TITLE[folder]} files with --data DIR or NEUROSIM_DATA, or try again when connected."
        ) from error
