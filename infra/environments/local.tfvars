# The platform on this machine: the same stacks, applied to emulators and local processes.
cloud          = "simulated"
project_id     = "sales-forecast-local"
project_number = 100000000001
region         = "europe-west1"
zones          = ["europe-west1-b"]

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

deletion_protection = false
alerting            = { email = "sales-forecast-local@example.com" }
network             = "10.0.0.0/18"

cluster = {
  general = {
    machine_type = "e2-standard-2"
    min_nodes    = 0
    max_nodes    = 1
  }
}

# A pod is one process here, so replicas add nothing and the two ports must differ. No load balancer has to
# notice that one stops.
prediction = {
  port          = 8780
  min_replicas  = 1
  max_replicas  = 1
  cpu           = "500m"
  memory        = "512Mi"
  drain_seconds = 0
}

streaming = {
  port          = 8781
  min_replicas  = 1
  max_replicas  = 1
  cpu           = "500m"
  memory        = "512Mi"
  drain_seconds = 0
}
