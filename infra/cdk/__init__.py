"""cdktf and the provider bindings, loaded the fast way: `from infra.cdk import Construct, google`.

The only module that imports them, for two reasons: `bindings.py` must come before any other import of cdktf,
and this is the one place to change to move to the cdktn fork, whose class names are the same.

Classes are reached by the module of their resource type, as in `google.pubsub_topic.PubsubTopic`; a module is
imported when it is first named.
"""

from infra.cdk.bindings import fast_imports

with fast_imports("cdktf_cdktf_provider_google", "cdktf_cdktf_provider_kubernetes"):
    import cdktf_cdktf_provider_google as google
    import cdktf_cdktf_provider_kubernetes as kubernetes
    from cdktf import (
        App,
        DataResource,
        GcsBackend,
        LocalBackend,
        LocalExecProvisioner,
        TerraformOutput,
        TerraformResource,
        TerraformResourceLifecycle,
        TerraformStack,
        TerraformVariable,
        TerraformVariableValidationConfig,
    )
    from constructs import Construct

__all__ = [
    "App",
    "Construct",
    "DataResource",
    "GcsBackend",
    "LocalBackend",
    "LocalExecProvisioner",
    "TerraformOutput",
    "TerraformResource",
    "TerraformResourceLifecycle",
    "TerraformStack",
    "TerraformVariable",
    "TerraformVariableValidationConfig",
    "google",
    "kubernetes",
]
