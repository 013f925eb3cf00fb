"""A cloud and a batch system on one machine, without root: `python -m elastiq.sandbox` shows elastiq at work."""
