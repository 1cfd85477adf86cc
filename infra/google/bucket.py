"""A Cloud Storage bucket."""

from typing import Final

from infra.cdk import Block, Construct, TerraformResource, google
from infra.cdk.stack import place_of
from infra.cdk.waivers import waive
from infra.environment.project import CONTINENTS
from infra.google.identity import Principal
from services.contracts.names import bucket_name


class Bucket(Construct):
    """A private bucket in one region or two.

    Args:
        purpose: what it holds; its name is that of the project and this.
        soft_delete_days: days in which deleted objects and versions can be restored; 0, or 7 to 90.
        keep_versions: noncurrent versions kept of each replaced or deleted object; no versioning if absent.
        delete_below: prefix of the names of objects to delete by age; all objects if absent.
        second_region: has all objects within hours, and is used if the environment's own is down.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        purpose: str,
        soft_delete_days: int,
        keep_versions: int | None = None,
        delete_after_days: int | None = None,
        delete_below: str | None = None,
        second_region: str | None = None,
    ):
        super().__init__(scope, id_)
        place = place_of(self)
        self.name: Final = bucket_name(place.project_id, purpose)
        location, regions = place.region.upper(), None  # as the API returns it
        if second_region:
            regions = {"data_locations": [location, second_region.upper()]}
            location = CONTINENTS[second_region.partition("-")[0]]
        # Parts of an unfinished upload cost as much as an object, and no listing shows them.
        rules: list[tuple[str, Block]] = [("AbortIncompleteMultipartUpload", {"age": 7})]
        if keep_versions is not None:
            rules.append(("Delete", {"num_newer_versions": keep_versions, "with_state": "ARCHIVED"}))
        if delete_after_days is not None:
            below = [delete_below] if delete_below else None
            rules.append(("Delete", {"age": delete_after_days, "matches_prefix": below}))
        self.resource: Final = google.storage_bucket.StorageBucket(
            self,
            "Default",
            name=self.name,
            location=location,
            custom_placement_config=regions,
            force_destroy=not place.protected,
            uniform_bucket_level_access=True,  # IAM alone decides: objects have no access lists
            public_access_prevention="enforced",  # even if a grant allows it
            versioning={"enabled": keep_versions is not None},
            soft_delete_policy={"retention_duration_seconds": soft_delete_days * 24 * 3600},
            lifecycle_rule=[
                {"action": {"type": action}, "condition": condition} for action, condition in rules
            ],
        )
        waive(self.resource, {"CKV_GCP_62": "the audit logs of the project tell who read what"})
        if keep_versions is None:
            waive(self.resource, {"CKV_GCP_78": "what it holds goes by age anyway"})

    def write(self, scope: Construct, id_: str, *, name: str, content: str) -> None:
        """Put text into the bucket; changed text is written over the object.

        The path of a changed file would be another `source`, for which Terraform deletes the object first.
        """
        google.storage_bucket_object.StorageBucketObject(
            scope, id_, bucket=self.name, name=name, content=content, depends_on=[self.resource]
        )

    def tag(self, value: str) -> TerraformResource:
        """Attach a tag, by which conditions of deny policies know the bucket. Returns the attachment."""
        return google.tags_location_tag_binding.TagsLocationTagBinding(
            self,
            "tag",
            parent=f"//storage.googleapis.com/projects/_/buckets/{self.name}",
            location=place_of(self).region,
            tag_value=value,
            depends_on=[self.resource],
        )

    def grant_read(self, principal: Principal) -> TerraformResource:
        """Let a principal read and list the objects. Returns the grant."""
        return self._grant(principal, "read", "roles/storage.objectViewer")

    def grant_write(self, principal: Principal) -> TerraformResource:
        """Let a principal read, create, replace and delete objects. Returns the grant."""
        return self._grant(principal, "write", "roles/storage.objectUser")

    def _grant(self, principal: Principal, verb: str, role: str) -> TerraformResource:
        return principal.grant(
            google.storage_bucket_iam_member.StorageBucketIamMember,
            f"{verb}-{self.name}",
            role,
            self.resource,
            bucket=self.name,
        )
