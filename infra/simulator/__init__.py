"""The laptop's cloud: a simulated Terraform provider over real emulators and local processes."""


class SimulatorError(Exception):
    """A part of the simulated cloud fails; the message says why, and what to do."""
