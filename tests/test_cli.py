"""The command line does what the Python calls do, and says on one line what it cannot."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import worlds
from tests.conftest import skip_or_fail
from xrxai.cli import commands, inputs, main, values

NETS = '''
"""Models of the command line's tests."""
import pathlib
import time

import xrxai

TARGETS = ["K", "pH", "Mg"]


def net():
    from tests import worlds

    return worlds.SpectrumNet()


def make():
    return xrxai.Model(net(), takes="spectrum", targets=TARGETS)


def chips():
    from tests import worlds

    return worlds.PatchNet()


def slow(x):
    with open("calls", "a") as log:
        log.write("x")
    if pathlib.Path("slow").exists():
        time.sleep(0.15)
    return x[:, :3] ** 2


def sleepy():
    return slow


def boom():
    raise RuntimeError("no weights today")


text = "not a function"
'''
SPECTRUM = ["--takes", "spectrum", "--targets", "K,pH,Mg"]
EXPLAIN = ["explain", "cube.nc", "--model", "cli_nets:make", "--method", "saliency"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a cube and a module of models, which is the current one."""
    (tmp_path / "cli_nets.py").write_text(NETS)
    cube = worlds.cube(y=12, x=9, dtype="float32")
    cube.to_dataset(name="reflectance").to_netcdf(tmp_path / "cube.nc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cli_nets", raising=False)
    return tmp_path


def model(net: Any = None, **options: Any) -> xrxai.Model:
    takes = options.pop("takes", "spectrum")
    return xrxai.Model(net or worlds.SpectrumNet(), takes=takes, targets=worlds.TARGETS, **options)


def process(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    root = str(Path(xrxai.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "xrxai", *arguments], cwd=cwd, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "typed", "options"),
    [
        ("saliency", ["absolute=True"], {"absolute": True}),
        ("saliency", ["absolute=false"], {"absolute": False}),
        ("integrated_gradients", ["n_steps=6", "baseline=p05"], {"n_steps": 6, "baseline": "p05"}),
        (
            "lime_spectral",
            ['bands={"blue": [440, 520], "two": [600, 700, 800]}', "n_samples=30", "alpha=null"],
            {"bands": {"blue": (440, 520), "two": [600, 700, 800]}, "n_samples": 30, "alpha": None},
        ),
        ("occlusion_spectral", ["window=120.5", "removal=marginal"], {"window": 120.5}),
    ],
)
def test_explain_is_the_python_call(work, capsys, method, typed, options):
    sets = [part for pair in typed for part in ("--set", pair)]
    code = main(
        ["explain", "cube.nc", "--model", "cli_nets:net", *SPECTRUM, "--method", method,
         "--target", "pH,K", *sets, "-o", "why.nc"]
    )  # fmt: skip
    out, err = capsys.readouterr()
    assert (code, out) == (0, "why.nc\n")
    assert err.startswith(f"{method}: 1 pieces\n")
    cube = xrxai.open_cube("cube.nc")
    expected = getattr(cube.xai, method)(model(), target=["pH", "K"], **options)
    expected.xai.to_netcdf("expected.nc")
    found, expected = (xrxai.open_explanation(f).load() for f in ("why.nc", "expected.nc"))
    for each in (found, expected):
        each.attrs["model_options"] = _without_factory(each)
    xr.testing.assert_identical(found, expected)


def _without_factory(why: xr.Dataset) -> str:
    options = json.loads(why.attrs["model_options"])
    return json.dumps({k: v for k, v in options.items() if k != "factory"})


def test_predict_writes_what_the_model_says(work, capsys):
    asked = ["predict", "cube.nc", "--model", "cli_nets:chips", "--takes", "patch"]
    asked += ["--gives", "map", "--targets", "a,b,c", "--quiet"]
    (work / "cli_nets.py").write_text(NETS.replace("worlds.PatchNet()", "worlds.MapNet()"))
    sys.modules.pop("cli_nets", None)
    assert main([*asked, "-o", "said.zarr"]) == 0
    assert capsys.readouterr().out == "said.zarr\n"
    segmenter = xrxai.Model(worlds.MapNet(), takes="patch", gives="map", targets=["a", "b", "c"])
    expected = xrxai.open_cube("cube.nc").xai.predict(segmenter)
    found = xrxai.open_explanation("said.zarr")
    np.testing.assert_array_equal(found.class_map, expected.class_map)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=1e-5, atol=1e-6)
    assert main(["info", "said.zarr"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["plot", "said.zarr", "--kind", "classes", "-o", "classes.png"]) == 0
    assert (work / "classes.png").stat().st_size > 5000
    capsys.readouterr()
    assert main([*asked, "-o", "said.tif"]) == 2
    assert "type -o said.cog for a folder of GeoTIFFs, or --variables class_map for one" in (
        capsys.readouterr().err
    )
    assert main([*asked, "-o", "said.tif", "--variables", "class_map"]) == 0
    assert main([*asked, "-o", "said.cog"]) == 0
    assert [p.name for p in (work / "said.cog").iterdir()] == ["class_map.tif"]
    capsys.readouterr()
    plan = ["plan", *asked[1:-1], "--method", "predict", "--no-measure"]
    assert main(plan) == 0
    assert capsys.readouterr().out.startswith("predict: 1 pieces\n")
    assert main([*asked, "-o", "x.nc", "--set", "n_steps=3"]) == 2
    assert "predict has no option 'n_steps'; choose one of classes" in capsys.readouterr().err


@pytest.mark.slow
def test_options_of_the_model_reach_it(work, capsys):
    code = main(
        ["explain", "cube.nc", "--model", "cli_nets:chips", "--takes", "patch", "--targets",
         '["K", "pH, wet", "Mg"]', "--patch", "4,3", "--scale", "2", "--units", "1", "--fill",
         "0.1", "--batch-size", "5", "--method", "saliency", "--chunks", "y=8,x=3", "--target",
         '["pH, wet"]', "-o", "why.zarr", "--quiet"]
    )  # fmt: skip
    assert (code, *capsys.readouterr()) == (0, "why.zarr\n", "")
    asked = xrxai.Model(
        worlds.PatchNet(), takes="patch", targets=["K", "pH, wet", "Mg"], patch=(4, 3), scale=2,
        fill=0.1, batch_size=5,
    )  # fmt: skip
    cube = xrxai.open_cube("cube.nc").chunk(band=-1, y=8, x=3)
    expected = cube.xai.saliency(asked, target="pH, wet").compute()
    why = xrxai.open_explanation("why.zarr").load()
    xr.testing.assert_equal(why, expected)
    assert _without_factory(why) == _without_factory(expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["export", "script"])
def test_a_program_is_a_model(work, capsys, kind):
    net = worlds.SpectrumNet()
    if kind == "export":
        sizes = ({0: torch.export.Dim("n")},)
        torch.export.save(
            torch.export.export(net, (torch.zeros(4, 10),), dynamic_shapes=sizes), "net.pt2"
        )
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such
            torch.jit.save(torch.jit.trace(net, torch.zeros(4, 10)), "net.pt2")
    run = ["explain", "cube.nc", "--model", "net.pt2", *SPECTRUM, "--method", "saliency"]
    assert main([*run, "-o", "why.nc", "--quiet"]) == 0
    expected = xrxai.open_cube("cube.nc").xai.saliency(model(net)).attribution
    np.testing.assert_allclose(xrxai.open_explanation("why.nc").attribution, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", [["--scheduler", "synchronous"], ["--workers", "3"], ["--scheduler", "cluster"]]
)
def test_schedulers_give_the_same(work, where):
    from distributed import LocalCluster

    run = [*EXPLAIN, "--chunks", "4", "-o", "why.zarr", "--quiet"]
    if where[-1] == "cluster":
        options = {"n_workers": 1, "processes": False, "dashboard_address": ":0"}
        with LocalCluster(protocol="tcp", **options) as cluster:
            assert main([*run, "--scheduler", cluster.scheduler_address]) == 0
    else:
        assert main([*run, *where]) == 0
    expected = xrxai.open_cube("cube.nc").chunk(y=4, x=4).xai.saliency(model()).compute()
    xr.testing.assert_equal(xrxai.open_explanation("why.zarr").load(), expected)


@pytest.mark.slow
def test_stopped_it_tells_and_the_same_command_goes_on(work):
    run = ["explain", "cube.nc", "--model", "cli_nets:sleepy", *SPECTRUM, "--method", "saliency"]
    run += ["--chunks", "3", "--scheduler", "synchronous", "-o", "why.zarr", "--quiet"]
    calls, tiles = work / "calls", 12
    (work / "slow").touch()
    # What runs in the background of a script ignores the signal, and so would its children.
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    first = process(*run, cwd=work, preexec_fn=listens)
    while not calls.exists() or calls.stat().st_size < 4:
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert (first.returncode, out) == (130, "")
    assert err.endswith(
        "xrxai: stopped. Tiles of why.zarr that are done stay; the same command goes on from "
        "there.\n"
    )
    assert "Traceback" not in err
    done = int(xrxai.open_explanation("why.zarr", partial=True).attrs["tiles"].split()[0])
    assert 1 <= done < tiles
    (work / "slow").unlink()
    calls.unlink()
    second = process(*run, cwd=work)
    assert (second.communicate(timeout=60), second.returncode) == (("why.zarr\n", ""), 0)
    assert calls.stat().st_size == tiles - done  # a call each
    assert main(run) == 0
    assert calls.stat().st_size == tiles - done  # complete: none more
    cube = xrxai.open_cube("cube.nc").chunk(y=3, x=3)
    expected = cube.xai.saliency(model(lambda x: x[:, :3] ** 2)).compute()
    xr.testing.assert_equal(xrxai.open_explanation("why.zarr").load(), expected)


def test_files_are_values(work, capsys):
    rng = np.random.default_rng(0)
    np.save("rows.npy", rng.uniform(0.1, 0.9, (4, 10)).astype("float32"))
    keep = xr.DataArray(rng.random((12, 9)) > 0.3, dims=("y", "x"), name="keep")
    keep.to_netcdf("keep.nc")
    (work / "steps.json").write_text("3")
    run = ["explain", "cube.nc", "--model", "cli_nets:make", "--method", "gradient_shap"]
    run += ["--set", "background=@rows.npy", "--set", "mask=@keep.nc"]
    assert main([*run, "--set", "n_samples=@steps.json", "-o", "why.nc", "--quiet"]) == 0
    expected = xrxai.open_cube("cube.nc").xai.gradient_shap(
        model(), background=np.load("rows.npy"), mask=keep, n_samples=3
    )
    xr.testing.assert_equal(xrxai.open_explanation("why.nc").load(), expected)


def test_large_cubes_come_in_pieces_and_single_samples_whole(work, capsys, monkeypatch):
    monkeypatch.setattr(inputs, "_WHOLE", 1000)
    monkeypatch.setattr(inputs, "_SIDE", 5)
    plan = ["plan", "cube.nc", "--method", "saliency", "--no-measure", "--model"]
    assert main([*plan, "cli_nets:make"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("saliency: 6 pieces\n")
    assert err == "xrxai: the cube has 4.3e-06 GB and is cut into 5 x 5 pixels (--chunks)\n"
    assert main([*plan, "cli_nets:chips", "--takes", "patch", "--targets", "K,pH,Mg"]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[0], err) == ("saliency: 1 pieces", "")
    assert main([*plan, "cli_nets:make", "--chunks", "none"]) == 0
    assert capsys.readouterr().out.startswith("saliency: 1 pieces\n")


def test_a_file_is_cut_as_it_is_read_whatever_its_rows_are_called(work):
    cube = worlds.cube(y=12, x=9, dtype="float32").rename(y="lat", x="lon")
    cube.to_dataset(name="reflectance").to_netcdf("lat.nc")
    found = inputs.cube(_parsed("plan", "lat.nc", "--chunks", "4"))
    assert found.chunks == ((10,), (4, 4, 4), (4, 4, 1))
    assert not any("rechunk" in layer for layer in found.data.dask.layers)


def _parsed(command: str, path: str, *more: str) -> Any:
    from xrxai.cli.parser import build

    return build().parse_args([command, path, "--model", "m:f", "--method", "saliency", *more])


def test_plan_measures(work, capsys):
    plan = ["plan", "cube.nc", "--model", "cli_nets:make", "--method", "saliency", "--chunks", "4"]
    assert main([*plan, "--workers", "7"]) == 0
    out, _ = capsys.readouterr()
    assert "saliency: 9 pieces\n" in out
    assert "in 7 threads" in out
    assert "measured for one piece" in out


def test_methods_are_all_listed_and_all_options_told(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == xrxai.methods()
    for name in xrxai.methods():
        assert main(["methods", name]) == 0
        out = capsys.readouterr().out
        told = [line.split() for line in out.splitlines() if line[:2] == "  " and line[2] != " "]
        parameters = list(inspect.signature(getattr(xrxai, name)).parameters)[2:]
        assert [words[0] for words in told] == [
            n for n in parameters if n not in ("target", "progress")
        ]
        said = values.documented(getattr(xrxai, name))
        assert all(said[n] for n in parameters), name
    assert "\n  n_steps = 200\n      " in out or main(["methods", "guided_ig"]) == 0


KNOWN = ", ".join(xrxai.methods())
NO_NAMES = "choose one of absolute, mask, region, device, batch_size; see xrxai methods saliency."
WRONG = {
    "method": (
        ["explain", "cube.nc", "--model", "cli_nets:make", "--method", "saliencey", "-o", "a.nc"],
        f"--method saliencey is not known; choose one of {KNOWN}.",
    ),
    "option": (
        [*EXPLAIN, "--set", "n_steps=3", "-o", "a.nc"],
        f"--set n_steps=3: saliency has no option 'n_steps'; {NO_NAMES}",
    ),
    "twice": (
        [*EXPLAIN, "--set", "absolute=true", "--set", "absolute=false", "-o", "a.nc"],
        "--set absolute=... came twice; type it once.",
    ),
    "elsewhere": (
        [*EXPLAIN, "--set", "target=K", "-o", "a.nc"],
        "--set target=K: target has its own option; type --target NAME.",
    ),
    "no value": (
        [*EXPLAIN, "--set", "absolute", "-o", "a.nc"],
        "--set absolute is no NAME=VALUE; type --set absolute=VALUE.",
    ),
    "json": (
        [*EXPLAIN, "--set", 'mask=[["B", "G"', "-o", "a.nc"],
        'mask=[["B", "G" begins like JSON and is not (Expecting \',\' delimiter: line 1 column 11 '
        "(char 10)); put it into single quotes for the shell: 'mask=[\"B\", \"G\"]'.",
    ),
    "needed": (
        [*EXPLAIN[:-1], "gradient_shap", "-o", "a.nc"],
        "gradient_shap needs background; type --set background=VALUE, or --set "
        "background=@file.npy for an array; see xrxai methods gradient_shap.",
    ),
    "no array": (
        [*EXPLAIN, "--set", "mask=@keep.npy", "-o", "a.nc"],
        "mask=@keep.npy: there is no such file; type the path of one.",
    ),
    "a pickled array": (
        [*EXPLAIN, "--set", "mask=@objects.npy", "-o", "a.nc"],
        "mask=@objects.npy cannot be read (Object arrays cannot be loaded when "
        "allow_pickle=False); write it again.",
    ),
    "kind of array": (
        [*EXPLAIN, "--set", "mask=@cli_nets.py", "-o", "a.nc"],
        "mask=@cli_nets.py is a kind of file that is not known; give .npy, .nc, .zarr or .json, "
        "or polygons as .geojson, .gpkg, .shp.",
    ),
    "target": (
        [*EXPLAIN, "--target", "N", "-o", "a.nc"],
        "The model has no target 'N'; choose one of 'K', 'pH', 'Mg'.",
    ),
    "cube": (
        ["info", "nothing.nc"],
        "There is no file 'nothing.nc'; type the path of a cube.",
    ),
    "chunks": (
        [*EXPLAIN, "--chunks", "5x", "-o", "a.nc"],
        "--chunks 5x is no size; type --chunks 512, --chunks y=512,x=512, or --chunks none to "
        "read the whole cube at once.",
    ),
    "chunks along": (
        [*EXPLAIN, "--chunks", "rows=5", "-o", "a.nc"],
        "--chunks names rows, and the cube has the dims band, y, x; type for example --chunks "
        "y=512,x=512.",
    ),
    "scheduler": (
        [*EXPLAIN, "--scheduler", "slurm", "-o", "a.nc"],
        "--scheduler slurm is not known; choose one of threads, processes, synchronous, or type "
        "the address of a cluster, such as tcp://10.0.0.1:8786.",
    ),
    "workers": (
        [*EXPLAIN, "--scheduler", "tcp://host:8786", "--workers", "2", "-o", "a.nc"],
        "--workers is for this machine, and the cluster at tcp://host:8786 has its own; drop "
        "--workers.",
    ),
    "no worker": (
        [*EXPLAIN, "--workers", "0", "-o", "a.nc"],
        "--workers=0 is too small; type --workers=1 or more.",
    ),
    "suffix": (
        [*EXPLAIN, "-o", "why"],
        "-o why does not say what to write; let it end in .zarr, .nc, .tif (one map) or .cog (a "
        "folder of GeoTIFFs).",
    ),
    "maps": (
        [*EXPLAIN, "-o", "why.tif"],
        "-o why.tif holds one map of one target, and there are more; type -o why.cog for a folder "
        "of GeoTIFFs, or --target NAME for one.",
    ),
    "exists": (
        [*EXPLAIN, "-o", "cube.nc"],
        "cube.nc exists; type --overwrite, or another path.",
    ),
    "exists as a store": (
        [*EXPLAIN, "-o", "there.zarr"],
        "there.zarr exists (only a run in pieces, --chunks, goes on); type --overwrite, or "
        "another path.",
    ),
    "not said": (
        ["explain", "cube.nc", "--model", "cli_nets:net", "--method", "saliency", "-o", "a.nc"],
        "cli_nets:net does not say what the network takes (spectrum or patch) and what its "
        "outputs are called; type for example --takes patch --targets P,K.",
    ),
    "said twice": (
        [*EXPLAIN, "--takes", "patch", "--n-bands", "3", "-o", "a.nc"],
        "cli_nets:make returned an xrxai.Model, which says for itself what --takes, --n-bands "
        "would; drop --takes, --n-bands, or let the factory return the network alone.",
    ),
    "no module": (
        ["plan", "cube.nc", "--model", "cli_nuts:net", "--method", "saliency"],
        "--model 'cli_nuts:net': the module cli_nuts cannot be imported (No module named "
        "'cli_nuts'); check its name, and that it is installed or on PYTHONPATH, also for the "
        "workers.",
    ),
    "no function": (
        ["plan", "cube.nc", "--model", "cli_nets:nut", "--method", "saliency"],
        "--model 'cli_nets:nut': the module cli_nets has no nut; check the name after the colon.",
    ),
    "text": (
        ["plan", "cube.nc", "--model", "cli_nets:text", "--method", "saliency"],
        "--model 'cli_nets:text' is a str, not a function; write one that returns it: def make(): "
        "return text.",
    ),
    "factory": (
        ["plan", "cube.nc", "--model", "cli_nets:boom", "--method", "saliency"],
        "--model 'cli_nets:boom' failed: RuntimeError: no weights today. It is called without "
        "arguments and must return the model.",
    ),
    "no model": (
        ["plan", "cube.nc", "--model", "net.pt2", "--method", "saliency"],
        "--model net.pt2 is neither a file nor a function; type package.module:function, or the "
        "path of a program of torch.export (.pt2) or TorchScript.",
    ),
    "a pickle": (
        ["plan", "cube.nc", "--model", "pickled.pt", *SPECTRUM, "--method", "saliency"],
        "pickled.pt is a pickle (torch.save), which runs code when it is loaded; only programs of "
        "torch.export and TorchScript are. Of weights, make the network and type "
        "net.load_state_dict(torch.load('pickled.pt', weights_only=True)), then explain that net, "
        "or save it with torch.export.save(torch.export.export(net.eval(), (x,)), 'net.pt2').",
    ),
    "option of the model": (
        ["plan", "cube.nc", "--model", "cli_nets:net", *SPECTRUM, "--patch", "4", "--method",
         "saliency"],
        "patch=(4, 4) cuts a scene into chips, but the model takes one pixel at a time; drop "
        "patch=.",
    ),
    "whole": (
        ["plan", "cube.nc", "--model", "cli_nets:make", "--method", "permutation_spectral",
         "--chunks", "4"],
        "The method permutation_spectral exchanges values between samples, and a block of a lazy "
        "(dask) cube knows only its own; type --chunks none, or use ablation_spectral.",
    ),
    "wavelengths": (
        ["info", "bare.nc"],
        "The cube has 3 bands without wavelengths or names; type --open 'wavelength=[...]' with "
        "one number in nanometres per band.",
    ),
    "result": (
        ["plot", "cube.nc", "-o", "fig.pdf"],
        "'cube.nc' holds the variables ['reflectance'] and no 'attribution', so it is not an "
        "explanation; type xrxai.open_cube('cube.nc') if it is a cube.",
    ),
    "figure": (
        ["plot", "cube.nc", "-o", "fig.doc"],
        "-o fig.doc is no picture; let it end in .pdf, .png or .svg.",
    ),
    "kind": (
        ["plot", "cube.nc", "-o", "fig.pdf", "--kind", "pie"],
        "--kind='pie' is not known; choose one of 'overview', 'spatial', 'spectral', 'bars', "
        "'bands', 'overlay', 'top', 'targets', 'rgb', 'classes', 'beeswarm'.",
    ),
    "figure of no target": (
        ["plot", "cube.nc", "-o", "fig.pdf", "--kind", "rgb", "--target", "K"],
        "--kind rgb draws no single target; drop --target.",
    ),
    "to explore": (
        ["explore", "cube.nc", "--no-browser"],
        "'cube.nc' holds the variables ['reflectance'] and no 'attribution', so it is not an "
        "explanation; type xrxai.open_cube('cube.nc') if it is a cube.",
    ),
    "page": (
        ["explore", "why.nc", "--save", "why.pdf"],
        "--save why.pdf is no page; let it end in .html.",
    ),
    "port": (
        ["explore", "why.nc", "--port", "-1", "--no-browser"],
        "--port -1 is too small; type --port 0 or more.",
    ),
    "missing": (
        ["plot", "cube.nc"],
        "the following arguments are required: -o/--output; see xrxai plot --help",
    ),
    "of methods": (["methods", "shap"], f"shap is no method; choose one of {KNOWN}."),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_said_on_one_line(work, capsys, case):
    arguments, message = WRONG[case]
    (work / "there.zarr").mkdir()
    if case == "a pickle":
        torch.save(worlds.SpectrumNet(), "pickled.pt")
    if case == "a pickled array":
        np.save("objects.npy", np.array([{}], dtype=object))
    if case == "wavelengths":
        bare = xr.DataArray(np.ones((3, 4, 5), "f4"), dims=("band", "y", "x"), name="bare")
        bare.to_dataset().to_netcdf("bare.nc")
    before = sorted(work.iterdir())
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", f"xrxai: {message}\n")
    assert [p for p in sorted(work.iterdir()) if p.name != "__pycache__"] == before


def test_no_scheduler_answers(work, capsys, monkeypatch):
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        code = main([*EXPLAIN, "--scheduler", "tcp://127.0.0.1:9", "-o", "a.zarr"])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("xrxai: There is no scheduler at tcp://127.0.0.1:9 (")


def test_debug_shows_where(work, capsys):
    assert main(["plan", "cube.nc", "--model", "cli_nets:boom", "--method", "rise", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "in boom" in err
    assert "Traceback" in err


@pytest.mark.parametrize("wrong", [[], ["explode"], ["explain", "--cube"]])
def test_what_nobody_can_parse(capsys, wrong):
    assert main(wrong) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--help" in err


@pytest.mark.slow
def test_the_process_tells_notes_on_a_line_and_its_exit_code(work):
    bands = '--set=bands={"red": [600, 700], "same": [650, 760]}'
    run = ["explain", "cube.nc", "--model", "cli_nets:sleepy", *SPECTRUM]
    run += ["--method", "lime_spectral", bands]
    ran = process(*run, "--quiet", "-o", "deep/why.nc", cwd=work)
    out, err = ran.communicate(timeout=60)
    assert (ran.returncode, out) == (0, "deep/why.nc\n")
    assert err.startswith("xrxai: note: ")
    assert err.count("\n") == 1
    ran = process("info", "nothing.nc", cwd=work)
    assert (ran.communicate(timeout=60), ran.returncode) == (
        ("", "xrxai: There is no file 'nothing.nc'; type the path of a cube.\n"), 2
    )  # fmt: skip


def test_stopped_where_nothing_is_kept(work, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("xrxai.io.write.part_of", stop)
    monkeypatch.setattr("xrxai.io.store.part_of", stop)
    for name in ("why.nc", "why.zarr"):
        assert main([*EXPLAIN, "--quiet", "-o", name]) == 130
        assert capsys.readouterr() == (
            "", "\nxrxai: stopped. Nothing was written; the same command starts again.\n"
        )  # fmt: skip


@pytest.mark.slow
def test_no_torch_where_no_model_runs(work):
    assert main([*EXPLAIN, "-o", "why.nc", "--quiet"]) == 0
    plot = ["plot", "why.nc", "-o", "a.png", "--kind", "bars", "--target", "K"]
    helped = [["--help"], ["explain", "--help"], ["plot", "--help"]]
    commands = [*helped, ["methods"], ["methods", "rise"], ["info", "cube.nc"], plot]
    code = (
        "import sys\nfrom xrxai.cli import main\n"
        f"for command in {[*commands, ['info', 'why.nc']]}:\n"
        "    try:\n        assert main(command) == 0\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "    assert 'torch' not in sys.modules, command"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(xrxai.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    assert "made with" in ran.stdout


def test_info_of_a_cube(work, capsys):
    cube = worlds.cube(y=12, x=9, dtype="float32")
    good = ~np.isin(np.arange(10), [0, 4, 5, 6])
    cube = cube.drop_vars(["elevation", "band"]).assign_coords(good_band=("band", good))
    cube = cube.assign_coords(fwhm=("band", np.full(10, 7.5), {"units": "nm"}))
    cube.rio.write_crs("EPSG:32633").chunk(y=4, x=9).to_dataset(name="r").to_zarr(
        "cube.zarr", consolidated=False
    )
    assert main(["info", "cube.zarr", "--scan"]) == 0
    assert capsys.readouterr().out == (
        "cube.zarr:\n"
        "  cube          band 10, y 12, x 9 float32, 0.00432 MB\n"
        "  wavelengths   450 to 900 nm\n"
        "  widths        7.5 nm (median)\n"
        "  bad bands     4: positions 0, 4-6\n"
        "  CRS           WGS 84 / UTM zone 33N\n"
        "  chunks        y 4\n"
        "  valid pixels  97.22 % (105 of 108)\n"
    )
    places = {"y": np.arange(40.0)[::-1], "x": np.arange(40.0)}
    raster = xr.DataArray(np.ones((3, 40, 40), "f4"), dims=("band", "y", "x"), coords=places)
    raster.rio.to_raster("cube.tif", tiled=True, blockxsize=32, blockysize=16)
    typed = ["--open", "wavelength=[500, 550, 600]", "--open", "scale=0.5", "--scan"]
    assert main(["info", "cube.tif", *typed]) == 0
    out, err = capsys.readouterr()
    assert "  chunks        y 16, x 32\n  valid pixels  100 %" in out
    assert "  CRS           none\n" in out
    assert err == ""


def test_info_of_an_explanation(work, capsys):
    run = [*EXPLAIN, "--target", "K,Mg", "--chunks", "6", "-o", "why.zarr", "--quiet"]
    assert main([*run, "--set", "absolute=true"]) == 0
    capsys.readouterr()
    assert main(["info", "why.zarr"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "why.zarr:",
        "  explanation  complete",
        "  method       saliency",
        "  options      absolute=true",
        "  targets      K, Mg",
        "  model        <xrxai.Model 'SpectrumNet': spectrum -> K, pH, Mg>",
    ]
    assert any(
        line.endswith("attribution (target 2, band 10, y 12, x 9) float32") for line in lines
    )
    # As after a kill: a tile that was not committed, and the store not complete.
    from xrxai.io.record import GROUP, mark

    (work / "why.zarr" / GROUP / "done" / "c" / "0" / "1").unlink()
    mark(work / "why.zarr", 0)
    assert main(["info", "why.zarr"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  explanation  3 of 4 tiles are done"
    assert main(["plot", "why.zarr", "-o", "fig.png", "--target", "K"]) == 2
    assert "--partial" in capsys.readouterr().err
    assert main(["plot", "why.zarr", "-o", "fig.png", "--target", "K", "--partial"]) == 0


NEWER = ("overlay", "top", "targets")  # as the others, as far as the command line goes
MAGIC = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<?xml"}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        pytest.param(kind, suffix, marks=[pytest.mark.slow] if kind in NEWER else [])
        for kind, suffix in zip(commands.KINDS[:-2], ["pdf", "png", "svg"] * 3, strict=True)
    ],
)
def test_plot_draws(work, capsys, kind, suffix):
    assert main([*EXPLAIN, "-o", "why.nc", "--target", "pH", "--quiet"]) == 0
    capsys.readouterr()
    more = ["--set", 'groups={"red": [600, 700]}'] if kind in ("spectral", "bars") else []
    more = ["--set", "wavelengths=[650]"] if kind == "bands" else more
    target = [] if kind in ("rgb", "targets") else ["--target", "pH"]
    cube = [] if kind == "bars" else ["--cube", "cube.nc"]
    name = f"figures/fig.{suffix}"
    assert main(["plot", "why.nc", "-o", name, "--kind", kind, *target, *more, *cube]) == 0
    assert capsys.readouterr().out == f"{name}\n"
    written = (work / name).read_bytes()
    assert written.startswith(MAGIC[suffix])
    assert len(written) > 4000


@pytest.mark.slow
def test_many_samples_are_a_beeswarm(work, capsys):
    cube = worlds.cube(y=3, x=4, lead={"time": 5}, dtype="float32")
    cube.to_dataset(name="reflectance").to_netcdf(work / "cube.nc")
    assert main([*EXPLAIN, "-o", "why.nc", "--target", "pH", "--quiet"]) == 0
    assert main(["plot", "why.nc", "-o", "swarm.png", "--kind", "beeswarm"]) == 0
    assert (work / "swarm.png").stat().st_size > 5000


def test_geotiffs_are_a_folder_or_one_map(work, capsys):
    assert main([*EXPLAIN, "-o", "why.cog", "--variables", "attribution,prediction"]) == 0
    assert sorted(p.name for p in (work / "why.cog").iterdir()) == [
        f"{variable}-{name}.tif" for variable in ("attribution", "prediction") for name in
        sorted(worlds.TARGETS)
    ]  # fmt: skip
    assert main([*EXPLAIN, "--target", "K", "--chunks", "4", "-o", "one.tif"]) == 0
    assert (work / "one.tif").read_bytes()[:2] == b"II"


@pytest.mark.slow
def test_explore_serves_until_it_is_stopped(work, capsys):
    import urllib.request

    if importlib.util.find_spec("panel") is None:
        skip_or_fail("panel is not installed")
    assert main([*EXPLAIN, "-o", "why.nc", "--quiet"]) == 0
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = ["explore", "why.nc", "--cube", "cube.nc", "--port", "0", "--no-browser"]
    app = process(*command, cwd=work, preexec_fn=listens)
    assert app.stdout is not None
    url = app.stdout.readline().strip()
    assert url.startswith("http://localhost:"), app.communicate()
    with urllib.request.urlopen(url, timeout=60) as page:
        assert b"xrxai: why.nc" in page.read()
    port = url.rstrip("/").rpartition(":")[2]
    capsys.readouterr()
    assert main(["explore", "why.nc", "--port", port, "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"xrxai: --port {port} cannot be used (")
    assert said.endswith("type --port 0 for one that is free.\n")
    app.send_signal(signal.SIGINT)
    out, err = app.communicate(timeout=60)
    assert (app.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_explore_writes_a_page(work, capsys):
    if importlib.util.find_spec("panel") is None:
        skip_or_fail("panel is not installed")
    assert main([*EXPLAIN, "-o", "why.nc", "--quiet"]) == 0
    assert (
        main(["explore", "why.nc", "--cube", "cube.nc", "--target", "pH", "--save", "p.html"]) == 0
    )
    assert capsys.readouterr().out == "why.nc\np.html\n"
    assert "Attribution at this pixel, target \\u201cpH\\u201d" in (work / "p.html").read_text()
