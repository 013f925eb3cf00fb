"""A cloud and a batch cluster on one machine, for tests and for trying things out (root on Debian only).

rootfs.py makes the root file system of all machines; machines.py runs machines of it on a switch of their own, in
namespaces.py; machine_init.py is their first process; batch.py says what a batch system on them has to offer, and has
what all do alike; htcondor_pool.py, slurm_pool.py and gridengine_pool.py are those; proxy.py and moto_server.py are the
EC2 endpoint that most tests use, and openstack/ is a real one.

`python -m tests.testbed pool` runs a pool to play with, `python -m tests.testbed openstack` a cloud.
"""
