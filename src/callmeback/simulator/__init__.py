"""The vendors on their own wire, on this machine: for `make up`, tests and benchmarks. Nothing here leaves the
loopback."""

from callmeback.simulator.app import create, routes
from callmeback.simulator.payments.account import PaymentsConfig
from callmeback.simulator.state import Simulator, SimulatorConfig

__all__ = ["PaymentsConfig", "Simulator", "SimulatorConfig", "create", "routes"]
