"""Google Cloud: one module is one construct is one thing that Google Cloud has."""
