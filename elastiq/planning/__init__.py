"""What is decided: pure functions of an observation, the memory and the policy. No clock, no I/O, no log, no random."""
