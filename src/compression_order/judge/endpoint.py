"""An OpenAI-compatible endpoint as deepeval's model: it counts nothing and phones nobody.

deepeval reads its switches when it is imported; this is the module that imports it first.
"""

import os
from dataclasses import dataclass, field
from typing import Any, NoReturn

os.environ["DEEPEVAL_TELEMETRY_OPT_OUT"] = "1"
os.environ["DEEPEVAL_DISABLE_DOTENV"] = "1"
os.environ["DEEPEVAL_UPDATE_WARNING_OPT_IN"] = "0"

import openai
from deepeval.models import DeepEvalBaseLLM

from compression_order.common.errors import HarnessError
from compression_order.judge.settings import Options

KEY = "JUDGE_API_KEY"  # the variable with the key, where the endpoint wants one


class Nonsense(Exception):
    """The judge said something that is no verdict; the message says what is wrong with it."""


def client(options: Options) -> openai.OpenAI:
    """The client of the endpoint; it asks again by itself where the network or the server fails."""
    return openai.OpenAI(
        base_url=options.endpoint,
        api_key=os.environ.get(KEY) or "none",
        timeout=options.timeout,
        max_retries=options.attempts - 1,
    )


@dataclass
class Exchange:
    """What was said.

    Attributes:
        prompt: to the judge, whole.
        text: its answer.
        tokens: the tokens of the answer that have log-probabilities.
        model: the model that the endpoint says has answered.
        fingerprint: of the server's configuration, where the endpoint tells it.
    """

    prompt: str
    text: str
    tokens: list[str] = field(default_factory=list)
    model: str = ""
    fingerprint: str | None = None


class Endpoint(DeepEvalBaseLLM):
    """One verdict's talk with the judge.

    Args:
        options: of the judge.
        its_client: shared by all verdicts.
        seed: sent with every request; the same seed may give the same answer.
        temperature: of the judge.
    """

    def __init__(
        self, options: Options, its_client: openai.OpenAI, seed: int, temperature: float
    ) -> None:
        self.options, self.client = options, its_client
        self.seed, self.temperature = seed, temperature
        self.exchanges: list[Exchange] = []
        super().__init__(options.model)

    def load_model(self, *args: Any, **kwargs: Any) -> "Endpoint":
        """Nothing is loaded here."""
        return self

    def get_model_name(self, *args: Any, **kwargs: Any) -> str:
        """The model that the study names."""
        return self.options.model

    def generate(self, prompt: str, schema: Any = None) -> str:
        """The judge's answer, as text; `schema` is a pydantic model of what is wanted."""
        return str(self._ask(prompt, schema).choices[0].message.content)

    async def a_generate(self, prompt: str, schema: Any = None) -> str:
        """The same; deepeval's asynchronous mode is not used."""
        return self.generate(prompt, schema)

    def generate_raw_response(self, prompt: str, top_logprobs: int) -> tuple[Any, float]:
        """The answer with log-probabilities, where the study asks for them, and what it cost."""
        from deepeval.metrics.g_eval.schema import ReasonScore

        wanted = self.options.log_probabilities
        more = {"logprobs": True, "top_logprobs": top_logprobs} if wanted else {}
        return self._ask(prompt, ReasonScore, **more), 0.0

    def _ask(self, prompt: str, schema: Any, **more: Any) -> Any:
        try:
            response = self.client.chat.completions.create(
                model=self.options.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=self.temperature,
                max_tokens=self.options.max_tokens,
                seed=self.seed,
                **self._format(schema),
                **more,
            )
        except openai.OpenAIError as fault:
            fail(self.options, fault)
        except ValueError:
            raise Nonsense("a response that is not JSON") from None
        self.exchanges.append(self._exchange(prompt, response))
        return response

    def _exchange(self, prompt: str, response: Any) -> Exchange:
        choices = getattr(response, "choices", None)
        if not choices or choices[0].message is None or not choices[0].message.content:
            raise Nonsense("no text")
        listed = getattr(choices[0].logprobs, "content", None) or []
        return Exchange(
            prompt=prompt,
            text=choices[0].message.content,
            tokens=[entry.token for entry in listed if entry.top_logprobs],
            model=response.model or "",
            fingerprint=getattr(response, "system_fingerprint", None),
        )

    def _format(self, schema: Any) -> dict[str, Any]:
        """What the server must hold the answer to, for servers that can."""
        match self.options.response_format:
            case "json_object":
                return {"response_format": {"type": "json_object"}}
            case "json_schema" if schema is not None:
                described = {"name": schema.__name__, "schema": schema.model_json_schema()}
                return {"response_format": {"type": "json_schema", "json_schema": described}}
            case _:
                return {}


def fail(options: Options, fault: openai.OpenAIError) -> NoReturn:
    """Tell what the endpoint did, and what to do.

    Raises:
        HarnessError: always.
    """
    where = f"judge.endpoint {options.endpoint}"
    tries = f"in {options.attempts} attempts"
    if isinstance(fault, openai.APITimeoutError):
        raise HarnessError(
            f"{where} gave no answer within {options.timeout:g} s {tries}; see whether the server "
            "is at work, or raise judge.timeout"
        ) from None
    if isinstance(fault, openai.APIConnectionError):
        raise HarnessError(
            f"{where} cannot be reached ({_short(str(fault.__cause__ or fault))}); start the "
            "server, or correct the address"
        ) from None
    if isinstance(fault, openai.APIStatusError):
        raise HarnessError(
            f"{where} refused the model {options.model!r} with HTTP {fault.status_code} "
            f"({_short(fault.message)}); {_remedy(options, fault.status_code)}"
        ) from None
    raise HarnessError(
        f"{where} does not speak the OpenAI protocol ({_short(str(fault))}); correct the address, "
        "which ends in /v1 with most servers"
    ) from None


def _remedy(options: Options, status: int) -> str:
    if status in (401, 403):
        return f"put its key into the variable {KEY}"
    if status == 404:
        return "correct judge.model, or the address"
    if status in (400, 422):
        hints = ["set judge.log_probabilities: false"] if options.log_probabilities else []
        hints += ["set judge.response_format: text"] if options.response_format != "text" else []
        return " or ".join([*hints, "lower judge.max_tokens"])
    return "look at the server's log and run again"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 160 else f"{words[:157]}..."
