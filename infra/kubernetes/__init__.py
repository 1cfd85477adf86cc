"""What runs on the cluster: namespaces, workloads and their autoscaling, network policies, the Gateway."""
