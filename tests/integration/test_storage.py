"""Buckets and objects in the Cloud Storage emulator, by Terraform."""

import base64
import hashlib
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Cloud, Terraform


def stack(*, force_destroy: bool = True, **content: Any) -> dict[str, Any]:
    """A bucket, with an object if there is content for it."""
    bucket = {
        "name": "test-models",
        "location": "EU",
        "force_destroy": force_destroy,
        "versioning": {"enabled": True},
        "lifecycle_rule": [{"action": {"type": "Delete"}, "condition": {"num_newer_versions": 5}}],
    }
    resources: dict[str, Any] = {"google_storage_bucket": {"models": bucket}}
    if content:
        item = {"bucket": "${google_storage_bucket.models.name}", "name": "dags/a dag.py", **content}
        resources["google_storage_bucket_object"] = {"dag": item}
    return resources


def download(cloud: Cloud) -> httpx.Response:
    return httpx.get(
        f"http://{cloud.endpoints.storage}/storage/v1/b/test-models/o/dags%2Fa%20dag.py?alt=media"
    )


def test_content_is_uploaded_and_changed(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack(content="print(1)", content_type="text/x-python"))
    response = download(cloud)
    assert response.text == "print(1)"
    assert response.headers["content-type"] == "text/x-python"
    state = terraform.state("google_storage_bucket_object.dag")
    assert base64.b64decode(state["md5hash"]) == hashlib.md5(b"print(1)", usedforsecurity=False).digest()
    assert terraform.state("google_storage_bucket.models")["url"] == "gs://test-models"
    assert terraform.plan() == {}
    terraform.apply(stack(content="print(2)"))
    assert download(cloud).text == "print(2)"
    assert terraform.plan() == {}


def test_an_object_that_was_changed_by_hand_is_uploaded_again(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack(content="print(1)"))
    assert download(cloud).headers["content-type"] == "text/plain; charset=utf-8"
    url = f"http://{cloud.endpoints.storage}/upload/storage/v1/b/test-models/o"
    httpx.post(url, params={"uploadType": "media", "name": "dags/a dag.py"}, content=b"tampered")
    assert terraform.plan() == {"google_storage_bucket_object.dag": "update"}
    cloud.storage("DELETE", "b/test-models/o/dags%2Fa%20dag.py")
    assert terraform.plan() == {"google_storage_bucket_object.dag": "create"}
    terraform.apply()
    assert download(cloud).text == "print(1)"


def test_a_file_is_refused(terraform: Terraform) -> None:
    assert "source has no counterpart on a laptop" in terraform.refused(stack(source="dag.py"))


@pytest.mark.parametrize("force", [True, False])
def test_a_bucket_in_use_goes_only_by_force(cloud: Cloud, terraform: Terraform, force: bool) -> None:
    terraform.apply(stack(force_destroy=force))
    url = f"http://{cloud.endpoints.storage}/upload/storage/v1/b/test-models/o"
    httpx.post(url, params={"uploadType": "media", "name": "sales/current.json"}, content=b"{}")
    if force:
        terraform.apply({})
    else:
        message = terraform.refused({})
        assert "Cannot delete bucket test-models" in message
        assert "sales/current.json" in message
        cloud.storage("DELETE", "b/test-models/o/sales%2Fcurrent.json")
        terraform.apply()
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        cloud.storage("GET", "b/test-models")


def test_a_lost_bucket_shows(cloud: Cloud, terraform: Terraform) -> None:
    terraform.apply(stack())
    cloud.storage("DELETE", "b/test-models")
    assert terraform.plan() == {"google_storage_bucket.models": "create"}
