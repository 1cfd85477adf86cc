# Cheap, and free to break: no Composer, one zone, nothing protected from destruction.
cloud          = "google"
project_id     = "sales-forecast-dev"
project_number = 100000000002
region         = "europe-west1"
zones          = ["europe-west1-b"]

stacks = [
  "foundation",
  "registry",
  "cluster",
  "data",
  "messaging",
  "services",
  "observability",
]

deletion_protection = false
alerting            = { email = "sales-forecast-dev@example.com" }
network             = "10.16.0.0/16"

ci = {
  repository    = "your-organization/sales-forecast-platform"
  repository_id = 100000001
}

registry = {
  keep_versions = 5
  untagged_days = 3
  scan          = false
}

cluster = {
  release_channel     = "REGULAR"
  autoscaling_profile = "OPTIMIZE_UTILIZATION"
  general = {
    machine_type = "e2-standard-2"
    min_nodes    = 1
    max_nodes    = 3
  }
  spot = {
    machine_type = "e2-standard-2"
    min_nodes    = 0
    max_nodes    = 1 # and one that is no spot node; a new project's quota has room for 500 GB of boot disks
  }
}

data = {
  keep_predictions_days = 30
  keep_requests_days    = 7
  keep_versions         = 3
  soft_delete_days      = 0
}

prediction = {
  port         = 8080
  min_replicas = 1
  max_replicas = 2
  cpu          = "250m"
  memory       = "512Mi"
}

streaming = {
  port         = 8081
  min_replicas = 1
  max_replicas = 2
  cpu          = "250m"
  memory       = "512Mi"
}

messaging = {
  retention_days = 1
  replay_days    = 1
}
