"""What 2.0.0 asked a schedd, to compare with: waiting jobs, which the schedd groups by their sizes alone.

`python3 htcondor_by_size.py` prints a list of the numbers of jobs as JSON.
"""

from __future__ import annotations

import json

import classad2  # type: ignore[import-not-found,unused-ignore]
import htcondor2  # type: ignore[import-not-found,unused-ignore]

CONSTRAINT = (
    'JobStatus == 1 && JobUniverse =!= 9 && JobUniverse =!= 12 && JobUniverse =!= 7 && Managed =!= "External"'
    " && (DeferralTime - DeferralPrepTime > time() + ScheddInterval) =!= true"
)
SIZES = ("JobStatus", "RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs", "MinHosts")
VALUES = (
    "int(RequestCpus)",
    "int(ceiling(RequestMemory))",
    "int(ceiling(RequestDisk / 1024.0))",
    "int(RequestGPUs)",
    "int(MinHosts)",
)


def main() -> None:
    expressions = [classad2.ExprTree(value) for value in VALUES]
    counts = []
    for location in htcondor2.Collector().locateAll(htcondor2.DaemonType.Schedd):
        rows = htcondor2.Schedd(location).query(CONSTRAINT, projection=list(SIZES), opts=htcondor2.QueryOpt.GroupBy)
        for row in rows:
            assert all(expression.eval(row) is not None for expression in expressions)
            counts.append(int(row["JobCount"]))
    print(json.dumps(counts))


main()
