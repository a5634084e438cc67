#!/usr/bin/env python3
"""Draw fashion-mini out of Fashion-MNIST and write ablate/data/fashion_mini.npz.

    apt-get install dataset-fashion-mnist        # Debian and Ubuntu; or the four files from zalandoresearch
    python scripts/make_fashion_mini.py [--source /usr/share/datasets/fashion-mnist] [--check]

600 training images of each class out of Fashion-MNIST's training split and 200 test images of each class out
of its test split, drawn without replacement by PCG64(20170825) and kept in the order of the originals.
`train_rows` and `test_rows` in the file say which rows they are. --check writes nothing and compares with the
shipped file.

The archive is a plain .npz whose members are compressed by LZMA, which `np.load` reads: 3.0 MB, against 3.5
MB by deflate and 3.1-3.3 MB as PNG, as WebP or with a predictor from neighbouring pixels in front.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "ablate" / "data" / "fashion_mini.npz"
SEED = 20170825  # the day that Fashion-MNIST was published
PER_CLASS = {"train": 600, "test": 200}
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# SHA-256 of the unpacked files, so that another gzip level does no harm.
SOURCES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """An IDX file of bytes (a magic number, big-endian lengths, values), its checksum verified."""
    content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    found = hashlib.sha256(content).hexdigest()
    if found != SOURCES[name]:
        sys.exit(f"{folder / name}.gz unpacks to SHA-256 {found}, not {SOURCES[name]}")
    dimensions = content[3]
    lengths = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(lengths)


def draw(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the file, by name."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (
            read_idx(folder, f"{prefix}-images-idx3-ubyte"),
            read_idx(folder, f"{prefix}-labels-idx1-ubyte"),
        )
        rows = [
            generator.permutation(np.flatnonzero(labels == label))[: PER_CLASS[part]] for label in range(10)
        ]
        kept = np.sort(np.concatenate(rows))
        arrays[f"{part}_images"] = images[kept]
        arrays[f"{part}_labels"] = labels[kept]
        arrays[f"{part}_rows"] = kept.astype("<u2")
    arrays["classes"] = np.array(CLASSES)
    return arrays


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz without clocks or machine in it: the same arrays always give the same bytes (for one
    liblzma)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, values in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_LZMA
            member.create_system, member.external_attr = 3, 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(
                content, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False
            )
            archive.writestr(member, content.getvalue())
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    content = pack(draw(options.source))
    summary = f"{len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    if not options.check:
        TARGET.write_bytes(content)
        print(f"{TARGET}: {summary}")
    elif TARGET.read_bytes() != content:
        sys.exit(f"{TARGET} is not what this script makes: {summary}")
    else:
        print(f"{TARGET} is what this script makes: {summary}")


if __name__ == "__main__":
    main()
