"""The platform on this machine: installing, bringing it up and down, running the pipeline."""
