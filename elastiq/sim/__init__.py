"""A simulator that drives the very same Core through its ports, for many cluster-years, with faults from one seed."""
