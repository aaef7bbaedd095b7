"""Code shared by the engines: checks, functions, random streams, drawings, pair counts. Imports no engine."""
