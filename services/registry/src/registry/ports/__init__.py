"""What the registry needs from outside, a module each.

Adapters hold no retry, no back-off and no metric: `application/` owns those. Errors are those of
`kernel.errors`; any method may raise Unavailable (not reached in time, connection lost).
"""
