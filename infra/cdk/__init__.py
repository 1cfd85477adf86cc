"""cdktf and the provider bindings, loaded the fast way: `from infra.cdk import Construct, google`.

The only module that imports them, for two reasons: `bindings.py` must come before any other import of cdktf,
and this is the one place to change to move to the cdktn fork, whose class names are the same.

Resources are reached by the module of their type, as in `google.pubsub_topic.PubsubTopic`, which is imported
when it is first named; what Terraform itself has, as in `cdktf.TerraformOutput`. Blocks of a resource are
dicts with Terraform's names, as in HCL.
"""

from typing import Any

from infra.cdk.bindings import fast_imports, with_dicts_in_lists

with fast_imports("cdktf_cdktf_provider_google", "cdktf_cdktf_provider_kubernetes"):
    import jsii

    jsii.data_type = with_dicts_in_lists(jsii.data_type)

    import cdktf
    import cdktf_cdktf_provider_google as google
    import cdktf_cdktf_provider_kubernetes as kubernetes
    from cdktf import App, TerraformResource, TerraformStack
    from constructs import Construct

Block = dict[str, Any]
"""A block of a resource: its arguments and blocks, by name. The resource refuses a wrong name."""

__all__ = [
    "App",
    "Block",
    "Construct",
    "TerraformResource",
    "TerraformStack",
    "cdktf",
    "google",
    "kubernetes",
]
