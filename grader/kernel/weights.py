"""A model's function, written as plain DistilBERT weights.

Wherever the pretrained network has a linear layer and the student's model has something else, that something is
reduced to the matrix and bias it computes, by feeding it the identity and zero. So nothing here depends on how an
adapter is written. Reduction happens in float64 on a copy: the difference to the pretrained weight is then exact to
about 1e-16, and its rank can be read off.
"""

import copy

import torch
from torch import Tensor, nn

from grader.kernel import modules
from grader.kernel.fence import ask, note_if_ours
from grader.kernel.hook_copies import use_copies
from grader.protocol.records import Exit, Reduction
from grader.protocol.tensor_names import EMBEDDINGS, HEAD_LINEARS, Naming

MAX_EXTRA = 50


def find(model: nn.Module, path: str) -> nn.Module | None:
    """Return the submodule at `path`, or None."""
    try:
        return nn.Module.get_submodule(model, path)
    except AttributeError:
        return None


def list_linear_paths(base: dict[str, Tensor]) -> list[str]:
    """Return the paths of linear layers: those with a bias and a matrix, so no embedding and no norm."""
    encoder = [n.removesuffix(".weight") for n, t in base.items() if n.endswith(".weight") and t.ndim == 2]
    return [path for path in encoder if f"{path}.bias" in base] + list(HEAD_LINEARS)


def collect_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's tensors, those without numbers apart, by the names that they have in the pretrained one."""
    naming = Naming.of(model)
    return {naming.to_plain(name): tensor for name, tensor in modules.read_state(model).items()}


def collect_head(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model's head."""
    return {name: t for name, t in collect_tensors(model).items() if name.startswith(HEAD_LINEARS)}


def is_plain(module: nn.Module | None) -> bool:
    """Return True for an ordinary linear layer, with nothing wrapped around or inside it."""
    if type(module) is not nn.Linear:
        return False
    return not (module._forward_hooks or module._forward_pre_hooks) or _is_only_watched(module)


def _is_only_watched(linear: nn.Linear) -> bool:
    """Return True if hooks leave what a linear layer computes as it is: they keep features, or print shapes."""
    if set(linear._parameters) != {"weight", "bias"} or linear._modules:
        return False
    generator = torch.Generator().manual_seed(0)
    for shape in ((2,), (1, 2)):
        sample = torch.randn(*shape, linear.in_features, generator=generator).to(linear.weight)
        try:
            with torch.no_grad(), use_copies(linear):
                observed = linear(sample)
        except Exception:  # a student's hook may raise anything
            continue
        return torch.equal(observed, nn.functional.linear(sample, linear.weight, linear.bias))
    return False


def find_wrapped(model: nn.Module, base: dict[str, Tensor]) -> dict[str, nn.Module]:
    """Return what is no plain linear layer where the network has one: path -> module."""
    naming = Naming.of(model)
    found = ((path, find(model, naming.own(path))) for path in list_linear_paths(base))
    return {path: module for path, module in found if module is not None and not is_plain(module)}


def find_changed(model: nn.Module, base: dict[str, Tensor]) -> list[str]:
    """Return the names of pretrained tensors that the model holds with other values, or does not hold."""
    inside = find_wrapped(model, base)
    state = collect_tensors(model)
    names = (name for name in base if name.rsplit(".", 1)[0] not in inside)
    return [name for name in names if not _is_as_pretrained(state.get(name), base[name])]


def _is_as_pretrained(held: Tensor | None, pretrained: Tensor) -> bool:
    """Compare bit for bit, in whatever precision the model holds the tensor."""
    return held is not None and torch.equal(held.detach().cpu(), pretrained.to(held.dtype))


def reduce_linear(module: nn.Module, width: int) -> tuple[Tensor, Tensor, Reduction]:
    """Compute the matrix (out, in) and bias (out) that `module` stands for, in float64, and how exact they are.

    The residual is the largest deviation from that linear map on random input, relative to the largest output. Raises
    what the module raises if it cannot be called at all.
    """
    for dtype in (torch.float64, torch.float32):
        try:
            copied = modules.convert(copy.deepcopy(module), dtype)
            modules.evaluate(copied)
            return _reduce(copied, width, dtype)
        except Exception:  # it cannot be copied, or cast, or mixes precisions: a student's layer may raise anything
            continue
    training = module.training
    try:
        own = (p.dtype for p in modules.list_parameters(module) if p.is_floating_point())
        modules.evaluate(module)
        return _reduce(module, width, next(own, torch.float32))
    finally:
        modules.set_mode(module, training)


def _reduce(module: nn.Module, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Reduction]:
    device = next((p.device for p in modules.list_parameters(module)), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(8, width, dtype=dtype, generator=generator)
    eye = torch.eye(width, dtype=dtype)
    with torch.no_grad():
        answers = [ask(_call, module, x.to(device)) for x in (torch.zeros(1, width, dtype=dtype), eye, sample)]
    return ask(_fit, sample, *answers)  # of any shape, and on any device


def _fit(x: Tensor, nothing: Tensor, each: Tensor, answer: Tensor) -> tuple[Tensor, Tensor, Reduction]:
    """Compute matrix, bias and deviation from the answers to zero, to the identity and to `x`."""
    bias = nothing[0]
    matrix = (each - bias).T
    expected = x.to(answer.device) @ matrix.T + bias
    residual = float((answer - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    return matrix.cpu().double(), bias.cpu().double(), Reduction(str(_infer_dtype(answer)), residual)


def _call(module: nn.Module, x: Tensor) -> Tensor:
    """Call a student's layer. Raises TypeError for what is no tensor."""
    answer = module(x)
    if not isinstance(answer, Tensor):
        raise TypeError(f"{type(module).__name__} returns {type(answer).__name__}")
    return answer


def _infer_dtype(answer: Tensor) -> torch.dtype:
    """Return the precision of an answer: a layer may compute in float32 when it is given float64."""
    rounded = answer.dtype == torch.float64 and torch.equal(answer, answer.float().double())
    return torch.float32 if rounded else answer.dtype


def export(model: nn.Module, base: dict[str, Tensor]) -> tuple[dict[str, Tensor], Exit]:
    """Return the tensors by which the model's function differs from the checkpoint, and notes on reduced layers.

    Keys: `w:NAME` a whole tensor, `d:NAME` a difference to the pretrained tensor NAME (float32, exact to its own
    size). A pretrained tensor that the model does not hold is among the reduced, with no residual: what is in its place
    cannot be read.
    """
    state = collect_tensors(model)
    inside = find_wrapped(model, base)
    differing = find_changed(model, base)
    head = [f"{path}.{kind}" for path in HEAD_LINEARS if path not in inside for kind in ("weight", "bias")]
    tensors = {f"w:{name}": state[name] for name in (*differing, *head) if name in state}
    absent = {name: Reduction("absent", None) for name in differing if name not in state}
    known = tuple(f"{path}." for path in (*inside, *HEAD_LINEARS))
    extra = [name for name in state if name not in base and not name.startswith(known)]
    notes = Exit(reduced=absent, extra=tuple(extra[:MAX_EXTRA]))
    for path, module in inside.items():
        _export_wrapped(path, module, base, tensors, notes)
    return tensors, notes


def _export_wrapped(
    path: str, module: nn.Module, base: dict[str, Tensor], tensors: dict[str, Tensor], notes: Exit
) -> None:
    try:
        # What goes into a layer of the head is the network's hidden state.
        matrix, bias, how = reduce_linear(module, base.get(f"{path}.weight", base[EMBEDDINGS]).shape[1])
    except Exception as error:  # whatever a student's layer raises is an observation
        note_if_ours("a wrapped layer", error)
        notes.unsupported[path] = type(error).__name__
        return
    notes.reduced[path] = how
    for kind, value in (("weight", matrix), ("bias", bias)):
        before = base.get(f"{path}.{kind}")
        if before is None or before.shape != value.shape:
            tensors[f"w:{path}.{kind}"] = value.float()
            continue
        delta = value - _round_as_held(before, module).double()
        if bool(delta.any()):
            tensors[f"d:{path}.{kind}"] = delta.float()


def _round_as_held(before: Tensor, module: nn.Module) -> Tensor:
    """Round the pretrained tensor as it is where the wrapped layer holds it in another precision."""
    trained = filter(modules.is_readable, modules.list_parameters(module))
    held = (p.dtype for p in trained if p.shape == before.shape and p.is_floating_point())
    return before.to(next(held, before.dtype))
