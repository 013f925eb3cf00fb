"""The real daemon process, with the plug pulled at every step, against the testbed's EC2 endpoint and its faults."""
