"""A Cloud Storage bucket."""

from pathlib import Path
from typing import Final

from infra.cdk import AssetType, Construct, TerraformAsset, google
from infra.cdk.waivers import waive
from infra.google.identity import Principal

storage = google.storage_bucket
storage_object = google.storage_bucket_object
storage_iam = google.storage_bucket_iam_member


class Bucket(Construct):
    """A private bucket in one region.

    Args:
        scope: where it belongs.
        id_: its id there.
        name: of the bucket; unique in the world.
        region: where the objects are.
        protected: refuse to destroy it while it has objects.
        soft_delete_days: how long what was deleted for good, versions too, can be restored; 0, or 7 to 90.
        keep_versions: replaced or deleted objects stay as noncurrent versions, so many of each.
        delete_after_days: age at which objects are deleted; never if absent.
        delete_below: prefix of the names of the objects that this is for; all if absent.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        region: str,
        protected: bool,
        soft_delete_days: int,
        keep_versions: int | None = None,
        delete_after_days: int | None = None,
        delete_below: str | None = None,
    ):
        super().__init__(scope, id_)
        self.name: Final = name
        rules = [
            # What a client that died has uploaded costs as much as an object, and no listing shows it.
            _rule(
                "AbortIncompleteMultipartUpload",
                storage.StorageBucketLifecycleRuleCondition(age=7),
            )
        ]
        if keep_versions is not None:
            rules.append(
                _rule(
                    "Delete",
                    storage.StorageBucketLifecycleRuleCondition(
                        num_newer_versions=keep_versions, with_state="ARCHIVED"
                    ),
                )
            )
        if delete_after_days is not None:
            rules.append(
                _rule(
                    "Delete",
                    storage.StorageBucketLifecycleRuleCondition(
                        age=delete_after_days, matches_prefix=[delete_below] if delete_below else None
                    ),
                )
            )
        self.resource: Final = storage.StorageBucket(
            self,
            "Default",
            name=name,
            location=region.upper(),  # as the API answers it
            force_destroy=not protected,
            uniform_bucket_level_access=True,  # IAM alone decides: no object has a list of its own
            public_access_prevention="enforced",  # whatever a grant says
            versioning=storage.StorageBucketVersioning(enabled=keep_versions is not None),
            soft_delete_policy=storage.StorageBucketSoftDeletePolicy(
                retention_duration_seconds=soft_delete_days * 24 * 3600
            ),
            lifecycle_rule=rules,
        )
        waive(self.resource, {"CKV_GCP_62": "Cloud Audit Logs tell who read what; usage logs are older"})
        if keep_versions is None:
            waive(self.resource, {"CKV_GCP_78": "what it holds can be made anew"})

    def upload(
        self, scope: Construct, id_: str, *, name: str, file: Path
    ) -> storage_object.StorageBucketObject:
        """Put a file into the bucket; a changed file replaces the object.

        Args:
            scope: where it belongs.
            id_: its id there.
            name: of the object.
            file: its content.
        """
        # A copy beside the stack, in a folder named by the content: a plan needs the source no more.
        asset = TerraformAsset(scope, f"{id_}-file", path=str(file), type=AssetType.FILE)
        return storage_object.StorageBucketObject(
            scope,
            id_,
            bucket=self.name,
            name=name,
            source=asset.path,
            depends_on=[self.resource],
        )

    def write(
        self, scope: Construct, id_: str, *, name: str, content: str
    ) -> storage_object.StorageBucketObject:
        """Put text into the bucket; changed text replaces the object."""
        return storage_object.StorageBucketObject(
            scope, id_, bucket=self.name, name=name, content=content, depends_on=[self.resource]
        )

    def grant_read(self, principal: Principal) -> storage_iam.StorageBucketIamMember:
        """Let somebody read and list the objects. Returns the grant, for what must wait for it."""
        return self._grant(principal, "read", "roles/storage.objectViewer")

    def grant_write(self, principal: Principal) -> storage_iam.StorageBucketIamMember:
        """Let somebody read, create, replace and delete objects. Returns the grant."""
        return self._grant(principal, "write", "roles/storage.objectUser")

    def _grant(self, principal: Principal, verb: str, role: str) -> storage_iam.StorageBucketIamMember:
        return storage_iam.StorageBucketIamMember(
            principal,
            f"{verb}-{self.name}",
            bucket=self.name,
            role=role,
            member=principal.member,
            depends_on=principal.depends_on(self.resource),
        )


def _rule(
    action: str, condition: storage.StorageBucketLifecycleRuleCondition
) -> storage.StorageBucketLifecycleRule:
    return storage.StorageBucketLifecycleRule(
        action=storage.StorageBucketLifecycleRuleAction(type=action), condition=condition
    )
