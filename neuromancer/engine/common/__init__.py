"""What every engine does the same way: checks, random streams, drawings, counting of pairs. Imports no engine."""
