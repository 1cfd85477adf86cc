"""Building blocks: one file, one construct, one thing Google Cloud or Kubernetes has."""
