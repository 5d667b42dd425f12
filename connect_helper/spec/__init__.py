"""The transfer spec and the decisions that follow from it. Pure: no I/O, no clock."""
