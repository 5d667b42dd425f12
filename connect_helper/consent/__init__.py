"""What a caller may do: origins, grants, remembered hosts, limits. Pure: no I/O, no clock."""
