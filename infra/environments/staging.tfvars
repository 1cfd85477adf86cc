# Production's shape at half its size.
cloud          = "google"
project_id     = "sales-forecast-staging"
project_number = 100000000003
region         = "europe-west1"
zones          = ["europe-west1-b", "europe-west1-c"]

stacks = [
  "foundation",
  "registry",
  "cluster",
  "data",
  "messaging",
  "orchestration",
  "services",
  "observability",
]

deletion_protection = true
alerting            = { email = "sales-forecast-staging@example.com" }
network             = "10.17.0.0/16"

ci = {
  repository    = "your-organization/sales-forecast-platform"
  repository_id = 100000001
}

cluster = {
  release_channel         = "REGULAR"
  autoscaling_profile     = "BALANCED"
  control_plane_telemetry = true
  binary_authorization    = true
  general = {
    machine_type = "e2-standard-4"
    min_nodes    = 2
    max_nodes    = 6
  }
  spot = {
    machine_type = "e2-standard-4"
    min_nodes    = 0
    max_nodes    = 2
  }
}

cpu_caps = { CPUS = 64, N2_CPUS = 8 }

gateway = {
  hostname    = "forecast.staging.example.com"
  iap_members = ["group:sales-forecast@example.com"]
}

data = {
  keep_predictions_days = 90
  keep_requests_days    = 30
  query_gb_per_user     = 100
  keep_versions         = 5
  soft_delete_days      = 7
}

composer = {
  worker      = { cpu = 1, memory_gb = 4, max_count = 3 }
  deny_policy = true

  packages = { apache-airflow-providers-smtp = "==3.2.0" }
}

prediction = {
  port         = 8080
  min_replicas = 2
  max_replicas = 3
  cpu          = "500m"
  memory       = "512Mi"
}

streaming = {
  port         = 8081
  min_replicas = 2
  max_replicas = 3
  cpu          = "500m"
  memory       = "512Mi"
}

messaging = {
  retention_days = 7
  replay_days    = 7
}
