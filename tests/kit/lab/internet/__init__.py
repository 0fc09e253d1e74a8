"""The internet of a `UserspaceNetwork`: NATs and ways as pure logic, and a process around them.

Standing on nothing but the standard library it starts fast. The modules import each other
relatively, so that the process finds them without the package `tests`, and all that this needs.
"""
