"""Explore every model; fail if one that must hold does not, or a broken one is not caught."""

import sys
import time

import counter
import flights
import late_schemes
import marks
import schemes
import slots
import standing
import tokens
from explorer import explore


def main() -> int:
    wrong = right = 0
    for module in (tokens, slots, counter, schemes, flights, marks, standing, late_schemes):
        print(module.__doc__.splitlines()[0])
        for name, model, must_hold in module.MODELS:
            began = time.perf_counter()
            outcome = explore(model)
            verdict = "holds" if outcome.holds else "violated"
            expected = outcome.holds == must_hold
            right, wrong = right + expected, wrong + (not expected)
            note = "" if expected else "   <-- NOT AS EXPECTED"
            seconds = time.perf_counter() - began
            print(f"  {verdict:9} {name}  ({outcome.states} states, {seconds:.1f} s){note}")
            if outcome.trace and not expected:
                print("            " + "; ".join(outcome.trace))
    print(f"{right} passed, {wrong} failed")
    return 1 if wrong else 0


sys.exit(main())
