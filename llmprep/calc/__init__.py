"""The arithmetic of an interview: parameters, FLOPs, memory, bandwidth, cost. Plain Python."""
