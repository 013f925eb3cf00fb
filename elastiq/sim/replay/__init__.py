"""Recorded work, run through the simulator."""
