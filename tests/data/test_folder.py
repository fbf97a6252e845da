from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foolscope.data import open_data
from foolscope.errors import InputError


@pytest.fixture
def pets(tmp_path):
    """Two dogs and one cat in colour; the red channel tells them apart."""
    for name, value in (("dog/b.png", 20), ("dog/a.PNG", 10), ("cat/x.png", 30)):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(file)
    return tmp_path / "pets"


def test_classes_and_files_are_sorted_by_name(pets):
    data = open_data(str(pets))
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.shape == (3, 4, 5)
    assert (data.read(np.array([2, 0, 1]))[:, 0, 0, 0] * 255).round().tolist() == [20, 30, 10]
    assert data.notes == ()


def test_samples_of_a_sorted_set_are_warned_about(pets):
    (note,) = open_data(str(pets), samples=1).notes
    assert note.startswith("sorted by label: the first 1 of 3 images cover 1 of 2 classes")
    assert open_data(str(pets), samples=2).notes == ()
    assert open_data(str(pets), samples=9).notes == ("--samples 9: there are only 3 images, all are used",)


def test_other_files_are_left_out_and_said(pets):
    (pets / "dog" / "notes.txt").write_text("good boy")
    (pets / "dog" / ".DS_Store").write_text("")
    (pets / ".hidden").mkdir()
    data = open_data(str(pets))
    assert len(data) == 3
    assert data.notes == ("1 files that are no images were left out",)


def test_numbered_folders_are_sorted_as_text_and_said(tmp_path, png, grey):
    for number in ("0", "1", "2", "10"):
        (tmp_path / "set" / number).mkdir(parents=True)
        (tmp_path / "set" / number / "a.png").write_bytes(png(grey[0]))
    data = open_data(str(tmp_path / "set"))
    assert data.classes == ("0", "1", "10", "2")
    assert data.notes == ("class folders are sorted by name, not by number: folder 10 is class 2",)


def test_damaged_image_is_named(pets):
    (pets / "dog" / "b.png").write_bytes((pets / "dog" / "b.png").read_bytes()[:40])
    data = open_data(str(pets))
    with pytest.raises(InputError, match="DATA: expected an image that can be decoded at image 2, dog/b.png"):
        data.read(np.array([0, 2]))


def test_image_that_went_away_is_named(pets):
    data = open_data(str(pets))
    (pets / "dog" / "a.PNG").unlink()
    with pytest.raises(InputError, match="at image 1, dog/a.PNG"):
        data.read(np.array([1]))


def test_unsuitable_folders(tmp_path, pets):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="DATA: expected Parquet files, or a folder with one folder a class"):
        open_data(str(empty))
    empty.rmdir()
    with pytest.raises(InputError, match="DATA: .*got 'folders inside .*/pets'"):
        open_data(str(tmp_path))
    (pets / "bird").mkdir()
    with pytest.raises(InputError, match="got 'pets/bird, which holds no image'"):
        open_data(str(pets))
    with pytest.raises(InputError, match="DATA: expected no :split after pets"):
        open_data(f"{pets}:train")


def test_sixteen_bit_images_are_refused(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "set" / "a" / "x.png")
    with pytest.raises(InputError, match="DATA: expected an image of 8 bits a channel at a/x.png, got 'mode I;16'"):
        open_data(str(tmp_path / "set"))
