"""Take over what a destroyed environment leaves behind, since Google gives its names to nobody for a while.

A deleted identity pool keeps its name for 30 days, a log bucket for 7; key rings, keys and caps on quotas
keep theirs for ever: a second deployment would end in an error. They are undeleted where needed; all but the
log bucket are imported into the state of `foundation`.
"""

from collections.abc import Iterator
from typing import Any

from infra.environment import Environment
from infra.simulator import gcloud as simulated_gcloud
from scripts.deployment import gcloud
from scripts.deployment.terraform_plans import Synthesis, Terraform

_POOLS = ("iam", "workload-identity-pools")


def adopt(target: Environment, synthesis: Synthesis, *, dry_run: bool) -> str:
    """Take over what exists of that; returns what was done.

    Raises:
        CommandError: gcloud or Terraform failed.
    """
    google = simulated_gcloud if target.simulated else gcloud
    stack = f"{target.name}-foundation"
    foundation: dict[str, dict[str, Any]] = synthesis.configuration(stack)["resource"]
    project = f"--project={target.project_id}"
    deleted: list[tuple[str, ...]] = []
    logs: list[str] = []
    found: dict[str, str] = {}

    def existing(kind: str, key: str, question: tuple[str, ...], *place: str) -> Iterator[dict[str, Any]]:
        """Those resources of a type that Google has, as gcloud describes them."""
        declared = {each[key]: f"{kind}.{name}" for name, each in foundation.get(kind, {}).items()}
        every = ("--show-deleted",) if question[0] == "iam" else ()
        for each in google.ask(*question, "list", *place, project, *every) if declared else ():
            id_ = each["name"].rpartition("/")[2]
            if id_ in declared:
                # Google names projects by number. Terraform would replace what is imported so.
                in_project = each["name"].split("/", 2)[2]
                found[declared[id_]] = f"projects/{target.project_id}/{in_project}"
                if each.get("state") == "DELETED" or each.get("lifecycleState") == "DELETE_REQUESTED":
                    deleted.append((*question, "undelete", id_, *place, project))
                yield {**each, "id": id_, "address": declared[id_]}

    place = "--location=global"
    for pool in existing("google_iam_workload_identity_pool", "workload_identity_pool_id", _POOLS, place):
        of_pool = (place, f"--workload-identity-pool={pool['id']}")
        kind, key = "google_iam_workload_identity_pool_provider", "workload_identity_pool_provider_id"
        list(existing(kind, key, (*_POOLS, "providers"), *of_pool))
    list(existing("google_cloud_quotas_quota_preference", "name", ("beta", "quotas", "preferences")))
    place = f"--location={target.region}"
    for each in existing("google_logging_project_bucket_config", "bucket_id", ("logging", "buckets"), place):
        # Terraform takes over a log bucket that exists, and would replace one that it imported.
        del found[each["address"]]
        if each["lifecycleState"] == "DELETE_REQUESTED":
            logs.append(each["address"])
    for ring in existing("google_kms_key_ring", "name", ("kms", "keyrings"), place):
        of_ring = (place, f"--keyring={ring['id']}")
        for each in existing("google_kms_crypto_key", "name", ("kms", "keys"), *of_ring):
            # Terraform destroys the versions of a key. One that signs has no primary one.
            of_key = (f"--key={each['id']}", *of_ring, project)
            versions = ("kms", "keys", "versions")
            if each.get("purpose") == "ASYMMETRIC_SIGN":
                if not google.ask(*versions, "list", *of_key, "--filter=state=ENABLED"):
                    deleted.append((*versions, "create", *of_key))
            elif each.get("primary", {}).get("state") != "ENABLED":
                deleted.append((*versions, "create", "--primary", *of_key))
    if not found and not deleted:
        return "nothing"
    if dry_run:
        return f"to be taken over, unless the state has them: {', '.join((*found, *logs))}"
    for command in deleted:
        google.run(*command)
    terraform = Terraform(synthesis, stack)
    terraform.must("init", "-input=false", "-no-color")
    known = terraform.run("state", "list").stdout.splitlines()  # fails while there is no state
    # A deployment that failed on a deleted log bucket has it as tainted: the next would delete it again.
    for address in logs:
        if address in known:
            terraform.must("untaint", address)
    missing = [address for address in found if address not in known]
    for address in missing:
        terraform.must("import", "-input=false", "-no-color", address, found[address])
    return f"taken over: {', '.join((*missing, *logs))}" if missing or logs else "in the state already"
