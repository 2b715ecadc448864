"""Profile your own chip: from a CSV of timed kernels to laws, and what they change in a prediction.

    python examples/profile_own_chip.py [--measurements FILE.csv] [--memory-gb 25] [--price 0.05USD/h]

The CSV shipped here was measured on one core of an x86 virtual machine. `costsim profile` writes one for your device.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import costsim
from costsim.calibration.draft import drafted
from costsim.calibration.measurement import read_measurements
from costsim.calibration.run import calibrate, written_text

SHIPPED = Path(__file__).parent / "data" / "kernels_x86.csv"


def predicted(chip: costsim.Accelerator, price: costsim.Price) -> costsim.Report:
    """Qwen2.5 1.5B decoding four requests of 512 tokens on one device."""
    plan = costsim.ServingPlan(gpus=1, precision="bf16")
    load = costsim.DecodeLoad(context=512, batch_per_gpu=4)
    return costsim.predict_inference(costsim.load_model("qwen2.5-1.5b"), chip, plan, load, price)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measurements", type=Path, default=SHIPPED)
    parser.add_argument("--memory-gb", type=float, default=25.0, help="what the device holds; no kernel shows it")
    parser.add_argument("--price", default="0.05USD/h", help="what the device costs an hour")
    o = parser.parse_args(arguments)
    rows = read_measurements(o.measurements)
    facts = {"name": "my device", "device": "cpu", "cores": 1, "memory_bytes": int(o.memory_gb * 1e9)}
    sheet, chip = drafted("my-device", rows, facts)
    result = calibrate(chip, rows)

    print(f"{len(rows)} timed kernels, {len(result.fits)} laws; error on shapes left out of the fit:\n")
    print("law                      rows   median     P90")
    for key, law in sorted(result.fits.items()):
        print(f"{key:<24} {law.points:4} {law.median_ape:8.0%} {law.p90_ape:7.0%}")
    for key, why in result.refused.items():
        print(f"{key:<24} not fitted: {why}")

    price = costsim.parse_rate(o.price, "--price")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my-device.toml"
        path.write_text(sheet, encoding="utf-8")
        before = predicted(costsim.load_accelerator(str(path)), price)
        laws = path.with_suffix(".json")
        laws.write_text(written_text(result, laws), encoding="utf-8")
        after = predicted(costsim.load_accelerator(str(path)), price)

    print("\nQwen2.5 1.5B, 4 requests of 512 tokens")
    for name, report in (("with borrowed laws", before), ("with its own laws", after)):
        print(f"  {name:<19} {report.metrics['tokens_per_s_per_gpu']}")
    rate, usd = after.metrics["tokens_per_s_per_gpu"], after.metrics["usd_per_mtok_output"]
    ratio = before["tokens_per_s_per_gpu"] / rate.value
    print(f"\nAnswer: {rate}, at {o.price} {usd}.")
    print(f"Without measurements it would have been {ratio:.1f} times that: "
          f"{'they changed the answer' if not 0.8 < ratio < 1.25 else 'they confirm it'}.")  # fmt: skip
    worst = max(result.fits.items(), key=lambda item: item[1].median_ape)
    print(
        f"Weakest law: {worst[0]}, {worst[1].median_ape:.0%} off on shapes it had not seen. Measure more there first."
    )
    return {"laws": float(len(result.fits)), "tokens_per_s": rate.value, "ratio": ratio}


if __name__ == "__main__":
    main()
