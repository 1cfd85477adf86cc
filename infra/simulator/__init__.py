"""The laptop's cloud: a simulated Terraform provider over real emulators and local processes."""
