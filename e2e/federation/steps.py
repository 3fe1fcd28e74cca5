"""Names each thing the scenario does and reports it as one line."""

import time
from collections.abc import Callable


class Steps:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def __call__(self, name: str, action: Callable[[], object]):
        """Runs one step; what failed does not hide the next ones. Returns what the action did, `None` if it failed."""
        started = time.monotonic()
        try:
            result = action()
        except Exception as error:  # every reason a step can fail for is a finding, and gets its line
            self.failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {' '.join(str(error).split())[:500]}", flush=True)
            return None
        self.passed += 1
        print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
        return True if result is None else result


def expect(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)
