"""From units of a graph to LLVM's IR and on to object code: one generator for each kind of kernel, one table of them.

Knows nodes of the graph and what the processor can do; neither memory nor threads, which are the runtime's.
"""
