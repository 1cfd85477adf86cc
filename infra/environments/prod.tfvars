cloud          = "google"
project_id     = "sales-forecast-prod"
project_number = 100000000004
region         = "europe-west1"
zones          = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]

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
alerting            = { email = "sales-forecast-prod@example.com" }
network             = "10.18.0.0/16"

ci = {
  repository    = "your-organization/sales-forecast-platform"
  repository_id = 100000001
}

encryption = true

registry = {
  keep_versions = 20
  untagged_days = 14
  scan          = true
}

cluster = {
  release_channel         = "STABLE"
  autoscaling_profile     = "BALANCED"
  control_plane_telemetry = true
  binary_authorization    = true
  general = {
    machine_type = "e2-standard-4"
    min_nodes    = 3
    max_nodes    = 15
    upgrade      = "BLUE_GREEN"
  }
  spot = {
    machine_type = "e2-standard-4"
    min_nodes    = 0
    max_nodes    = 4
  }
  maintenance = { # before working hours, so that somebody is there soon
    days       = ["MO", "TU", "WE", "TH"]
    start_hour = 1
    hours      = 6
    exclusions = [
      {
        name  = "black-friday"
        start = "2027-11-22"
        end   = "2027-12-01"
      },
    ]
  }
  backup = {
    retain_days = 30
    lock_days   = 7
  }
}

cpu_caps = { CPUS = 180, N2_CPUS = 64 } # of the cluster while it is upgraded; of two Dataflow jobs

gateway = {
  hostname    = "forecast.example.com"
  iap_members = ["group:sales@example.com"]
}

data = {
  keep_predictions_days = 400
  keep_requests_days    = 90
  keep_audit_logs_days  = 400
  query_gb_per_user     = 500
  keep_versions         = 20
  soft_delete_days      = 30
  second_region         = "europe-west4"
  readers               = ["group:sales-analysts@example.com"]
}

composer = {
  size            = "medium"
  high_resilience = true
  scheduler       = { cpu = 1, memory_gb = 4, count = 2 }
  dag_processor   = { cpu = 1, memory_gb = 4, count = 2 }
  triggerer       = { count = 2 }
  web_server      = { cpu = 1, memory_gb = 4 }
  worker          = { cpu = 2, memory_gb = 8, storage_gb = 10, min_count = 2, max_count = 6 }
  web_access      = ["203.0.113.0/24"]

  keep_snapshots_days = 30
  keep_history_days   = 180
  deny_policy         = true

  packages = { apache-airflow-providers-smtp = "==3.2.0" }
}

batch = {
  machine_type = "n2-standard-4"
  max_workers  = 8
}

prediction = {
  port         = 8080
  min_replicas = 2
  max_replicas = 5
  cpu          = "1"
  memory       = "512Mi"
  autoscaling  = { by = "traffic", requests_per_second = 500 }
}

streaming = {
  port         = 8081
  min_replicas = 2
  max_replicas = 5
  cpu          = "1"
  memory       = "512Mi"
}

messaging = {
  retention_days = 14
  replay_days    = 14
}
