"""A service that sends back what it is sent."""
