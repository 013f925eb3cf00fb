"""A real OpenStack on one machine: OpenStack's services of Debian 12 and the EC2 interface of the package index.

trees.py installs them; set_up.py configures them (services.py says how) and fills their databases, once; cloud.py
starts what is there: `with OpenStack() as cloud`. The services run in system.py, whose first process is
first_process.py; relay.py is the way in, and administration.py what an administrator asks of them. record.py writes
down what they answer, and recorded.py reads that where there is no OpenStack.
"""
