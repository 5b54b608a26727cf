"""Says which of the promised items the last full test runs have proven: an item counts when every test marked with it passed."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path

PROMISED = {"S1": 85, "S2": 119, "S3": 88, "S4": 38, "S5": 62}
RECORDS = Path(__file__).parent.parent / "build" / "seeds"


def recorded() -> dict[str, bool]:
    """Item to whether it is proven, over all kinds of run."""
    outcomes: dict[str, bool] = {}
    for file in sorted(RECORDS.glob("*.json")):
        for item, passed in json.loads(file.read_text()).items():
            outcomes[item] = outcomes.get(item, True) and passed
    return outcomes


def ranges(numbers: list[int]) -> str:
    """Numbers as text, neighbours drawn together: ``1-3, 7``."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def main() -> None:
    outcomes = recorded()
    promised = {f"{seed}-{number}" for seed, count in PROMISED.items() for number in range(1, count + 1)}
    unknown = sorted(item for item in outcomes if item not in promised)
    if unknown:
        raise SystemExit(f"tests name items that do not exist: {', '.join(unknown)}")
    proven = {item for item, passed in outcomes.items() if passed}
    print(f"proven {len(proven)} / {len(promised)}")
    for seed, count in PROMISED.items():
        missing = [number for number in range(1, count + 1) if f"{seed}-{number}" not in proven]
        print(f"{seed}: {count - len(missing)} / {count}" + (f", missing {ranges(missing)}" if missing else ""))
    failed = sorted((item for item, passed in outcomes.items() if not passed), key=lambda item: re.split(r"-", item))
    if failed:
        print(f"marked, but a test failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
