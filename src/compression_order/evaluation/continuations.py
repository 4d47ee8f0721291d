"""Log-likelihoods of answers, each question read once.

The answers to a question are continuations of one context. They share its keys and values: a row
of a batch is the context followed by all its answers, and a mask keeps each answer from seeing the
others. Logits are made only where a token is scored. lm-eval's own scoring passes the context once
an answer and makes the logits of every position; `tests/evaluation/test_continuations.py` holds
the two together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.text import chat
from compression_order.training import forward

# context and continuation as token ids, neither empty
Request = tuple[Sequence[int], Sequence[int]]
# log-likelihood of a continuation, nats, and whether each of its tokens is the likeliest
Score = tuple[float, bool]


@dataclass
class Question:
    """A context and the answers to it.

    Attributes:
        context: its token ids.
        answers: the place of a request, and the token ids of its continuation.
    """

    context: tuple[int, ...]
    answers: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    @property
    def tails(self) -> list[tuple[int, ...]]:
        """What of each answer is read: all but its last token, which is only predicted."""
        return [answer[:-1] for _, answer in self.answers]

    @property
    def ids(self) -> list[int]:
        """The row: the context, then what is read of every answer."""
        return [*self.context, *(token for tail in self.tails for token in tail)]

    @property
    def positions(self) -> list[int]:
        """Of each id: every answer goes on where the context ends."""
        begin = len(self.context)
        return [*range(begin), *(begin + i for tail in self.tails for i in range(len(tail)))]

    @property
    def scored(self) -> list[tuple[int, int, int]]:
        """Of each predicted token: the place of its request, where it is predicted, its id."""
        found, begin = [], len(self.context)
        for (place, answer), tail in zip(self.answers, self.tails, strict=True):
            where = [len(self.context) - 1, *range(begin, begin + len(tail))]
            found += [(place, at, token) for at, token in zip(where, answer, strict=True)]
            begin += len(tail)
        return found

    def hide(self, mask: Tensor) -> None:
        """Keep each answer from seeing the others; mask: [length, length], true is seen."""
        begin = first = len(self.context)
        for tail in self.tails:
            mask[begin : begin + len(tail), first:begin] = False
            begin += len(tail)


def questions(requests: Sequence[Request], longest: int) -> list[Question]:
    """Group requests by their context, in the order of its first request.

    Args:
        requests: the continuations to score.
        longest: ids that the model reads at most. Where a context and its continuation have more,
            the context loses its first ones, as in lm-eval.
    """
    found: dict[tuple[int, ...], Question] = {}
    for place, (context, continuation) in enumerate(requests):
        room = longest + 1 - len(continuation)
        kept = tuple(context[-room:])
        found.setdefault(kept, Question(kept)).answers.append((place, tuple(continuation)))
    return list(found.values())


def score(
    model: PreTrainedModel,
    requests: Sequence[Request],
    longest: int,
    told: Callable[[int], None] = lambda done: None,
    most: int = forward.TOKENS,
) -> list[Score]:
    """Score continuations of contexts.

    Args:
        model: a causal model whose every layer attends to all earlier positions, in evaluation
            mode.
        requests: contexts and continuations.
        longest: ids that the model reads at most; see `questions`.
        told: called with the number of requests that are done.
        most: tokens of a batch; see `forward.batches`.
    """
    asked = questions(requests, longest)
    totals = torch.zeros(len(requests), dtype=torch.float64)
    greedy = torch.ones(len(requests), dtype=torch.bool)
    done = 0
    for places in forward.batches([len(question.ids) for question in asked], most):
        batch = [asked[place] for place in places]
        tokens = [token for question in batch for token in question.scored]
        log_probs, likeliest = _tokens(model, batch)
        requests_of = torch.tensor([place for place, _, _ in tokens])
        totals.index_add_(0, requests_of, log_probs)
        greedy[requests_of[~likeliest]] = False
        done += sum(len(question.answers) for question in batch)
        told(done)
    return list(zip(totals.tolist(), greedy.tolist(), strict=True))


def _tokens(model: PreTrainedModel, batch: Sequence[Question]) -> tuple[Tensor, Tensor]:
    """[tokens] twice: log-probability of every scored token, and whether it is the likeliest."""
    with torch.no_grad():
        states = _states(model, batch)
        head = model.get_output_embeddings().weight
        where = [(row, at) for row, question in enumerate(batch) for _, at, _ in question.scored]
        wanted = torch.tensor([token for q in batch for *_, token in q.scored]).to(states.device)
        # the answers to a question are all predicted from its end: these logits are made once
        single = {place: nth for nth, place in enumerate(dict.fromkeys(where))}
        rows = states[*torch.tensor(list(single)).T.to(states.device)]
        sources = torch.tensor([single[place] for place in where]).to(states.device)
        log_probs = torch.empty(len(where), dtype=torch.float64, device=states.device)
        likeliest = torch.empty(len(where), dtype=torch.bool, device=states.device)
        for part in forward.chunks(len(rows)):
            logits = (rows[part] @ head.T).float()
            here = (sources >= part.start) & (sources < part.stop)
            at, target = sources[here] - part.start, wanted[here]
            log_probs[here] = (logits[at, target] - logits.logsumexp(-1)[at]).double()
            likeliest[here] = logits.argmax(-1)[at] == target
    return log_probs.cpu(), likeliest.cpu()


def _states(model: PreTrainedModel, batch: Sequence[Question]) -> Tensor:
    """[questions, longest row, width]: the last hidden states of a batch."""
    ids = chat.padded([question.ids for question in batch], 0).to(model.device)
    if not any(tail for question in batch for tail in question.tails):
        # the contexts alone are read, and the kernel for causal attention needs no mask
        read: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return read
    length = ids.shape[1]
    mask = torch.ones(len(batch), 1, length, length, dtype=torch.bool).tril()
    for question, its in zip(batch, mask, strict=True):
        question.hide(its[0])
    positions = chat.padded([question.positions for question in batch], 0).to(model.device)
    states: Tensor = model.base_model(
        input_ids=ids,
        attention_mask=mask.to(model.device),
        position_ids=positions,
        use_cache=False,
    ).last_hidden_state
    return states
