"""Names each thing a scenario does, bounds it in time and reports it as one line."""

import asyncio
from collections.abc import Awaitable, Callable

STEP_SECONDS = 30


class ScenarioOver(Exception):
    """A step failed that everything after it stands on."""


class Steps:
    def __init__(self) -> None:
        self.failures = 0

    async def __call__(self, name: str, action: Callable[[], Awaitable], essential: bool = False,
                       seconds: float = STEP_SECONDS):
        """Runs one step. A failed step does not hide the next ones, unless it is essential."""
        try:
            async with asyncio.timeout(seconds):
                result = await action()
        except Exception as error:  # every reason a step can fail for is a finding, and gets its line
            reason = f"nothing within {seconds} s" if isinstance(error, TimeoutError) and not str(error) else error
            self.failures += 1
            print(f"FAIL {name}: {type(error).__name__}: {' '.join(str(reason).split())[:600]}", flush=True)
            if essential:
                raise ScenarioOver(name) from error
            return None
        print(f"ok {name}", flush=True)
        return result


def expect(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)
