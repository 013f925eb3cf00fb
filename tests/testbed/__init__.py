"""A cloud and a batch cluster on one machine, for tests and for trying things out (root on Debian only).

rootfs.py makes the root file system of all machines; machines.py runs machines of it on a switch of their own;
machine_init.py is their first process; pool.py makes an HTCondor pool of them, and batch.py says what any other batch
system needs to offer; proxy.py and moto_server.py are the EC2 endpoint.

`python -m tests.testbed pool` runs a pool to play with.
"""
