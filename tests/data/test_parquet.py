from __future__ import annotations

import os
import random
import signal
import threading

import duckdb
import numpy as np
import pytest

from foolscope.data import open_data
from foolscope.data.parquet import _undamaged, choose_split
from foolscope.errors import InputError


@pytest.fixture
def folder(tmp_path, grey, png, write_parquet):
    """Train in one file, test in two shards of 7 and 5 rows."""
    images, names = [png(image) for image in grey], ["zero", "one", "two"]
    labels = [k % 3 for k in range(12)]
    place = tmp_path / "set[1]*"  # a name that would be a pattern to DuckDB
    place.mkdir()
    write_parquet(place / "train-00000-of-00001.parquet", images[:3], labels[:3], names=names)
    write_parquet(place / "test-00000-of-00002.parquet", images[:7], labels[:7], names=names)
    write_parquet(place / "test-00001-of-00002.parquet", images[7:], labels[7:], names=names)
    return place


def test_reads_rows_of_several_shards_in_the_order_asked(folder, grey):
    data = open_data(str(folder))
    assert data.name == "set[1]*:test"
    assert data.shape == (1, 6, 5)
    assert data.classes == ("zero", "one", "two")
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [k % 3 for k in range(12)]
    positions = np.array([11, 0, 7, 6, 0])
    np.testing.assert_array_equal(data.read(positions).numpy(), (grey[positions, None] / np.float32(255)))


def test_split_is_chosen_by_name(folder):
    assert len(open_data(f"{folder}:train")) == 3
    with pytest.raises(
        InputError, match=r"DATA: expected a split of .*got 'tets' \(nearest: test; accepted: test, train"
    ):
        open_data(f"{folder}:tets")


def test_missing_shard_is_refused(folder):
    (folder / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="DATA: expected 2 Parquet files of the split test"):
        open_data(f"{folder}:train")


def test_default_split():
    assert choose_split(["train", "validation"], None, "x") == "validation"
    assert choose_split(["train"], None, "x") == "train"
    with pytest.raises(InputError, match="DATA: expected a split, x:SPLIT"):
        choose_split(["a", "b"], None, "x")


def test_raw_bytes_and_img_column_without_names(tmp_path, grey, png, write_parquet):
    file = write_parquet(tmp_path / "a.parquet", [png(grey[0])] * 3, [0, 4, 1], column="img", image_type="BLOB")
    data = open_data(str(file))
    assert data.name == "a.parquet"
    assert data.classes == ("0", "1", "2", "3", "4")


def test_features_of_another_form_are_passed_over(tmp_path, grey, png, write_parquet):
    for k, metadata in enumerate(['{"info": 3}', "no json", '{"info": {"features": {"label": {"names": "ab"}}}}']):
        file = write_parquet(tmp_path / f"{k}.parquet", [png(grey[0])], [1], metadata=metadata)
        assert open_data(str(file)).classes == ("0", "1")


def test_modes_follow_the_first_image(tmp_path, grey, png, write_parquet):
    colour = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    mixed = write_parquet(tmp_path / "mixed.parquet", [png(colour), png(grey[0])], [0, 1])
    read = open_data(str(mixed)).read(np.array([1, 0])).numpy() * 255
    np.testing.assert_allclose(read[0], np.broadcast_to(grey[0], (3, 6, 5)))
    np.testing.assert_allclose(read[1], colour.transpose(2, 0, 1))
    assert open_data(str(write_parquet(tmp_path / "g.parquet", [png(grey[0]), png(colour)], [0, 1]))).shape[0] == 1


def test_same_as_plain_arrays_over_many_row_groups(tmp_path, png, write_parquet):
    images = np.random.default_rng(2).integers(0, 256, (5000, 2, 2), dtype=np.uint8)
    file = write_parquet(tmp_path / "a.parquet", [png(image) for image in images], [k % 7 for k in range(5000)])
    positions = np.random.default_rng(3).permutation(5000)[:300]
    np.testing.assert_array_equal(open_data(str(file)).read(positions)[:, 0].numpy() * 255, images[positions])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"column": "picture"}, "DATA: expected a column image or img in a.parquet, got 'columns picture, label'"),
        ({"image_type": "VARCHAR"}, "DATA: expected images as bytes in the column image of a.parquet, got 'VARCHAR'"),
        ({"label_type": "VARCHAR"}, "labels: expected integers in a.parquet, got 'VARCHAR'"),
        ({"label_type": "DOUBLE"}, "labels: expected integers in a.parquet, got 'DOUBLE'"),
        ({"labels": [0, None]}, "labels: expected a class number in every row, got 'none at row 1 of a.parquet'"),
        ({"labels": [0, -1]}, "labels: expected a class number from 0 on for image 1, got -1"),
        ({"labels": [0, 2], "names": ["a", "b"]}, r"labels: .* below 2 \(2 classes are named\) for image 1, got 2"),
        ({"images": [], "labels": []}, "DATA: expected at least one image, got 'a.parquet without rows'"),
        ({"images": [None, None]}, "DATA: expected an image's bytes at row 0 of a.parquet, got nothing"),
    ],
)
def test_unsuitable_files(tmp_path, png, grey, write_parquet, change, line):
    settings = {"images": [png(grey[0]), png(grey[1])], "labels": [0, 1], **change}
    if settings.get("image_type") == "VARCHAR":
        settings["images"] = ["one.png", "two.png"]
    file = write_parquet(tmp_path / "a.parquet", **settings)
    with pytest.raises(InputError, match=line):
        open_data(str(file))


def test_damaged_image_is_named_by_its_row(tmp_path, png, grey, write_parquet):
    images = [png(image) for image in grey]
    images[3] = images[3][:50]
    images[4] = b"no image"
    images[5] = images[5][:45] + bytes([images[5][45] ^ 255]) + images[5][46:]
    data = open_data(str(write_parquet(tmp_path / "a.parquet", images, range(12))))
    assert data.read(np.array([2])).shape == (1, 1, 6, 5)
    for row in (3, 4, 5):
        with pytest.raises(InputError, match=f"DATA: expected an image that can be decoded at row {row} of a.parquet"):
            data.read(np.array([row]))


def test_postscript_is_never_handed_to_an_interpreter(tmp_path, write_parquet):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\nshowpage\n"
    file = write_parquet(tmp_path / "a.parquet", [script], [0])
    with pytest.raises(InputError, match="decoded at row 0 of a.parquet, got 'not a known image format'"):
        open_data(str(file))


def test_missing_image_does_not_open_the_path_beside_it(tmp_path, png, grey, write_parquet):
    data = open_data(str(write_parquet(tmp_path / "a.parquet", [png(grey[0]), None], [0, 1])))
    with pytest.raises(InputError, match="an image's bytes at row 1"):
        data.read(np.array([1]))


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_damaged_file(tmp_path, png, grey, write_parquet, damage):
    file = write_parquet(tmp_path / "a.parquet", [png(image) for image in grey], range(12))
    whole = file.read_bytes()
    file.write_bytes({"empty": b"", "text": b"hello " * 20, "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(InputError, match="DATA: expected undamaged Parquet at a.parquet") as caught:
        open_data(str(file))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_flipped_bytes_are_an_input_error_or_seen_nowhere(tmp_path, png, grey, write_parquet):
    images = [png(image) for image in grey]
    file = write_parquet(tmp_path / "a.parquet", images, range(12))
    whole, refused = file.read_bytes(), 0
    draw = random.Random(0)
    for _ in range(60):
        at = draw.randrange(4, len(whole) - 8)
        file.write_bytes(whole[:at] + bytes(byte ^ 255 for byte in whole[at : at + 4]) + whole[at + 4 :])
        try:
            open_data(str(file)).read(np.arange(12))
        except InputError:
            refused += 1
    assert refused > 30


def test_ctrl_c_during_a_query_stays_a_ctrl_c(tmp_path):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), _undamaged(tmp_path), duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("select sum(a.range * b.range) from range(200_000) a, range(200_000) b").fetchall()
    timer.join()


def test_images_of_different_sizes_need_resize_and_crop(tmp_path, png, write_parquet):
    images = [png(np.full(size, 9, np.uint8)) for size in ((8, 6), (6, 8), (5, 6))]
    file = str(write_parquet(tmp_path / "a.parquet", images, [0, 1, 0]))
    with pytest.raises(InputError, match="images: expected the shape of image 0, 1x8x6, at image 1 too .*got '1x6x8'"):
        open_data(file).read(np.array([0, 1]))
    fitted = open_data(file, resize=4, crop=4)
    assert fitted.read(np.array([0, 1, 2])).shape == (3, 1, 4, 4)
    with pytest.raises(InputError, match="--crop: expected at most the image's shorter side, 5, got 6"):
        open_data(file, crop=6).read(np.array([2]))
