"""The chunked losses against the plain formulas, written out with autograd in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from compression_order.training import losses

TOKENS, WIDTH, VOCABULARY, K = 37, 16, 300, 20


def student(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, head and labels; the logits have a standard deviation of about 4."""
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=rng, dtype=torch.float64).to(dtype)
    weight = torch.randn(VOCABULARY, WIDTH, generator=rng, dtype=torch.float64).to(dtype)
    labels = torch.randint(VOCABULARY, (TOKENS,), generator=rng)
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def teacher(vocabulary: int = VOCABULARY, tokens: int = TOKENS) -> Tensor:
    """The teacher's logits, in float64."""
    rng = torch.Generator().manual_seed(1)
    return 4 * torch.randn(tokens, vocabulary, generator=rng, dtype=torch.float64)


def in_buckets(probabilities: Tensor, ids: Tensor) -> Tensor:
    """[tokens, k + 1]: the probabilities of the ids and the sum of all the others."""
    rows = []
    for p, kept in zip(probabilities, ids.tolist(), strict=True):
        others = [j for j in range(len(p)) if j not in set(kept)]
        rows.append(torch.cat([p[kept], p[others].sum()[None]]))
    return torch.stack(rows)


def plain_kl(logits: Tensor, teacher_logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """KL over the buckets by its definition, [tokens]."""
    p = in_buckets((teacher_logits / temperature).softmax(-1), ids)
    q = in_buckets((logits / temperature).softmax(-1), ids)
    return (p * (p / q).log()).sum(-1)


def bucketed(teacher_logits: Tensor, k: int, temperature: float) -> tuple[Tensor, Tensor]:
    """What the cache gives a stage: ids and log-probabilities of k + 1 buckets."""
    ids = teacher_logits.topk(k).indices
    return ids, in_buckets((teacher_logits / temperature).softmax(-1), ids).log()


def kl_of(logits: Tensor, ids: Tensor, log_probs: Tensor, temperature: float) -> float:
    """The project's KL of given logits, summed over the tokens: alpha 1, without T squared."""
    divergence = losses.bucket_kl(ids, log_probs, temperature)
    loss = losses.distillation(ids[:, 0], divergence, temperature, 1.0)
    head = torch.eye(logits.shape[1], dtype=logits.dtype)
    return float(losses.chunked(logits, head, loss)) / temperature**2


def gradients(total: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [g.double() for g in torch.autograd.grad(total, inputs)]


def assert_equal(ours: list[Tensor], plain: list[Tensor], tolerance: float) -> None:
    """Equal to a share of the largest entry."""
    for one, other in zip(ours, plain, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("chunk", [1, 8, TOKENS, 256])
def test_cross_entropy_and_its_gradient(chunk: int, dtype: torch.dtype, tolerance: float) -> None:
    hidden, weight, labels = student(dtype)
    ours = losses.chunked(hidden, weight, losses.cross_entropy(labels), chunk)
    h, w = (t.detach().double().requires_grad_() for t in (hidden, weight))
    plain = F.cross_entropy(h @ w.T, labels, reduction="sum")
    assert ours.item() == pytest.approx(plain.item(), rel=tolerance)
    assert_equal(gradients(ours, hidden, weight), gradients(plain, h, w), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_distillation_and_its_gradient(
    temperature: float, alpha: float, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, weight, labels = student(dtype)
    ids, log_probs = bucketed(teacher(), K, temperature)
    h, w = (t.detach().double().requires_grad_() for t in (hidden, weight))
    hard = F.cross_entropy(h @ w.T, labels, reduction="sum")
    soft = plain_kl(h @ w.T, teacher(), ids, temperature).sum()
    plain = (1 - alpha) * hard + alpha * temperature**2 * soft
    expected = gradients(plain, h, w)
    for chunk in (1, 8, 256):
        divergence = losses.bucket_kl(ids, log_probs.to(dtype), temperature)
        loss = losses.distillation(labels, divergence, temperature, alpha)
        ours = losses.chunked(hidden, weight, loss, chunk)
        assert ours.item() == pytest.approx(plain.item(), rel=tolerance)
        assert_equal(gradients(ours, hidden, weight), expected, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_exact_distillation_and_its_gradient(
    temperature: float, alpha: float, dtype: torch.dtype, tolerance: float
) -> None:
    """The teacher is wider than the student."""
    hidden, weight, labels = student(dtype)
    rng = torch.Generator().manual_seed(2)
    theirs = torch.randn(TOKENS, 24, generator=rng, dtype=torch.float64).to(dtype)
    head = torch.randn(VOCABULARY, 24, generator=rng, dtype=torch.float64).to(dtype)
    h, w = (t.detach().double().requires_grad_() for t in (hidden, weight))
    hard = F.cross_entropy(h @ w.T, labels, reduction="sum")
    target = (theirs.double() @ head.double().T / temperature).softmax(-1)
    soft = F.kl_div((h @ w.T / temperature).log_softmax(-1), target, reduction="sum")
    plain = (1 - alpha) * hard + alpha * temperature**2 * soft
    expected = gradients(plain, h, w)
    for chunk in (1, 8, 256):
        divergence = losses.full_kl(theirs, head, temperature)
        loss = losses.distillation(labels, divergence, temperature, alpha)
        ours = losses.chunked(hidden, weight, loss, chunk)
        assert ours.item() == pytest.approx(plain.item(), rel=tolerance)
        assert_equal(gradients(ours, hidden, weight), expected, tolerance)


def test_the_exact_divergence_under_autocast_is_of_bf16_products() -> None:
    hidden, weight, _ = student()
    theirs = hidden.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert losses.product_dtype(hidden) == torch.bfloat16
        own = losses.full_kl(theirs, weight.detach().bfloat16(), 2.0)
        none = losses.chunked(hidden, weight, own, 8)
        other = losses.full_kl(theirs.flip(0), weight.detach().bfloat16(), 2.0)
        ours = losses.chunked(hidden, weight, other, 8)
        logits = [(h @ weight.T).float() / 2 for h in (hidden, theirs.flip(0))]
        target = logits[1].detach().softmax(-1)
        plain = F.kl_div(logits[0].log_softmax(-1), target, reduction="sum")
    assert none.item() == 0  # the same products: to the bit the same logits
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5)
    assert_equal(gradients(ours, hidden, weight), gradients(plain, hidden, weight), 1e-2)


def test_no_more_than_one_chunk_of_logits_is_in_memory() -> None:
    tokens, vocabulary, chunk = 1024, 4096, 64
    hidden = torch.randn(tokens, 8).requires_grad_()
    weight = torch.randn(vocabulary, 8).requires_grad_()
    theirs, head = torch.randn(tokens, 8), torch.randn(vocabulary, 8)
    labels = torch.randint(vocabulary, (tokens,))
    loss = losses.distillation(labels, losses.full_kl(theirs, head, 2.0), 2.0, 0.5)
    with Largest() as seen:
        losses.chunked(hidden, weight, loss, chunk).backward()
    assert seen.elements == chunk * vocabulary


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def test_the_gradient_is_scaled_by_what_comes_from_above() -> None:
    hidden, weight, labels = student()
    loss = losses.cross_entropy(labels)
    once = gradients(losses.chunked(hidden, weight, loss), hidden, weight)
    scaled = gradients(losses.chunked(hidden, weight, loss) * -0.25, hidden, weight)
    assert_equal(scaled, [-0.25 * g for g in once], 1e-6)


def test_gradcheck() -> None:
    hidden, weight, labels = student(torch.float64)
    few, narrow = slice(0, 5), slice(0, 12)
    h = hidden[few].detach().requires_grad_()
    w = weight[narrow].detach().requires_grad_()
    ids, log_probs = bucketed(teacher(12, 5), 4, 2.0)
    theirs = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    other = torch.randn(12, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for divergence in (losses.bucket_kl(ids, log_probs, 2.0), losses.full_kl(theirs, other, 2.0)):
        loss = losses.distillation(labels[few] % 12, divergence, 2.0, 0.7)

        def total(a: Tensor, b: Tensor, loss: losses.Loss = loss) -> Tensor:
            return losses.chunked(a, b, loss, 2)

        assert torch.autograd.gradcheck(total, (h, w))


def test_under_autocast_it_is_the_plain_formula_on_bf16_logits() -> None:
    hidden, weight, labels = student()
    with torch.autocast("cpu", torch.bfloat16):
        ours = losses.chunked(hidden, weight, losses.cross_entropy(labels), 8)
        plain = F.cross_entropy((hidden @ weight.T).float(), labels, reduction="sum")
    assert ours.item() == pytest.approx(plain.item(), rel=1e-5)
    # the gradient of the logits is rounded to bf16 once, as autograd does
    assert_equal(gradients(ours, hidden, weight), gradients(plain, hidden, weight), 1e-2)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_kl_over_buckets_by_brute_force(temperature: float) -> None:
    hidden, weight, _ = student(torch.float64)
    logits = (hidden @ weight.T).detach()
    ids, log_probs = bucketed(teacher(), K, temperature)
    brute = 0.0
    for row in range(TOKENS):
        p = [math.exp(z / temperature) for z in teacher()[row].tolist()]
        q = [math.exp(z / temperature) for z in logits[row].tolist()]
        kept = ids[row].tolist()
        others = [j for j in range(VOCABULARY) if j not in kept]
        for bucket in [[j] for j in kept] + [others]:
            a = sum(p[j] for j in bucket) / sum(p)
            b = sum(q[j] for j in bucket) / sum(q)
            brute += a * math.log(a / b)
    assert kl_of(logits, ids, log_probs, temperature) == pytest.approx(brute, rel=1e-10)
    single = kl_of(logits.float(), ids, log_probs.float(), temperature)
    assert single == pytest.approx(brute, rel=1e-5)


def test_more_ids_come_closer_to_the_full_kl_from_below(capsys: pytest.CaptureFixture[str]) -> None:
    hidden, weight, _ = student(torch.float64)
    logits, target = (hidden @ weight.T).detach(), teacher()
    for temperature in (1.0, 2.0, 4.0):
        p, q = ((z / temperature).log_softmax(-1) for z in (target, logits))
        full = float((p.exp() * (p - q)).sum())
        distances = []
        for k in (1, 4, 16, 64, 256, VOCABULARY - 1):
            found = kl_of(logits, *bucketed(target, k, temperature), temperature)
            distances.append(full - found)
        with capsys.disabled():
            shares = ", ".join(f"{d / full:.1e}" for d in distances)
            print(f"\nfull KL - KL over buckets, of the full, T {temperature:g}: {shares}", end="")
        assert distances == sorted(distances, reverse=True)
        assert distances[-2] > 0
        # the tail is then one id, a bucket of its own
        assert abs(distances[-1]) < 1e-9 * full


def test_the_tail_has_a_gradient_of_its_own() -> None:
    temperature, k = 2.0, 3
    logits = teacher(10, 2).requires_grad_()
    target = teacher(10, 2).flip(-1)
    ids, log_probs = bucketed(target, k, temperature)
    divergence = losses.bucket_kl(ids, log_probs, temperature)
    loss = losses.distillation(ids[:, 0], divergence, temperature, 1.0)
    total = losses.chunked(logits, torch.eye(10, dtype=torch.float64), loss) / temperature**2
    (gradient,) = torch.autograd.grad(total, logits)
    q = (logits / temperature).softmax(-1).detach()
    for row in range(2):
        kept = ids[row].tolist()
        others = [j for j in range(10) if j not in kept]
        p_tail, q_tail = float(log_probs[row, -1].exp()), float(q[row, others].sum())
        for j in others:  # the mass of the tail moves, its shape stays
            expected = float(q[row, j]) * (1 - p_tail / q_tail) / temperature
            assert float(gradient[row, j]) == pytest.approx(expected, rel=1e-9)
        for i, j in enumerate(kept):
            expected = (float(q[row, j]) - math.exp(float(log_probs[row, i]))) / temperature
            assert float(gradient[row, j]) == pytest.approx(expected, rel=1e-9)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)


def test_a_student_that_equals_its_teacher_has_no_loss() -> None:
    target = teacher()
    for temperature in (1.0, 4.0):
        loss = kl_of(target, *bucketed(target, K, temperature), temperature)
        assert loss == pytest.approx(0, abs=1e-9)
