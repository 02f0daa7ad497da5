"""GPUs that a notebook names and this machine lacks."""

import json
import subprocess
import sys

import pytest
import torch

from grader.execution.job import names_gpu

SOURCES = {
    "model.to('cuda:0')": True,
    "device = torch.device('mps')": True,
    "torch.xpu.synchronize()": True,
    "use_cuda = True": True,
    "load(NAME, device_map=0)": True,
    "load(NAME, device_map={'': 0})": True,
    "options = {'device_map': 1}": True,
    "load(NAME, device_map='auto')": False,
    "torch.accelerator.synchronize()": True,
    "from torch import accelerator": True,
    "accelerator = Accelerator()": False,
    "json.dumps(figures)": False,
    "timestamps = clamps = 3": False,
}


@pytest.mark.parametrize(("source", "expected"), SOURCES.items())
def test_a_notebook_names_a_gpu(source: str, expected: bool) -> None:
    assert names_gpu(["import torch", source]) is expected


HERE = {  # expressions -> what they come to where there is no GPU
    "torch.cuda.get_device_properties(0).total_memory > 0": True,
    "torch.cuda.mem_get_info()[0] / torch.cuda.mem_get_info()[1]": 1,
    "bool(torch.cuda.get_device_properties('cuda').name)": True,
    "torch.cuda.set_per_process_memory_fraction(0.5)": None,
    "timed() >= 1": True,
    "torch.Generator(device='cuda').manual_seed(3).initial_seed()": 3,
    "torch.randn(2, generator=torch.Generator('mps'), device='mps').device.type": "cpu",
    "isinstance(torch.default_generator, torch.Generator)": True,
    "isinstance(torch.Generator('cuda'), torch.Generator)": True,
    "isinstance(3, torch.Generator)": False,
    "(torch.Generator | None) is not None": True,
    "torch.mps.empty_cache()": None,
    "torch.mps.synchronize()": None,
    "torch.xpu.synchronize()": None,
    "torch.accelerator.reset_peak_memory_stats()": None,
    "torch.accelerator.synchronize(device='cuda')": None,
    "torch.accelerator.empty_cache()": None,
    "torch.accelerator.max_memory_allocated() / 2**20": 0,
    "torch.accelerator.memory_stats()['allocated_bytes.all.peak']": 0,
    "torch.cuda.memory_stats('cuda')['reserved_bytes.all.peak']": 0,
    "sorted(name for name in dir(torch.accelerator) if fails(getattr(torch.accelerator, name)))": ["Graph"],
    "nn.Linear(2, 2).to('mps').weight.device.type": "cpu",
    "nn.Linear(2, 2).xpu().weight.device.type": "cpu",
    "torch.zeros(2, device=0).device.type": "cpu",
    "torch.zeros(2, device=torch.device('cuda')).device.type": "cpu",
    "torch.tensor([1.0], device='cuda:0').device.type": "cpu",
    "[torch.ones(2).to(there).device.type for there in (torch.device('cuda'), 'mps', 0)]": ["cpu"] * 3,
    "torch.ones(2).cuda().device.type": "cpu",
    "inside(torch.cuda.device(0))": "cpu",
    "inside(torch.cuda.stream(torch.cuda.Stream()))": "cpu",
    "inside(torch.device('cuda'))": "cpu",
    "torch.cuda.current_stream().synchronize()": None,
    "[torch.set_default_device('cuda'), torch.zeros(2).device.type]": [None, "cpu"],
    "[torch.set_default_tensor_type('torch.cuda.FloatTensor'), torch.zeros(2).device.type]": [None, "cpu"],
    "[torch.set_default_tensor_type(torch.cuda.DoubleTensor), str(torch.zeros(2).dtype)]": [None, "torch.float64"],
    "torch.ones(2).type('torch.cuda.LongTensor').type()": "torch.LongTensor",
    "torch.ones(2).type(torch.cuda.HalfTensor).type()": "torch.HalfTensor",
    "str(torch.ones(2).to(device=torch.device('cuda'), dtype=torch.float64).dtype)": "torch.float64",
    "fails_as_torch_does()": True,
}
SCRIPT = """
import json, sys, time, torch
from torch import nn
from grader.kernel.compat import devices
devices.redirect_gpu()
def timed():
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record(); time.sleep(0.002); end.record(); end.synchronize()
    return begin.elapsed_time(end)
def fails(function):
    try:
        function()
    except RuntimeError:
        return True
    except TypeError:  # it takes arguments, or is none
        return False
def fails_as_torch_does():  # and not as a second call fails
    used, unused = (torch.ones(1, requires_grad=True) for _ in range(2))
    try:
        torch.autograd.grad(used.exp(), [used, unused])
    except RuntimeError as error:
        return "have been used in the graph" in str(error)
def inside(context):
    with context:
        return torch.zeros(2).device.type
print(json.dumps([eval(expression) for expression in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, object]:
    command, given = [sys.executable, "-c", SCRIPT], json.dumps(list(HERE))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(HERE, json.loads(done.stdout), strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("expression", HERE)
def test_what_asks_for_a_gpu_is_answered_here(answers: dict[str, object], expression: str) -> None:
    assert answers[expression] == HERE[expression]
