"""Planning, deploying and verifying an environment."""
