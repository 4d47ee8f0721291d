"""An HTTP server in the test process that speaks the OpenAI protocol, as a test scripts it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Request = Mapping[str, Any]


class Reply:
    """What the server does with one request.

    Args:
        text: content of the assistant's message.
        tokens: its tokens, each with its alternatives and their probabilities.
        status: of HTTP.
        body: sent as it is, instead of a well-formed one.
        wait: seconds before anything is sent.
    """

    def __init__(
        self,
        text: str = "",
        tokens: list[tuple[str, dict[str, float]]] | None = None,
        status: int = 200,
        body: bytes | None = None,
        wait: float = 0.0,
    ) -> None:
        self.text, self.tokens, self.status, self.body = text, tokens, status, body
        self.wait = wait

    def encoded(self, model: str) -> bytes:
        """The body."""
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": self.text}}).encode()
        message = {"role": "assistant", "content": self.text}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        if self.tokens:
            choice["logprobs"] = {"content": [_token(*token) for token in self.tokens]}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "choices": [choice]}
        return json.dumps(whole | {"model": f"{model}-0613", "system_fingerprint": "fp"}).encode()


def _token(token: str, likely: dict[str, float]) -> dict[str, Any]:
    from math import log

    top = [{"token": t, "logprob": log(p), "bytes": None} for t, p in likely.items()]
    return {"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": top}


class Server:
    """A running server.

    Attributes:
        answer: what it says to a request; a test may replace it.
        requests: all that it was sent, in order.
        url: its address.
    """

    def __init__(self, answer: Callable[[Request], str | Reply]) -> None:
        self.answer, self.requests = answer, list[Any]()
        self.paths, self.keys = list[str](), list[str]()
        self.url = ""

    def handle(self, at: BaseHTTPRequestHandler) -> None:
        request = json.loads(at.rfile.read(int(at.headers["Content-Length"])))
        self.requests.append(request)
        self.paths.append(at.path)
        self.keys.append(at.headers["Authorization"])
        if at.path.endswith("/embeddings"):
            vectors = [[float(len(text)), 1.0] for text in request["input"]]
            data = [{"object": "embedding", "index": i, "embedding": v}
                    for i, v in enumerate(vectors)]  # fmt: skip
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            body = json.dumps({"object": "list", "data": data, "model": "e", "usage": usage})
            reply = Reply(body=body.encode())
        else:
            said = self.answer(request)
            reply = said if isinstance(said, Reply) else Reply(said)
        time.sleep(reply.wait)
        sent = reply.encoded(request["model"])
        try:
            at.send_response(reply.status)
            at.send_header("Content-Type", "application/json")
            at.send_header("Content-Length", str(len(sent)))
            at.end_headers()
            at.wfile.write(sent)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has given up


@contextmanager
def serving(answer: Callable[[Request], str | Reply]) -> Iterator[Server]:
    """A server on a free port of this machine, for as long as the block."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.handle(self)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
