#!/usr/bin/env python3
"""What `cmake --install` puts down stands alone: the programs load nothing from the build tree or from anybody's home, a home comes
up with them, the shipped example runs, and the units name the programs where they lie."""
import os
import pathlib
import subprocess
import tempfile

BUILD = pathlib.Path(os.environ.get("LORRY_BIN", "build/release/bin")).resolve().parent
PROGRAMS = ["lorry", "lorryd", "lorry-worker", "lorry-train", "lorry-batch"]


def check_libraries(prefix):
    for program in PROGRAMS:
        listed = subprocess.run(["ldd", prefix / "bin" / program], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            place = line.split("=>")[-1].split()[0]
            assert "not found" not in line and place.startswith(("linux-vdso", "/lib", "/usr/lib", str(prefix))), f"{program}: {line}"


def check_files(prefix):
    for unit in ("lorryd", "lorry-worker"):
        text = (prefix / "lib" / "systemd" / "system" / f"{unit}.service").read_text()
        assert f"\nExecStart={prefix}/bin/{unit} --home" in text, text
    for path in ("lib/sysusers.d/lorry.conf", "share/doc/lorry/LICENSE", "share/doc/lorry/NOTICE", "share/doc/lorry/docs/jobs.md",
                 "share/lorry/configs/prices.yaml", "share/lorry/configs/data/train.jsonl"):
        assert (prefix / path).is_file(), path


def main():
    with tempfile.TemporaryDirectory(prefix="lorry-install-") as folder:
        prefix = pathlib.Path(folder).resolve()
        subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        check_libraries(prefix)
        check_files(prefix)
        os.environ["LORRY_BIN"] = str(prefix / "bin")
        from home import Home  # finds its programs by LORRY_BIN
        with Home() as home:
            home.tiny_model()
            assert home.lorry("generate", "--model", "t/tiny", "--prompt", "a thing", "--max-tokens", "2")
            example = prefix / "share" / "lorry" / "configs" / "command.yaml"
            ended = home.lorry("submit", example, "--set", "array=20", "--wait")
            assert ended["state"] == "succeeded", ended
            assert float(home.lorry("cost", ended["run"])["total_usd"]) > 0  # by the default prices
        print(f"{len(PROGRAMS)} installed programs stand alone")


main()
