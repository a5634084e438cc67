import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from ablate.data.load import load_images
from ablate.errors import DataError


def load(root, **options):
    return load_images("image-folder", root=str(root), **options)


def test_pixels_labels_and_classes_are_those_of_imagefolder(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    images = load(root)
    assert images.shape == (3, 6, 5)
    for part in ("train", "test"):
        theirs = ImageFolder(root / part)
        assert list(images.classes) == theirs.classes
        assert getattr(images, f"{part}_labels").tolist() == theirs.targets
        ours = getattr(images, part)
        for row, (image, _) in enumerate(theirs):
            np.testing.assert_array_equal(ours[row], np.asarray(image))


def test_lossless_formats_and_folders_share_one_fingerprint(write_folder, colour_parts):
    png = load(write_folder("png", colour_parts))
    webp = load(write_folder("webp", colour_parts, ".webp", lossless=True, exact=True))
    bmp = load(write_folder("bmp", colour_parts, ".bmp"))
    assert png.fingerprint == webp.fingerprint == bmp.fingerprint
    assert png.folder == webp.folder
    colour_parts["train/cat"][0][0, 0, 0] ^= 1
    assert load(write_folder("other", colour_parts)).fingerprint != png.fingerprint


def test_the_fingerprint_covers_labels_and_class_names(write_folder, colour_parts):
    one = load(write_folder("one", colour_parts))
    renamed = {key.replace("dog", "wolf"): value for key, value in colour_parts.items()}
    assert load(write_folder("renamed", renamed)).fingerprint != one.fingerprint
    moved = dict(colour_parts)
    moved["train/cat"], moved["train/dog"] = (
        moved["train/cat"] + moved["train/dog"][:1],
        moved["train/dog"][1:],
    )
    assert load(write_folder("moved", moved)).fingerprint != one.fingerprint


def test_grey_folders_have_one_channel_and_one_colour_image_makes_all_rgb(write_folder):
    grey = np.random.default_rng(0).integers(0, 256, (2, 4, 4), dtype=np.uint8)
    parts = {f"{part}/{name}": list(grey) for part in ("train", "test") for name in "ab"}
    images = load(write_folder("grey", parts))
    assert images.shape == (1, 4, 4)
    np.testing.assert_array_equal(images.train[:2, ..., 0], grey)

    parts["test/b"] = [*grey, np.full((4, 4, 3), (10, 20, 30), np.uint8)]
    images = load(write_folder("mixed", parts))
    assert images.shape == (3, 4, 4)
    np.testing.assert_array_equal(images.train[0], np.repeat(grey[0][..., None], 3, axis=2))
    assert images.test[-1, 0, 0].tolist() == [10, 20, 30]


def test_palette_transparency_and_bilevel_become_rgb(write_folder):
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.info["transparency"] = b"\xff\x80"
    alpha = colour.convert("RGBA")
    alpha.putalpha(7)
    parts = {"train/a": [colour, palette, alpha, Image.new("1", (4, 4), 1)], "test/a": [colour]}
    parts |= {"train/b": [colour], "test/b": [colour]}
    images = load(write_folder("modes", parts))
    assert images.train[1, 0, 0].tolist() == [200, 100, 50]
    np.testing.assert_array_equal(images.train[2], np.asarray(colour))
    assert images.train[3, 0, 0].tolist() == [255, 255, 255]


def test_every_unreadable_image_is_listed(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    whole = (root / "train" / "cat" / "000.png").read_bytes()
    (root / "train" / "cat" / "001.png").write_bytes(whole[:60])
    (root / "train" / "dog" / "002.png").write_bytes(b"")
    (root / "test" / "dog" / "000.png").write_bytes(b"<html>not found</html>")
    Image.fromarray(np.full((6, 5), 40_000, np.uint16)).save(root / "test" / "cat" / "001.png")
    with pytest.raises(DataError) as caught:
        load(root)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"4 of 10 images under {root} cannot be read; replace or delete them"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "train/cat/001.png", "train/dog/002.png", "test/cat/001.png", "test/dog/000.png",
    ]  # fmt: skip
    assert "more than 8 bits" in lines[3]


def test_a_long_list_of_unreadable_images_is_cut_in_print_and_whole_in_a_file(
    write_folder, colour_parts, cache
):
    root = write_folder("data", colour_parts)
    for number in range(70):
        (root / "train" / "cat" / f"broken-{number:02d}.jpg").write_bytes(b"broken")
    with pytest.raises(DataError, match="70 of 80 images") as caught:
        load(root)
    assert str(caught.value).endswith(
        f"and 50 more; all of them are listed in {cache / 'unreadable-images.txt'}"
    )
    assert len(str(caught.value).splitlines()) == 22
    listed = (cache / "unreadable-images.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in listed] == [
        f"train/cat/broken-{number:02d}.jpg" for number in range(70)
    ]


def test_a_truncated_jpeg_and_a_truncated_webp_are_unreadable(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    big = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in (".jpg", ".webp"):
        path = root / "train" / "cat" / f"cut{suffix}"
        big.save(path)
        path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError) as caught:
        load(root, image_size=8)
    assert "train/cat/cut.jpg" in str(caught.value)
    assert "train/cat/cut.webp" in str(caught.value)


def test_a_wrong_suffix_is_no_obstacle(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    before = load(root).fingerprint
    (root / "train" / "cat" / "000.png").rename(root / "train" / "cat" / "000.jpg")
    assert load(root).fingerprint == before


def test_mixed_sizes_ask_for_image_size_and_it_helps(write_folder, colour_parts):
    colour_parts["train/cat"].append(np.zeros((8, 9, 3), np.uint8))
    root = write_folder("data", colour_parts)
    with pytest.raises(DataError) as caught:
        load(root)
    assert str(caught.value) == (
        f"the images under {root} have 2 different sizes, height x width: 6x5 (10), 8x9 (1); "
        "set data.image_size to resize them all (shorter side, then the central square)"
    )
    assert load(root, image_size=4).shape == (3, 4, 4)


def test_missing_parts_classes_and_images_are_named(write_folder, colour_parts, tmp_path):
    with pytest.raises(DataError, match=r"image-folder needs data\.root"):
        load_images("image-folder")
    with pytest.raises(DataError, match=r"absent has no folder train and no folder test \(it is no folder\)"):
        load(tmp_path / "absent")
    only_train = {key: value for key, value in colour_parts.items() if key.startswith("train")}
    with pytest.raises(DataError, match=r"has no folder test \(folders there: train\)"):
        load(write_folder("half", only_train))
    with pytest.raises(DataError, match=r"differ\n  only in train: dog\n  only in test: bird"):
        load(write_folder("other", {"train/dog": [], "train/cat": [], "test/cat": [], "test/bird": []}))
    root = write_folder("empty", {**colour_parts, "train/fox": [], "test/fox": []})
    (root / "train" / "fox" / "readme.txt").write_text("no image")
    with pytest.raises(DataError) as caught:
        load(root)
    assert str(caught.value).startswith(f"no image in {root}/train/fox, {root}/test/fox; delete the class")
    with pytest.raises(DataError, match="has one class, cat; at least two are needed"):
        load(write_folder("one", {"train/cat": [], "test/cat": []}))
    (tmp_path / "bare" / "train").mkdir(parents=True)
    (tmp_path / "bare" / "test").mkdir()
    with pytest.raises(DataError, match="has no class folders"):
        load(tmp_path / "bare")


def test_hidden_and_other_files_are_passed_over_and_nested_ones_read(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "cat" / "._000.png").write_bytes(b"resource fork")
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    before = load(root)
    assert before.classes == ("cat", "dog")
    (root / "test" / "dog" / "more").mkdir()
    Image.fromarray(colour_parts["train/dog"][0]).save(root / "test" / "dog" / "more" / "000.png")
    after = load(root)
    assert len(after.test) == len(before.test) + 1
    assert after.duplicate_count == 1


def test_folders_load_without_torch_in_a_fresh_process(write_folder, colour_parts):
    root = write_folder("data", colour_parts)
    code = (
        "import sys; from ablate.data import load_images, split, statistics\n"
        f"images = load_images('image-folder', root={str(root)!r})\n"
        "parts = split(images.train_labels, validation=0.34, seed=0)\n"
        "statistics(images.train, parts.train)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
