"""The registry on a real GCS emulator: whole versions only, never overwritten, one pointer."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.contracts.model import Manifest
from services.forecasting import artifact
from services.forecasting.artifact import CorruptModelError
from services.forecasting.model_registry import PointerMovedError, UnknownVersionError, VersionExistsError
from tests.conftest import Models


def test_a_version_is_loaded_as_it_was_saved(models: Models) -> None:
    uploaded = models.upload("v1")
    model = models.registry.load("v1")
    forecast, expected = model.forecast, models.forecast("v1")
    assert model.manifest == uploaded
    assert forecast.rows(30, forecast.select().tolist()) == expected.rows(30, expected.select().tolist())
    assert model.history.dates == models.history("v1").dates
    np.testing.assert_array_equal(model.history.sales, models.history("v1").sales)


def test_nothing_is_published_by_uploading(models: Models) -> None:
    models.upload("v1")
    assert models.registry.pointer() is None


def test_upload_again_changes_nothing(models: Models) -> None:
    models.upload("v1")
    before = {blob.name: blob.generation for blob in models.bucket.list_blobs()}
    models.registry.upload(models.folder / "v1")
    assert {blob.name: blob.generation for blob in models.bucket.list_blobs()} == before


def test_an_upload_cut_short_is_no_version_until_completed(models: Models) -> None:
    models.upload("v1")
    models.bucket.blob("sales/v1/manifest.json").delete()
    with pytest.raises(UnknownVersionError, match=r"sales/v1/manifest\.json is missing"):
        models.registry.load("v1")
    with pytest.raises(UnknownVersionError):
        models.registry.publish("v1")
    models.registry.upload(models.folder / "v1")
    models.registry.publish("v1")


@pytest.mark.parametrize("name", ["forecast.npz", "history.npz", "manifest.json"])
def test_a_version_is_never_overwritten(models: Models, name: str) -> None:
    models.upload("v1")
    blob = models.bucket.blob(f"sales/v1/{name}")
    blob.upload_from_string(b"another's")
    with pytest.raises(VersionExistsError, match=f"sales/v1/{name} exists with other content"):
        models.registry.upload(models.folder / "v1")
    assert blob.download_as_bytes() == b"another's"


def test_a_broken_folder_is_not_uploaded(models: Models) -> None:
    models.upload("v1")
    (models.folder / "v1" / "model.txt").write_bytes(b"cut")
    models.bucket.delete_blobs(list(models.bucket.list_blobs()))
    with pytest.raises(CorruptModelError, match=r"v1/model\.txt"):
        models.registry.upload(models.folder / "v1")
    assert list(models.bucket.list_blobs()) == []


@pytest.mark.parametrize("name", ["forecast.npz", "model.txt"])
def test_a_corrupt_version_is_not_published(models: Models, name: str) -> None:
    models.publish("v0")
    models.upload("v1")
    models.bucket.blob(f"sales/v1/{name}").upload_from_string(b"bit rot")
    with pytest.raises(CorruptModelError, match=f"v1/{name}: SHA-256 is"):
        models.registry.publish("v1")
    models.bucket.blob(f"sales/v1/{name}").delete()
    with pytest.raises(CorruptModelError, match=f"sales/v1/{name}: missing"):
        models.registry.publish("v1")
    current = models.registry.pointer()
    assert current is not None
    assert current[0].version == "v0"


@pytest.mark.parametrize("name", ["forecast.npz", "history.npz"])
def test_a_corrupt_file_is_not_loaded(models: Models, name: str) -> None:
    models.upload("v1")
    models.bucket.blob(f"sales/v1/{name}").upload_from_string(b"bit rot")
    with pytest.raises(CorruptModelError, match=f"v1/{name}: SHA-256 is"):
        models.registry.load("v1")


def test_another_version_s_manifest_is_noticed(models: Models) -> None:
    models.upload("v1")
    content = (models.folder / "v1" / artifact.MANIFEST_FILE).read_bytes()
    models.bucket.blob("sales/v2/manifest.json").upload_from_string(content)
    with pytest.raises(CorruptModelError, match="is the manifest of version v1"):
        models.registry.load("v2")


def test_publish_moves_the_pointer_there_and_back(models: Models) -> None:
    for version in ("v1", "v2", "v1"):
        models.publish(version)
        current = models.registry.pointer()
        assert current is not None
        assert current[0].version == version


def test_the_pointer_is_read_again_only_when_it_moved(models: Models) -> None:
    assert models.registry.pointer() is None
    models.publish("v1")
    first = models.registry.pointer()
    assert first is not None
    assert models.registry.pointer(unless=first[1]) is None
    models.publish("v2")
    second = models.registry.pointer(unless=first[1])
    assert second is not None
    assert (first[0].version, second[0].version) == ("v1", "v2")
    assert second == models.registry.pointer()


def test_who_comes_second_does_not_publish(models: Models) -> None:
    models.upload("v2")
    models.publish("v1")
    seen = models.registry.pointer()
    assert seen is not None
    models.publish("v3")
    with pytest.raises(PointerMovedError, match="no longer of generation"):
        models.registry.publish("v2", generation=seen[1])
    with pytest.raises(PointerMovedError):
        models.registry.publish("v2", generation=0)
    current = models.registry.pointer()
    assert current is not None
    assert current[0].version == "v3"


def test_a_pointer_that_is_none_is_corrupt(models: Models) -> None:
    models.bucket.blob("sales/current.json").upload_from_string(b'{"version": "../x"}')
    with pytest.raises(CorruptModelError, match=r"sales/current\.json"):
        models.registry.pointer()


def test_the_manifest_says_what_the_version_is(models: Models, tmp_path: Path) -> None:
    uploaded = models.upload("v1")
    content = models.bucket.blob("sales/v1/manifest.json").download_as_bytes()
    assert msgspec.json.decode(content, type=Manifest) == uploaded == models.registry.manifest("v1")
