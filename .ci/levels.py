"""Of the instruction sets named, those that this processor has and does not choose by itself, on one line.

The others are named on standard error, each with the reason why it is left out.
"""

from __future__ import annotations

import sys

from handloom.codegen import llvm
from handloom.codegen.target import choose, lacking

cpu, features, triple = llvm.host()
own = choose(triple, cpu, features).name
kept = []
for level in sys.argv[1:]:
    missing = lacking(level, triple, features)
    if missing:
        print(f"{level} is left out: {cpu} lacks {', '.join(missing)}", file=sys.stderr)
    elif level == own:
        print(f"{level} is left out: it is what all else runs with here", file=sys.stderr)
    else:
        kept.append(level)
print(*kept)
