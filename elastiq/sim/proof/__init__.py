"""Faults, and the promises that must hold whatever befalls a cluster."""
